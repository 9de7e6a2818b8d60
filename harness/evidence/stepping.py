"""What one training step did, seen from outside: weights, moments, losses, outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evidence.observations import Arrays, Check, Recalibration, ServedBatch

__all__ = ["Accumulation", "OneStep", "StepRun"]


@dataclass(frozen=True)
class OneStep:
    """The second step of a run, on one batch that is also the recalibration batch.

    A step's gradient is read from Adam's first moment, ``m = 0.9 m' + 0.1 G``, so that
    nothing has to be told by the system.

    Attributes
    ----------
    start, before, after : mapping of str to numpy.ndarray
        Weights before step 1, after it, and after step 2.
    first, second : pair of mapping
        Adam's two moments after step 1 and after step 2, by weight.
    batch : ServedBatch
        What step 2 trained on.
    decoded : mapping
        Its samples by an independent decoder, uncropped.
    flow_clip : float or None
        Label clip of training, px.
    losses : tuple of float
        Step 2's mean loss per arch, in the order of `archs`.
    archs : tuple of str
        Step 2's fair cycle.
    outputs : mapping of str to sequence of numpy.ndarray
        Arch to its three residual outputs on `batch`, with the weights before step 2.
    norm : float
        Reported global norm of step 2's update.
    lr, decay : float
        Planned learning rate of step 2; weight decay.
    nudged : sequence of (float, float, float) or None
        Lengths of a step along the second gradient, each with the mean loss of step 2 with
        the weights moved forth and back by it.
    moving, moved : mapping of str to numpy.ndarray
        Moving statistics before and after step 1.
    recalibrated : sequence of Recalibration or None
        For each arch of step 1, in order, the statistics of its only batch, with inputs.
    """

    start: Arrays
    before: Arrays
    after: Arrays
    first: tuple[Arrays, Arrays]
    second: tuple[Arrays, Arrays]
    batch: ServedBatch
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    flow_clip: float | None
    losses: tuple[float, ...]
    archs: tuple[str, ...]
    outputs: Mapping[str, Sequence[NDArray[Any]]]
    norm: float
    lr: float
    decay: float
    nudged: Sequence[tuple[float, float, float]] | None
    moving: Arrays
    moved: Arrays
    recalibrated: Sequence[Recalibration] | None


@dataclass(frozen=True)
class StepRun:
    """The first step of a run: its archs, its gradient, and what was checked."""

    archs: tuple[str, ...]
    gradient: Arrays
    losses: tuple[float, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Accumulation:
    """First steps on five copies of sample A, of sample B, and on four A and one B.

    Attributes
    ----------
    whole, pieces : StepRun
        Five copies of A as one micro-batch, and as micro-batches of 2, 2 and 1.
    other, mixed : StepRun
        Five copies of B, and A, A, A, A, B, in micro-batches of 2, 2 and 1.
    threshold : float
        A third of the norm of `whole`.
    clipped_update, clipped_micro : StepRun
        `whole` again, clipped at `threshold` once per update and once per micro-step; None
        where the system does not clip there.
    """

    whole: StepRun
    pieces: StepRun
    other: StepRun
    mixed: StepRun
    threshold: float
    clipped_update: StepRun | None
    clipped_micro: StepRun | None
