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


class ResumeRestartsGenerator(NumpySystem):
    """The checkpoint lacks the generator's state: a resume starts it anew from the seed."""

    def restore(self, path):
        super().restore(path)
        self.trainer.rng = np.random.default_rng(self.trainer.seed)
