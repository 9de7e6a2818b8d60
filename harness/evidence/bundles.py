"""What the relations look at: observations that belong together, one class per question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evidence.observations import (
    Arrays,
    Evaluation,
    Recalibration,
    ServedBatch,
    Training,
)

__all__ = [
    "CheckpointPair",
    "ConstantRanking",
    "Digests",
    "EpochRows",
    "FiniteEvidence",
    "KilledRuns",
    "Moves",
    "Oracle",
    "PlantedNan",
    "Purity",
    "RecalHashes",
    "RecalPair",
    "Recomputation",
    "Repeat",
    "Response",
    "Resume",
    "Served",
    "TrainingDraws",
    "TwoWays",
]

Digests = Mapping[str, str]


@dataclass(frozen=True)
class Repeat:
    """The same checkpoint evaluated twice; `expected` selects from the first evaluation."""

    first: Evaluation
    again: Evaluation
    how: str
    prefix: bool = False


@dataclass(frozen=True)
class Served:
    """Evaluation batches, served twice, beside an independent decode of the same files.

    Attributes
    ----------
    crop : (height, width), px
    batch_size : int
    split : tuple of str
        Every sample id of the split, sorted.
    batches, again : sequence of ServedBatch
    decoded : mapping of str to (frames, flow)
        Uncropped: (H, W, 6) uint8 BGR and (H, W, 2) float32, px.
    flow_clip : float or None
        Label clip that the configuration asks for, px.
    count : int
        Batches that the configuration asks for, at most.
    """

    crop: tuple[int, int]
    batch_size: int
    flow_clip: float | None
    count: int
    split: tuple[str, ...]
    batches: Sequence[ServedBatch]
    again: Sequence[ServedBatch]
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]


@dataclass(frozen=True)
class TrainingDraws:
    """Training batches of two epochs, the first one served twice, and another seed's."""

    full_pass: bool
    random_crop: bool
    flow_clip: float | None
    split: tuple[str, ...]
    planned_sizes: tuple[int, ...]
    first: Sequence[ServedBatch]
    first_again: Sequence[ServedBatch]
    second: Sequence[ServedBatch]
    other_seed: Sequence[ServedBatch]
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]


@dataclass(frozen=True)
class Purity:
    """Complete state, and the next training draws, before and after an evaluation.

    The draws are None where the system cannot be asked for them: its state is judged alone.
    """

    before: Digests
    after: Digests
    draws_before: tuple[str, ...] | None
    draws_after: tuple[str, ...] | None


@dataclass(frozen=True)
class TwoWays:
    """The same training done in two ways that must not differ."""

    one: str
    other: str
    states: tuple[Digests, Digests]
    trainings: tuple[Training, Training]


@dataclass(frozen=True)
class RecalPair:
    """One arch recalibrated twice, with other moving statistics in between.

    ``disturbed`` is how many moving statistics were changed; ``moving`` are the
    statistics that the model held before the first recalibration. ``scores`` and
    ``scores_disturbed`` are the arch's per-sample EPE before and while they were changed.
    """

    first: Recalibration
    second: Recalibration
    disturbed: int
    moving: Arrays
    scores: tuple[float, ...]
    scores_disturbed: tuple[float, ...]


@dataclass(frozen=True)
class RecalHashes:
    """Recalibration batch hashes by where they were taken, and with one pixel changed."""

    fixed: bool
    hashes: Mapping[str, str]
    one_pixel_changed: str


@dataclass(frozen=True)
class Oracle:
    """Known answers of the metric: case, exact EPE per sample, found, px.

    ``epsilon`` is what the metric says that it adds under its root, px^2; ``alone`` is each
    case's EPE of the last residual by itself, px.
    """

    cases: Sequence[tuple[str, Sequence[float], Sequence[float]]]
    epsilon: float = 0.0
    alone: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recomputation:
    """Residual outputs, labels and the EPE that the system reported for them.

    ``own`` is, for each row, what the metric gives those outputs when it is fed with them, px;
    ``epsilon`` is what it adds under its root, px^2.
    ``rows`` hold arch, sample ids, three outputs (B, h, w, >= 2), label, valid and the
    reported per-sample EPE, px; ``reported`` maps an arch to its reported EPE.
    """

    rows: Sequence[
        tuple[
            str, tuple[str, ...], Sequence[NDArray[Any]], NDArray[Any], NDArray[Any],
            tuple[float, ...],
        ]
    ]  # fmt: skip
    reported: Mapping[str, float]
    zero_flow: float
    epsilon: float = 0.0
    own: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Response:
    """A pool's scores, and what they become when one output head's kernels change."""

    base: Evaluation
    changed: Mapping[str, Evaluation]
    again: Evaluation | None = None


@dataclass(frozen=True)
class Resume:
    """State and records of a straight run and of one cut, restored in a fresh process."""

    cut: str
    straight: Digests
    resumed: Digests
    straight_steps: tuple[tuple[object, ...], ...]
    resumed_steps: tuple[tuple[object, ...], ...]
    straight_rows: tuple[Mapping[str, Any], ...]
    resumed_rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class KilledRuns:
    """Runs that were killed at random moments and resumed each time, until they were done.

    Attributes
    ----------
    kills : int
        How often a process was killed before it was done.
    straight : mapping
        Digests of the state at the end of the run that nothing interrupted.
    ends : sequence of mapping
        The same for each run that was killed.
    refused : sequence of str
        Checkpoints that a kill left under their own name and that could not be restored.
    """

    kills: int
    straight: Digests
    ends: Sequence[Digests]
    refused: Sequence[str]


@dataclass(frozen=True)
class Moves:
    """State digests before and after training, and what was trained in between."""

    before: Digests
    after: Digests


@dataclass(frozen=True)
class EpochRows:
    """An epoch row beside what it sums up: the training, and the evaluation repeated."""

    training: Training
    evaluation: Evaluation
    base_lr: float
    total_steps: int


@dataclass(frozen=True)
class ConstantRanking:
    """Scores of a pool whose archs all predict zero flow, and tau after each epoch."""

    per_arch_epe: tuple[float, ...]
    taus: tuple[float | None, ...]


@dataclass(frozen=True)
class CheckpointPair:
    """State before saving, and after restoring into a system whose state was disturbed."""

    saved: Digests
    disturbed: Digests
    restored: Digests


@dataclass(frozen=True)
class FiniteEvidence:
    """Named numbers that must all be finite: weights, gradients, statistics, scores."""

    groups: Mapping[str, Arrays]


@dataclass(frozen=True)
class PlantedNan:
    """What happened when training met a planted NaN."""

    variable: str
    error: str | None
    message: str
