"""Where a run stands, as a plain JSON-able value, and the aggregates of an epoch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.training.fairness import Counts, no_counts

__all__ = ["EpochSums", "Previous", "Progress"]


@dataclass(frozen=True)
class EpochSums:
    """What the steps of the current epoch have measured so far.

    Attributes
    ----------
    losses : tuple of float
        Mean loss of every micro-batch of every arch.
    norms : tuple of float
        Pre-clip global norm of every check.
    clipped : int
        Checks whose norm exceeded the threshold.
    lr : float or None
        Learning rate of the last step.
    """

    losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()
    clipped: int = 0
    lr: float | None = None

    @property
    def loss(self) -> float:
        """Mean loss over all micro-batches of all archs."""
        return math.fsum(self.losses) / len(self.losses)


@dataclass(frozen=True)
class Previous:
    """The previous evaluation, for Kendall's tau: archs, scores and batch digest."""

    archs: tuple[str, ...]
    per_arch_epe: tuple[float, ...]
    eval_batch_hash: str


@dataclass(frozen=True)
class Progress:
    """Counters of a run; with (seed, configuration) they determine all that follows.

    Attributes
    ----------
    epoch : int
        Epochs completed.
    step : int
        Steps completed in the epoch after that.
    global_step : int
        Steps completed.
    counts : tuple
        Fairness counts per block and option.
    best_metric, patience_metric : float or None
        Lowest mean EPE so far, px; the one that early stopping compares with.
    bad_epochs : int
        Evaluations since the last improvement by ``early_stop_min_delta``.
    sums : EpochSums
        Aggregates of the partial epoch.
    previous : Previous or None
        The previous evaluation.
    row : mapping or None
        The last epoch's log row without its checkpoint digest, so that a crash between
        checkpoint and log can be repaired.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    counts: Counts = field(default_factory=no_counts)
    best_metric: float | None = None
    patience_metric: float | None = None
    bad_epochs: int = 0
    sums: EpochSums = EpochSums()
    previous: Previous | None = None
    row: Mapping[str, Any] | None = None

    def get_state(self) -> dict[str, Any]:
        """Return a JSON-able value."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        """Rebuild the value that :meth:`get_state` returned."""
        values = dict(state)
        values["counts"] = tuple(tuple(row) for row in values["counts"])
        sums = values["sums"]
        values["sums"] = EpochSums(
            tuple(sums["losses"]), tuple(sums["norms"]), sums["clipped"], sums["lr"]
        )
        previous = values["previous"]
        if previous is not None:
            values["previous"] = Previous(
                tuple(previous["archs"]), tuple(previous["per_arch_epe"]),
                previous["eval_batch_hash"],
            )  # fmt: skip
        return cls(**values)
