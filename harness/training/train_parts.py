"""What training is put together from, and what a step receives and measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from harness.fc2.batch import Batch
from harness.records.records import EpochRecord
from harness.supernet.loss import multiscale_loss
from harness.supernet.network import frames_to_input
from harness.training.adam import adam_step
from harness.training.clipping import accumulate, clip, micro_weight
from harness.training.epochlog import epoch_row
from harness.training.fairness import Counts, add_cycle, fair_cycle
from harness.training.model import Initial, Supernet, initial_weight
from harness.training.progress import Progress, after_epoch, after_step
from harness.training.schedule import cosine_lr, expected_clip_checks, micro_batches
from harness.training.tracking import is_best, is_save_due, is_used_up, track_patience

__all__ = ["ClipCheck", "StepOutcome", "Taken", "TrainParts", "run_step", "zeroed"]

Tensor = Any
Taken = Callable[[Any, Any, Any], None]
"""Receives frames, flow and validity that a step has computed on."""


def zeroed(last: Sequence[Tensor]) -> list[Any]:
    """Return what a step begins to add its gradients to: nothing of the `last` step's sum."""
    return [tf.zeros_like(total) for total in last]


def run_step(
    step: Callable[..., "StepOutcome"], archs: Sequence[Sequence[int]], batch: Batch, lr: float,
    taken: Taken | None = None,
) -> "StepOutcome":  # fmt: skip
    """Run one step; see :meth:`harness.training.step.TrainStep.__call__`."""
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
    zeroed: Callable[[Sequence[Tensor]], list[Tensor]] = zeroed
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
