"""The NumPy system that tells its draws, with other designs and with faults of its own."""

import copy

import numpy as np
from adapter import NumpySystem
from trainer import Trainer


class NotApplicableError(Exception):
    """Says, by its name, what cannot be asked of a system."""


class AsIf:
    """A split of so many samples, of one size, of which no file is read."""

    def __init__(self, samples, frame):
        self.names, self.frame = range(samples), frame

    def read(self, name):
        return None, np.empty(self.frame + (0,)), None


class Told(NumpySystem):
    """Tells order, windows and kernels; both widths are trained in every step."""

    def describe(self):
        found = super().describe()
        return dict(found, can=found["can"] + ["draws"])

    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        trainer = copy.copy(self.trainer)
        trainer.seed = seed
        if what == "archs":
            raise NotApplicableError("both widths are trained in every step")
        if what == "kernels":
            folders = trainer.train.folder, trainer.val.folder
            return Trainer(*folders, crop=trainer.crop, batch=trainer.batch, seed=seed).weights
        if samples is not None:
            trainer.train = AsIf(samples, tuple(frame or trainer.crop))
            trainer.steps = trainer.steps and -(-samples // trainer.batch)
        draws = [draw for batch in trainer.plan(epoch) for draw in batch]
        if what == "order":
            places = {name: place for place, name in enumerate(trainer.train.names)}
            return {"order": np.array([places[name] for name, _ in draws])}
        return {"windows": np.array([window[:2] for _, window in draws])}


class SequentialTrainer(Trainer):
    def plan(self, epoch):
        draws = [draw for batch in super().plan(epoch) for draw in batch]
        names = list(self.train.names)
        draws = [(names[i % len(names)], window) for i, (_, window) in enumerate(draws)]
        return [draws[i : i + self.batch] for i in range(0, len(draws), self.batch)]


class Sequential(Told):
    """Trains in the order of the split, and says so; its crops are random."""

    mode = "sequential"

    def describe(self):
        return dict(super().describe(), settings={"train.train_sampling_mode": self.mode})

    def open(self, config):
        super().open(config)
        self.trainer.__class__ = SequentialTrainer


class SaysItShuffles(Sequential):
    """The same, under the name of a shuffle."""

    mode = "shuffle_no_replacement"


class TellsTheNextEpoch(Told):
    """Counts epochs from 0 where it tells of them, and from 1 where it trains."""

    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        return super().draws(what, seed, epoch + 1, samples, frame)


class TellsFloats(Told):
    """Hands over an order of floats."""

    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        found = super().draws(what, seed, epoch, samples, frame)
        return {name: array.astype(float) for name, array in found.items()}
