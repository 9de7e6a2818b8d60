"""The PyTorch trainer with faults of its own, each of which a gate must name."""

import os

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
