"""The NumPy system with one planted fault each, as real trainers have had them."""

import numpy as np
from adapter import NumpySystem


class RandomEvalCrops(NumpySystem):
    """Evaluation draws its crops anew each time, from the system's entropy."""

    def evaluate(self, archs=None, batches_per_arch=None):
        kept, rng = self.plan, np.random.default_rng()
        self.plan = [[(n, self.trainer.window(n, rng)) for n, _ in batch] for batch in kept]
        try:
            return super().evaluate(archs, batches_per_arch)
        finally:
            self.plan = kept


class EvalMovesTheStream(NumpySystem):
    """Evaluation draws from the generator that training draws from."""

    def evaluate(self, archs=None, batches_per_arch=None):
        self.trainer.rng.random()
        return super().evaluate(archs, batches_per_arch)


class DeadMetric(NumpySystem):
    """Scores the all-zero flow, whatever the net predicts, as both widths' own."""

    def evaluate(self, archs=None, batches_per_arch=None):
        predict = self.trainer.predict
        self.trainer.predict = lambda frames, arch: 0 * predict(frames, arch)
        try:
            return super().evaluate(archs, batches_per_arch)
        finally:
            self.trainer.predict = predict


class ExcusedWithBlanks(DeadMetric):
    """The same, on its own list of known defects, for no reason."""

    def describe(self):
        return dict(super().describe(), known_defects={"metric-alive": " \n "})


class CentredOverBatch(NumpySystem):
    """Subtracts a share of the batch's mean flow: a sample's score depends on its batch mates."""

    def open(self, config):
        super().open(config)
        predict = self.trainer.predict

        def centred(frames, width):
            flow = predict(frames, width)
            return flow - 0.05 * flow.mean(axis=0, keepdims=True)

        self.trainer.predict = centred


class ResumeRestartsGenerator(NumpySystem):
    """The checkpoint lacks the generator's state: a resume starts it anew from the seed."""

    def restore(self, path):
        super().restore(path)
        self.trainer.rng = np.random.default_rng(self.trainer.seed)


class ResumesUnderAnyPlan(NumpySystem):
    """A changed crop, batch size or learning rate is gone on with, and nothing is said."""

    def restore(self, path):
        self.trainer.require_plan = lambda folder, saved: None
        super().restore(path)


class SaysSoAndGoesOn(ResumesUnderAnyPlan):
    """The same, but each restore says what the plan is from here on."""

    def restore(self, path):
        super().restore(path)
        return "from here on: " + repr(self.trainer.plan_values())


class SaysTheSameAlways(ResumesUnderAnyPlan):
    """The same, and each restore names the keys, whether they have changed or not."""

    def restore(self, path):
        super().restore(path)
        return ["restored crop, batch_size and lr", "have fun"]


class OneSizeAlone(NumpySystem):
    """Its net takes frames of one size; any other does not even open."""

    def open(self, config):
        if config["data"]["input_width"] != 48:
            raise ValueError("expected 48 columns")
        super().open(config)


class WritesALog(NumpySystem):
    """Beside each checkpoint lies a file that no restore reads."""

    def save(self, path):
        super().save(path)
        with open(path + "/log.txt", "w") as file:
            file.write("epoch %d" % self.trainer.epoch)


class StepsInAnotherFile(WritesALog):
    """The counters lie in a file of their own, which nothing binds to the arrays."""

    def restore(self, path):
        super().restore(path)
        with open(path + "/log.txt") as file:
            self.trainer.epoch = int(file.read().split()[1])


class NotApplicableError(Exception):
    """Says, by its name, what cannot be asked of a system."""


class IdleHead(NumpySystem):
    """Declares a head that nothing reads, and hands out no training batches."""

    def describe(self):
        heads = {"h": ["head/kernel"], "idle": ["idle/kernel"]}
        return dict(super().describe(), heads=heads)

    def open(self, config):
        super().open(config)
        self.idle = np.ones((3, 3, 4, 2))

    def state(self, changes=None):
        self.idle = np.array((changes or {}).get("idle/kernel", self.idle))
        return dict(super().state(changes), **{"idle/kernel": self.idle})

    def save(self, path):
        super().save(path)
        np.save(path + "/idle.npy", self.idle)

    def restore(self, path):
        super().restore(path)
        self.idle = np.load(path + "/idle.npy")

    def batches(self, role, epoch=1):
        if role == "train":
            raise NotApplicableError("training batches are drawn in the step itself")
        return super().batches(role, epoch)
