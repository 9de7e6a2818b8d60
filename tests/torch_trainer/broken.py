"""The PyTorch trainer with faults of its own, each of which a gate must name."""

import os
import random

import numpy as np
import torch
import trainer
from adapter import Torch


class ResumeLosesOptimizer(Torch):
    """Keeps the weights alone, and starts the optimizer anew."""

    def save(self, path):
        os.makedirs(path)
        torch.save(self.parts["model"].state_dict(), os.path.join(path, "last.pth"))

    def restore(self, path):
        self.begin()
        self.parts["model"].load_state_dict(torch.load(os.path.join(path, "last.pth")))


class ResumeForgetsNumpy(Torch):
    """Sets back the generators of Python and PyTorch, and not NumPy's, which draws the noise."""

    def restore(self, path):
        super().restore(path)
        np.random.seed(self.seed)


class ValidationDraws(Torch):
    """Shuffles what it validates on."""

    def validate(self, samples):
        torch.randperm(len(samples))
        return super().validate(samples)


class ScoresUnknown(Torch):
    """Takes the EPE over every pixel, also where the flow is not known."""

    def validate(self, samples):
        known, trainer.known = trainer.known, lambda flow: np.ones(flow.shape[1:], bool)
        try:
            return super().validate(samples)
        finally:
            trainer.known = known


class TrainsOn(Torch):
    """Trains on where the loss is no number."""

    def loop(self):
        trainer.require_finite, before = lambda *_: None, trainer.require_finite
        try:
            super().loop()
        finally:
            trainer.require_finite = before


class WorkersByNumber(Torch):
    """Reads in two workers, each of which is seeded with its number."""

    def loop(self):
        def loader(pairs, size, shuffle):
            return before(pairs, size, shuffle, num_workers=2, worker_init_fn=random.seed)

        trainer.DataLoader, before = loader, trainer.DataLoader
        try:
            super().loop()
        finally:
            trainer.DataLoader = before


class ClipsTooLate(Torch):
    """Clips what its step has applied already."""

    def loop(self):
        trainer.clip_grad_norm_, before = lambda *_: None, trainer.clip_grad_norm_
        update = torch.optim.swa_utils.AveragedModel.update_parameters

        def clip_and_update(ema, model):
            before(model.parameters(), self.args.clip)
            update(ema, model)

        torch.optim.swa_utils.AveragedModel.update_parameters = clip_and_update
        try:
            super().loop()
        finally:
            trainer.clip_grad_norm_ = before
            torch.optim.swa_utils.AveragedModel.update_parameters = update


class FlipKeepsU(Torch):
    """Flips every second sample left to right, its flow too, whose u keeps its sign."""

    def loop(self):
        read = trainer.Pairs.__getitem__

        def flipped(pairs, index):
            found = read(pairs, index)
            turn = pairs.crop and random.random() < 0.5
            return [array.flip(-1) for array in found] if turn else found

        trainer.Pairs.__getitem__ = flipped
        try:
            super().loop()
        finally:
            trainer.Pairs.__getitem__ = read


class FlipsWhatItKeeps(Torch):
    """Keeps samples in memory, and flips the flow of some of them in place."""

    def loop(self):
        read, kept = trainer.Pairs.__getitem__, {}

        def flipped(pairs, index):
            if not pairs.crop:
                return read(pairs, index)
            if index not in kept:
                kept[index] = read(pairs, index)
            first, second, flow, known = kept[index]
            if random.random() < 0.5:
                flow[0] *= -1
                first, second, flow, known = (a.flip(-1) for a in (first, second, flow, known))
            return first, second, flow, known

        trainer.Pairs.__getitem__ = flipped
        try:
            super().loop()
        finally:
            trainer.Pairs.__getitem__ = read


class WithoutTrain(trainer.Net):
    """A net that a validation puts into evaluation mode, and nobody puts back."""

    def train(self, mode=True):
        return self if mode else super().train(False)


class StaysInEvaluation(Torch):
    """Trains on in evaluation mode after its first validation: no model.train()."""

    def loop(self):
        trainer.Net, before = WithoutTrain, trainer.Net
        try:
            super().loop()
        finally:
            trainer.Net = before


class FreezesItsNorm(Torch):
    """Takes the statistics of its normalisation for final after the first epoch, by design."""

    def loop(self):
        class Net(trainer.Net):
            epochs = 0

            def train(net, mode=True):  # noqa: N805 -- `self` is the adapter
                super().train(mode)
                net.epochs += mode
                net.norm.train(mode and net.epochs < 2)
                return net

        trainer.Net, before = Net, trainer.Net
        try:
            super().loop()
        finally:
            trainer.Net = before
