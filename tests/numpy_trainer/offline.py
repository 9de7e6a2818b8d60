"""The NumPy system with an evaluator outside of training, sound and with one fault each."""

import numpy as np
from adapter import NumpySystem
from trainer import WIDTHS


class OfflineNumpy(NumpySystem):
    """Scores a checkpoint's weights; workers share nothing, and nothing has to be dealt out."""

    def describe(self):
        about = super().describe()
        return dict(about, can=[*about["can"], "evaluate_offline"])

    def evaluate_offline(self, path, archs=None, batches_per_arch=None, workers=1):
        present = {name: np.array(array) for name, array in self.trainer.weights.items()}
        try:
            self.trainer.weights.update(self.saved(path))
            return self.evaluate(archs, batches_per_arch)
        finally:
            self.trainer.weights.update(present)

    def saved(self, path):
        """Return the weights of a checkpoint, read from its files."""
        kept = type(self.trainer).__new__(type(self.trainer))
        vars(kept).update(vars(self.trainer))
        kept.weights = dict(self.trainer.weights)
        kept.momentum = dict(self.trainer.momentum)
        kept.rng = np.random.default_rng(0)
        kept.restore(path)
        return {name: np.array(array) for name, array in kept.weights.items()}


class CarriesOn(OfflineNumpy):
    """An arch begins with what the one before it left."""

    def evaluate_offline(self, path, archs=None, batches_per_arch=None, workers=1):
        predict, before = self.trainer.predict, []

        def carried(frames, arch):
            before.append(arch)
            return predict(frames, arch) + np.float32(0.01) * (len(set(before)) - 1)

        self.trainer.predict = carried
        try:
            return super().evaluate_offline(path, archs, batches_per_arch, workers)
        finally:
            self.trainer.predict = predict


class CarriesOnAndScoresOtherwise(CarriesOn):
    """The same, and what is scored is not quite what was saved."""

    def saved(self, path):
        return {name: 1.5 * array for name, array in super().saved(path).items()}


class WorkersStartElsewhere(OfflineNumpy):
    """Each further worker begins with the second batch."""

    def evaluate_offline(self, path, archs=None, batches_per_arch=None, workers=1):
        whole = super().evaluate_offline
        plan, turned = self.plan, self.plan[1:] + self.plan[:1]
        self.plan = plan if workers == 1 else turned
        try:
            return whole(path, archs, batches_per_arch)
        finally:
            self.plan = plan


class ScoresWhatIsOpen(OfflineNumpy):
    """The weights that are open are scored."""

    def saved(self, path):
        return {}


class DeclaresAnotherNorm(ScoresWhatIsOpen):
    """Scores otherwise outside of training, and says so."""

    def describe(self):
        return dict(super().describe(), offline_differs="it scores the average of two checkpoints")


class OneArch(OfflineNumpy):
    """A pool of one arch has neither order nor part."""

    def evaluate(self, archs=None, batches_per_arch=None):
        return super().evaluate(archs or list(WIDTHS)[:1], batches_per_arch)


class OneWorker(OfflineNumpy):
    """Has one worker, by its own word."""

    def evaluate_offline(self, path, archs=None, batches_per_arch=None, workers=1):
        if workers != 1:
            raise NotApplicableError("this evaluator has one worker")
        return super().evaluate_offline(path, archs, batches_per_arch)


class NotApplicableError(Exception):
    """Named as the harness's own."""
