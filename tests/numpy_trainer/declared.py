"""The NumPy system that declares what it is, and systems that are not what they declare."""

import numpy as np
from adapter import NumpySystem
from trainer import Trainer

CONSTANT = {"train.lr_schedule": "constant"}


class Sgd(NumpySystem):
    """Declares the rule that it has: momentum, and a buffer for each kernel."""

    rule = {"rule": "sgd", "momentum": 0.9}
    trainer_class = None

    def describe(self):
        slots = {name: ["momentum/" + name] for name in ("hidden/kernel", "head/kernel")}
        return dict(super().describe(), slots=slots, update=self.rule, settings=CONSTANT)

    def open(self, config):
        super().open(config)
        if self.trainer_class is not None:
            self.trainer.__class__ = self.trainer_class
            for name in sorted(self.trainer.weights):
                self.trainer.momentum["second/" + name] = 0 * self.trainer.weights[name]


class SaysNesterov(Sgd):
    """Declares a momentum that looks ahead; its own does not."""

    rule = {"rule": "sgd", "momentum": 0.9, "nesterov": True}


class SaysAnotherMomentum(Sgd):
    """Declares half of the momentum that it has."""

    rule = {"rule": "sgd", "momentum": 0.45}


class SaysOwn(Sgd):
    """Declares a rule of its own, of which nothing is recomputed."""

    rule = {"rule": "own"}


class AdamTrainer(Trainer):
    """Adam in PyTorch's form on the same gradients: its decay in the gradient, or beside it."""

    decay, decoupled, undecayed = 0.02, True, ("head/kernel",)

    def train_step(self):
        weights = dict(self.weights)
        firsts = {name: self.momentum[name] for name in weights}
        number = self.epoch * len(self.plan(self.epoch + 1)) + self.step + 1
        told = super().train_step()
        for name, before in weights.items():
            gradient = self.momentum[name] - 0.9 * firsts[name]
            decay = 0 if name in self.undecayed else self.decay
            gradient = gradient + (0 if self.decoupled else decay) * before
            first = 0.9 * firsts[name] + 0.1 * gradient
            second = 0.99 * self.momentum["second/" + name] + 0.01 * gradient**2
            root = np.sqrt(second / (1 - 0.99**number)) + 1e-8
            step = first / (1 - 0.9**number) / root
            self.weights[name] = before - self.lr * step
            if self.decoupled:
                self.weights[name] -= self.lr * decay * before
            self.momentum[name], self.momentum["second/" + name] = first, second
        return told


class Coupled(AdamTrainer):
    decoupled = False


class AdamW(Sgd):
    """Declares AdamW, without decay of the head, and is that."""

    rule = {
        "rule": "adamw", "betas": [0.9, 0.99], "weight_decay": 0.02, "undecayed": ["head/*"],
    }  # fmt: skip
    trainer_class = AdamTrainer

    def describe(self):
        found = super().describe()
        slots = {n: ["momentum/" + n, "momentum/second/" + n] for n in found["slots"]}
        return dict(found, slots=slots)


class Adam(AdamW):
    """Declares Adam, whose decay is added to the gradient, and is that."""

    rule = dict(AdamW.rule, rule="adam")
    trainer_class = Coupled


class SaysAdamW(AdamW):
    """Declares AdamW; its decay is added to the gradient."""

    trainer_class = Coupled


class SaysAdam(AdamW):
    """Declares Adam; its decay goes around the moments."""

    rule = Adam.rule


class SaysItDecaysAll(AdamW):
    """Declares a decay of every kernel, and leaves out the head."""

    rule = dict(AdamW.rule, undecayed=[])


class SaysAnotherBeta(AdamW):
    """Declares the usual second moment; its own forgets ten times as fast."""

    rule = dict(AdamW.rule, betas=[0.9, 0.999])
