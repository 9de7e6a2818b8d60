"""One training step: three archs on the same batch, in micro-batches, one Adam update."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from harness.config import Config
from harness.fc2.batch import Batch
from harness.training.model import Supernet
from harness.training.step_functions import StepFunctions
from harness.training.train_parts import ClipCheck, StepOutcome, Taken, TrainParts

__all__ = ["TrainStep"]


class TrainStep:
    """The step over one supernet's variables.

    Parameters
    ----------
    functions : StepFunctions, optional
        Compiled for the same supernet, decay and parts. Default: compiled here.
    """

    def __init__(
        self, model: Supernet, config: Config, parts: TrainParts,
        functions: StepFunctions | None = None,
    ) -> None:  # fmt: skip
        self._config, self._parts = config, parts
        self._functions = functions or StepFunctions(model, config.train.weight_decay, parts)
        self._functions.forget()

    def __call__(
        self, archs: Sequence[Sequence[int]], batch: Batch, lr: float, taken: Taken | None = None
    ) -> StepOutcome:
        """Run the step.

        Parameters
        ----------
        archs : sequence of arch code
            The fair cycle.
        batch : Batch
            B samples; its partial last micro-batch weighs by its samples.
        lr : float
            Learning rate.
        taken : callable, optional
            Receives the arrays of each micro-batch of each arch once they were taken: what was
            computed on, and not what the batch says of itself.
        """
        parts, train = self._parts, self._config.train
        per_micro_step = train.clip_position == "micro_step"
        # Tensors, here and below: a function is traced anew for each value of a Python number.
        threshold = tf.constant(train.grad_clip_global_norm, tf.float32)
        functions = self._functions
        losses, norms_of = [], []
        functions.zero()
        for arch in archs:
            code = tf.constant(arch, tf.int32)
            for piece in parts.micro_batches(batch.size, train.micro_batch):
                arrays = batch.frames[piece], batch.flow[piece], batch.valid[piece]
                loss = functions.gradient(code, *arrays)
                share = parts.micro_weight(len(batch.ids[piece]), batch.size)
                weight = tf.constant(share, tf.float32)
                if per_micro_step:
                    norms = functions.accumulate_clipped(threshold, weight)
                    norms_of.append(norms)
                else:
                    functions.accumulate(weight)
                losses.append(loss)
                if taken is not None:
                    taken(*arrays)
        if not per_micro_step:
            norms_of.append(functions.clip(threshold))
        # An array: TensorFlow keeps a tensor for every Python number that it was ever given.
        finite = functions.apply(tf.constant(np.asarray(lr, np.float32)))
        # Read once the step is under way: a device is waited for with each number that is read.
        checks = tuple(ClipCheck(*map(float, norms)) for norms in norms_of)
        return StepOutcome(tuple(map(float, losses)), checks, bool(finite))
