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
            self.trainer.start()


class Started(Trainer):
    """A trainer that is put in the place of the one that was opened."""

    def start(self):
        """Have nothing more than that one."""


class SaysNesterov(Sgd):
    """Declares a momentum that looks ahead; its own does not."""

    rule = {"rule": "sgd", "momentum": 0.9, "nesterov": True}


class SaysAnotherMomentum(Sgd):
    """Declares half of the momentum that it has."""

    rule = {"rule": "sgd", "momentum": 0.45}


class SaysOwn(Sgd):
    """Declares a rule of its own, of which nothing is recomputed."""

    rule = {"rule": "own"}


class AdamTrainer(Started):
    """Adam in PyTorch's form on the same gradients: its decay in the gradient, or beside it."""

    decay, decoupled, undecayed = 0.02, True, ("head/kernel",)

    def start(self):
        for name in sorted(self.weights):
            self.momentum["second/" + name] = 0 * self.weights[name]

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


class Elastic(Sgd):
    """Declares its widths: the narrow one runs a slice of each kernel, and no name is a digit."""

    space = {"names": [["half", "full"]]}
    options = [[
        ["hidden/kernel[:, :, :, :2]", "head/kernel[:, :, :2, :]"],
        ["hidden/kernel", "head/kernel"],
    ]]  # fmt: skip

    def describe(self):
        return dict(super().describe(), space=self.space, options=self.options)


class Leaking(Started):
    """Adds to the narrow net a trace of what it does not run."""

    def predict(self, frames, width):
        return super().predict(frames, width) + 1e-3 * float(
            self.weights["head/kernel"][0, 0, 3, 0]
        )


class NarrowSeesWide(Elastic):
    trainer_class = Leaking


class Slighting(Started):
    """Trains both widths, and never moves what the wide one alone runs."""

    def gradients(self, frames, flow, known, width):
        loss, found = super().gradients(frames, flow, known, width)
        found["hidden/kernel"][..., 2:] = 0
        return loss, found


class WideStaysAsItWas(Elastic):
    trainer_class = Slighting


class TrainsWideAlone(Elastic):
    """Logs the wide net twice in each step."""

    def train(self, *args, **options):
        found = super().train(*args, **options)
        steps = [dict(step, archs=["full", "full"]) for step in found["steps"]]
        return dict(found, steps=steps)


class TrainsAsItLikes(TrainsWideAlone):
    """The same, and declares a sampling of its own."""

    space = dict(Elastic.space, sampling="own")


class NoSupernet(Sgd):
    """Declares that there is no search space, whatever its nets are called."""

    def describe(self):
        return dict(super().describe(), space={})


class OverPixels(NumpySystem):
    """Declares that its EPE is over all valid pixels, and takes it so."""

    over = "pixels"
    tells = True

    def describe(self):
        return dict(super().describe(), mean="pixels")

    def evaluate(self, archs=None, batches_per_arch=None):
        found = super().evaluate(archs, batches_per_arch)
        batches = [self.trainer.val.batch(draws) for draws in self.plan[:batches_per_arch]]
        pixels = [int(known.sum()) for batch in batches for known in batch[2]]
        zero = [e for _, flow, known in batches for e in self.trainer.epe(0 * flow, flow, known)]
        if self.over == "pixels":
            scores = found["per_sample"].values()
            found["per_arch_epe"] = [float(np.average(epe, weights=pixels)) for epe in scores]
            found["mean_epe"] = float(np.mean(found["per_arch_epe"]))
            found["zero_flow_epe"] = float(np.average(zero, weights=pixels))
        return dict(found, pixels=pixels) if self.tells else found


class SaysPixels(OverPixels):
    """Declares a mean over pixels; each of its samples weighs the same."""

    over = "samples"


class TellsNoPixels(OverPixels):
    tells = False


class CountsAllPixels(OverPixels):
    """Says that every pixel is known."""

    def evaluate(self, archs=None, batches_per_arch=None):
        found = super().evaluate(archs, batches_per_arch)
        height, width = self.trainer.crop
        return dict(found, pixels=[height * width] * len(found["pixels"]))


class OnFour(AdamW):
    """Declares four devices, and a loss of its own."""

    def describe(self):
        found = super().describe()
        can = [*found["can"], "recalibrate"]
        return dict(found, can=can, devices=4, loss="own")

    def recalibrate(self, arch, inputs=False):
        return {"arch": arch, "stats": {}, "inputs": {}, "batch_hash": ""}


class HalvesItsRate(Started):
    """Falls to half of its rate in the second epoch."""

    def train_step(self):
        rate, self.lr = self.lr, self.lr / (1 + self.epoch)
        try:
            return super().train_step()
        finally:
            self.lr = rate


class SaysConstant(Sgd):
    """Declares and logs one rate for all steps."""

    trainer_class = HalvesItsRate


class ScoresAnother(NumpySystem):
    """Has a net that is not scored before the one that is, as trainers of averages have."""

    spare = np.ones((3, 3, 2, 2), np.float32)

    def state(self, changes=None):
        self.spare = (changes or {}).get("another/kernel", self.spare)
        return {"another/kernel": self.spare, **super().state(changes)}


class ScoresAnotherOnly(ScoresAnother):
    """Gives the score of a NaN on."""

    def open(self, config):
        super().open(config)
        self.trainer.require_finite = lambda scores: None


class OnlyStops(Sgd):
    """Stops within an epoch, and cannot be resumed there."""

    def describe(self):
        return dict(super().describe(), supports=["stops"])

    def save(self, path):
        if self.trainer.step:
            raise RuntimeError("saved within an epoch")
        super().save(path)
