"""One training step: three archs on the same batch, in micro-batches, one Adam update."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from harness.config import Config
from harness.fc2.batch import Batch
from harness.records.records import EpochRecord
from harness.supernet.loss import multiscale_loss, weight_decay
from harness.supernet.network import BatchNorm, forward, frames_to_input
from harness.training.adam import adam_step
from harness.training.clipping import accumulate, clip, micro_weight
from harness.training.epochlog import epoch_row
from harness.training.fairness import Counts, add_cycle, fair_cycle
from harness.training.model import Initial, Supernet, initial_weight
from harness.training.progress import Progress, after_epoch, after_step
from harness.training.schedule import cosine_lr, expected_clip_checks, micro_batches
from harness.training.tracking import is_best, is_save_due, is_used_up, track_patience

__all__ = [
    "ClipCheck",
    "StepFunctions",
    "StepOutcome",
    "Taken",
    "TrainParts",
    "TrainStep",
    "loss_and_gradients",
    "run_step",
    "zeroed",
]

Tensor = Any
Taken = Callable[[Any, Any, Any], None]
"""Receives frames, flow and validity that a step has computed on."""


def zeroed(zeros: Sequence[Tensor], last: Sequence[Tensor] | None) -> Sequence[Tensor]:
    """Return what a step begins to add its gradients to: nothing of the `last` step's sum."""
    del last
    return zeros


def run_step(
    step: "TrainStep", archs: Sequence[Sequence[int]], batch: Batch, lr: float,
    taken: Taken | None = None,
) -> "StepOutcome":  # fmt: skip
    """Run one step; see :meth:`TrainStep.__call__`."""
    return step(archs, batch, lr, taken)


@dataclass(frozen=True)
class TrainParts:
    """The functions that training is put together from: its steps, and an epoch's end."""

    frames_to_input: Callable[[Tensor], Tensor] = frames_to_input
    loss: Callable[[Sequence[Tensor], Tensor, Tensor], Tensor] = multiscale_loss
    fair_cycle: Callable[..., list[tuple[int, ...]]] = fair_cycle
    initial: Initial = initial_weight
    micro_batches: Callable[[int, int], list[slice]] = micro_batches
    micro_weight: Callable[[int, int], float] = micro_weight
    accumulate: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], list[Tensor]] = accumulate
    clip: Callable[[Sequence[Tensor], Tensor], tuple[list[Tensor], Tensor, Tensor]] = clip
    apply: Callable[..., None] = adam_step
    schedule: Callable[[float, int, int], float] = cosine_lr
    expected_checks: Callable[..., int] = expected_clip_checks
    count: Callable[[Counts, Sequence[Sequence[int]]], Counts] = add_cycle
    save: Callable[[Supernet], dict[str, Any]] = Supernet.get_state
    restore: Callable[[Supernet, Mapping[str, Any]], None] = Supernet.set_state
    zeroed: Callable[[Sequence[Tensor], Sequence[Tensor] | None], Sequence[Tensor]] = zeroed
    step: Callable[..., "StepOutcome"] = run_step
    after_step: Callable[..., Progress] = after_step
    row: Callable[..., EpochRecord] = epoch_row
    after_epoch: Callable[[Progress], Progress] = after_epoch
    is_best: Callable[[float, float | None], bool] = is_best
    track_patience: Callable[..., tuple[float, int]] = track_patience
    is_used_up: Callable[[int, int], bool] = is_used_up
    is_save_due: Callable[[int, int, int], bool] = is_save_due


@dataclass(frozen=True)
class ClipCheck:
    """One clip check: the global norm before it and of what was applied after it."""

    before: float
    after: float

    def clipped(self, threshold: float) -> bool:
        """Return whether the norm exceeded the threshold."""
        return self.before > threshold


@dataclass(frozen=True)
class StepOutcome:
    """What one step measured.

    Attributes
    ----------
    losses : tuple of float
        Mean loss of each micro-batch, archs outermost.
    checks : tuple of ClipCheck
        In the order made.
    finite : bool
        Whether every weight and moving statistic is finite after the update.
    """

    losses: tuple[float, ...]
    checks: tuple[ClipCheck, ...]
    finite: bool


def loss_and_gradients(
    model: Supernet, parts: TrainParts, decay: float, arch: Tensor, batch: Sequence[Tensor],
    make_norm: Callable[[Any], Any],
) -> tuple[Tensor, list[Tensor], Any]:  # fmt: skip
    """Return loss, gradients (in the order of the weights) and what the norm reported."""
    frames, flow, valid = batch
    weights = {name: variable.read_value() for name, variable in model.weights.items()}
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(list(weights.values()))
        outputs, stats = forward(
            model.skeleton, weights, arch, parts.frames_to_input(frames), make_norm(weights)
        )
        kernels = [w for name, w in weights.items() if name.endswith("/kernel")]
        loss = parts.loss(outputs, flow, valid) + weight_decay(kernels, decay)
    # Of what did not run: None eagerly, zeros from tf.switch_case in a graph; zeros in both.
    gradients = tape.gradient(
        loss, list(weights.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return loss, gradients, stats


class StepFunctions:
    """The compiled functions of a step over one supernet's variables.

    They depend on nothing but the arguments here, so that another run of the same process
    may use them again on the same, reset supernet.

    Parameters
    ----------
    model : Supernet
        Whose variables are read and updated.
    decay : float
        Weight decay.
    parts : TrainParts
        Of which frames to input, loss, accumulate, clip and apply are compiled.
    gradient : callable, optional
        Compiled for the same supernet, decay, frames to input and loss, of other functions.
        Default: compiled here, which takes ten times as long as all the others.
    """

    def __init__(
        self, model: Supernet, decay: float, parts: TrainParts, gradient: Any = None
    ) -> None:
        self._model, self._decay, self._parts = model, decay, parts
        self.gradient = gradient or self._compiled_gradient()
        self.accumulate = tf.function(parts.accumulate, autograph=False)
        self.accumulate_clipped = tf.function(self._accumulate_clipped, autograph=False)
        self.clip = tf.function(parts.clip, autograph=False)
        self.apply = tf.function(self._apply_gradients, autograph=False)
        self.zeros = [tf.zeros_like(w) for w in model.weights.values()]

    def _compiled_gradient(self) -> Any:
        spec = tf.TensorSpec
        # Open, or a smaller last micro-batch would be traced anew.
        shape = [None, None, None]
        signature = [
            spec([9], tf.int32), spec([*shape, 6], tf.uint8), spec([*shape, 2], tf.float32),
            spec(shape, tf.bool),
        ]  # fmt: skip
        return tf.function(self._train_gradient, autograph=False, input_signature=signature)

    def _train_gradient(self, arch: Tensor, frames: Tensor, flow: Tensor, valid: Tensor) -> Any:
        model = self._model
        moving = {u: (m.read_value(), v.read_value()) for u, (m, v) in model.moving.items()}
        loss, gradients, stats = loss_and_gradients(
            model, self._parts, self._decay, arch, (frames, flow, valid),
            lambda weights: BatchNorm(weights, moving),
        )  # fmt: skip
        for unit, (mean, variance) in model.moving.items():
            mean.assign(stats[unit][0])
            variance.assign(stats[unit][1])
        return loss, gradients

    def _accumulate_clipped(
        self, total: Sequence[Tensor], gradients: Sequence[Tensor], threshold: Tensor,
        weight: Tensor,
    ) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
        # In one call: a hundred gradients handed in twice cost as much as what is done with them.
        clipped, before, after = self._parts.clip(gradients, threshold)
        return self._parts.accumulate(total, clipped, weight), before, after

    def _apply_gradients(self, gradients: Sequence[Tensor], lr: Tensor) -> Tensor:
        model = self._model
        self._parts.apply(
            list(model.weights.values()), list(model.first.values()),
            list(model.second.values()), model.powers, gradients, lr,
        )  # fmt: skip
        statistics = [value for pair in model.moving.values() for value in pair]
        state = [*model.weights.values(), *statistics]
        # One number a step: a NaN or Inf anywhere is one in the norm.
        return tf.math.is_finite(tf.linalg.global_norm([v.read_value() for v in state]))


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
        self._sum: Sequence[Tensor] | None = None

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
            Receives the arrays of each micro-batch of each arch once its loss is known: what was
            computed on, and not what the batch says of itself.
        """
        parts, train = self._parts, self._config.train
        per_micro_step = train.clip_position == "micro_step"
        # Tensors, here and below: a function is traced anew for each value of a Python number.
        threshold = tf.constant(train.grad_clip_global_norm, tf.float32)
        total, losses, checks = parts.zeroed(self._functions.zeros, self._sum), [], []
        for arch in archs:
            code = tf.constant(arch, tf.int32)
            for piece in parts.micro_batches(batch.size, train.micro_batch):
                arrays = batch.frames[piece], batch.flow[piece], batch.valid[piece]
                loss, gradients = self._functions.gradient(code, *arrays)
                share = parts.micro_weight(len(batch.ids[piece]), batch.size)
                weight = tf.constant(share, tf.float32)
                if per_micro_step:
                    total, before, after = self._functions.accumulate_clipped(
                        total, gradients, threshold, weight
                    )
                    checks.append(ClipCheck(float(before), float(after)))
                else:
                    total = self._functions.accumulate(total, gradients, weight)
                losses.append(float(loss))
                if taken is not None:
                    taken(*arrays)
        self._sum = total
        if not per_micro_step:
            total, before, after = self._functions.clip(total, threshold)
            checks.append(ClipCheck(float(before), float(after)))
        finite = self._functions.apply(total, tf.constant(lr, tf.float32))
        return StepOutcome(tuple(losses), tuple(checks), bool(finite))
