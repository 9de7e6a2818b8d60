"""Where a run stands, as a plain JSON-able value, and the aggregates of an epoch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from harness.errors import InputError
from harness.training.fairness import Counts, no_counts

__all__ = [
    "OBSERVED", "EpochSums", "PreviousScores", "Progress", "ProgressError", "after_epoch",
    "after_step",
]  # fmt: skip

OBSERVED: Mapping[str, str] = {
    "sums": "the epoch log starts with the next epoch",
    "previous": "the next Kendall tau is undefined",
    "row": "the last row of the epoch log cannot be repaired",
}
"""Fields that only observe, and what follows from the absence of each."""


class ProgressError(InputError):
    """Counters cannot be rebuilt from a checkpoint; the message names them."""


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
class PreviousScores:
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
    previous : PreviousScores or None
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
    previous: PreviousScores | None = None
    row: Mapping[str, Any] | None = None

    def get_state(self) -> dict[str, Any]:
        """Return a JSON-able value."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "tuple[Progress, list[str]]":
        """Rebuild the value that :meth:`get_state` returned.

        A checkpoint of an earlier version may lack what only observes (:data:`OBSERVED`):
        the run goes on without it, and the notes say what is missing.

        Returns
        -------
        progress : Progress
        notes : list of str
            One sentence for each field that is absent.

        Raises
        ------
        ProgressError
            If a counter is absent or unknown, or a partial epoch has lost its aggregates.
        """
        known = {item.name for item in fields(cls)}
        lacking = [name for name in fields(cls) if name.name not in state]
        required = [item.name for item in lacking if item.name not in OBSERVED]
        surplus = sorted(state.keys() - known)
        if required or surplus:
            raise ProgressError(_misfit_text(required, surplus))
        sums, absent = _epoch_sums(state.get("sums") or {})
        if absent and state["step"]:
            msg = (
                f"the aggregates of the partial epoch {state['epoch'] + 1} lack "
                f"{', '.join(absent)}: continue from a checkpoint of an epoch's end"
            )
            raise ProgressError(msg)
        notes = [
            f"the checkpoint holds no `{name}`, as earlier versions did not: {OBSERVED[name]}"
            for name in OBSERVED
            if name in {item.name for item in lacking} or (name == "sums" and absent)
        ]
        values = {**state, "counts": tuple(tuple(row) for row in state["counts"]), "sums": sums}
        previous = state.get("previous")
        if previous is not None:
            values["previous"] = PreviousScores(
                tuple(previous["archs"]), tuple(previous["per_arch_epe"]),
                previous["eval_batch_hash"],
            )  # fmt: skip
        return cls(**values), notes


def after_step(
    now: Progress, *, counts: Counts, losses: tuple[float, ...], norms: tuple[float, ...],
    clipped: int, lr: float,
) -> Progress:  # fmt: skip
    """Return the counters once a step is done.

    Parameters
    ----------
    counts : tuple
        Fairness counts, the step's archs included.
    losses, norms : tuple of float
        Of the step's micro-batches and clip checks.
    clipped : int
        The step's checks whose norm exceeded the threshold.
    lr : float
        The step's learning rate.
    """
    sums = EpochSums(
        now.sums.losses + losses, now.sums.norms + norms, now.sums.clipped + clipped, lr
    )
    return replace(
        now, step=now.step + 1, global_step=now.global_step + 1, counts=counts, sums=sums
    )


def after_epoch(now: Progress) -> Progress:
    """Return the counters once an epoch's last step is done: at the start of the next epoch."""
    return replace(now, epoch=now.epoch + 1, step=0, sums=EpochSums())


def _misfit_text(required: list[str], surplus: list[str]) -> str:
    parts = [f"{', '.join(required)} absent"] if required else []
    parts += [f"{', '.join(surplus)} unknown to this version"] if surplus else []
    return f"counters do not fit: {'; '.join(parts)}"


def _epoch_sums(state: Mapping[str, Any]) -> tuple[EpochSums, list[str]]:
    """Return the aggregates, and the names of those that are absent."""
    known = asdict(EpochSums())
    values = {name: state.get(name, default) for name, default in known.items()}
    sums = EpochSums(
        tuple(values["losses"]), tuple(values["norms"]), values["clipped"], values["lr"]
    )
    return sums, [name for name in known if name not in state]
