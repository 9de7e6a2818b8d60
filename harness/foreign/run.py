"""A run of another trainer in the one form that all checks look at."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from harness.wording import quoted

__all__ = ["Epoch", "ForeignRun", "Kept", "Plan", "effective_epochs", "grown"]

Ranking = tuple[tuple[int, float], ...]
"""(index of the arch in the pool, its EPE in px), best first."""


@dataclass(frozen=True)
class Epoch:
    """What a log says of one epoch; None where it does not say it.

    Attributes
    ----------
    number : int
        As the log counts them.
    where : str
        File and line, for people.
    loss : float or None
        Mean over what was logged.
    epe, epe_std : float or None
        Mean over the pool and its standard deviation, px; one model is a pool of one.
    lr : float or None
        Learning rate as the log has it.
    lr_error : float
        How far, relatively, rounding in the log may have moved it.
    norm_mean, norm_p10, norm_p50, norm_p90, norm_p99 : float or None
        Global gradient norm before clipping.
    clip_count, clip_rate : float or None
        Clip checks that clipped, and their share.
    rate_error : float
        How far, absolutely, rounding may have moved `clip_rate`.
    fairness_gap : float or None
        Between options of a block: how much more often one was trained.
    ranking : tuple of (int, float)
        Empty where none is logged.
    """

    number: int
    where: str
    loss: float | None = None
    epe: float | None = None
    epe_std: float | None = None
    lr: float | None = None
    lr_error: float = 1e-9
    norm_mean: float | None = None
    norm_p10: float | None = None
    norm_p50: float | None = None
    norm_p90: float | None = None
    norm_p99: float | None = None
    clip_count: float | None = None
    clip_rate: float | None = None
    rate_error: float = 1e-9
    fairness_gap: float | None = None
    ranking: Ranking = ()

    @property
    def norm(self) -> tuple[float, str] | None:
        """The norm's middle as far as it is logged, and which one that is."""
        if self.norm_p50 is not None:
            return self.norm_p50, "p50"
        return None if self.norm_mean is None else (self.norm_mean, "mean")


@dataclass(frozen=True)
class Plan:
    """Configuration values, by EdgeFlowNAS's key names, and where each was found.

    Attributes
    ----------
    values : mapping of str to (float or str)
        Such as ``train.batch_size``.
    sources : mapping of str to str
        File, or option, of each.
    """

    values: Mapping[str, float | str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def number(self, key: str) -> float | None:
        """Return a value that is a finite number, None where none is known."""
        value = self.values.get(key)
        if isinstance(value, str) or value is None or not math.isfinite(value):
            return None
        return value

    def count(self, key: str) -> int | None:
        """Return a value that is a whole number from 1, None where none is known."""
        value = self.number(key)
        return None if value is None or value < 1 or value != int(value) else int(value)

    def over(self, other: "Plan") -> "Plan":
        """Return both, with this one's values where both have one."""
        return Plan({**other.values, **self.values}, {**other.sources, **self.sources})

    def told(self, key: str) -> str:
        """Return a value with where it was found, for people."""
        value = self.values[key]
        shown = quoted(value, 40) if isinstance(value, str) else f"{value:g}"
        return f"{key} = {shown} ({self.sources.get(key, 'not said where')})"


@dataclass(frozen=True)
class Kept:
    """What a file beside a checkpoint says of it.

    Attributes
    ----------
    name : str
        The file.
    epoch, global_step : int
        When it was saved.
    metric, best_metric : float
        px; infinite before the first evaluation.
    counts : mapping of str to tuple of int
        How often each option of each block was trained.
    row_epe : float or None
        EPE of the row that is kept with it, px.
    """

    name: str
    epoch: int
    global_step: int
    metric: float
    best_metric: float
    counts: Mapping[str, tuple[int, ...]]
    row_epe: float | None = None


@dataclass(frozen=True)
class ForeignRun:
    """A run of another trainer.

    Attributes
    ----------
    kind : str
        Whose it is, for people: ``EdgeFlowNAS``.
    files : tuple of str
        What was read, relative to the folder.
    epochs : tuple of Epoch
        In order, without what a later attempt made void.
    plan : Plan
        How it was made, as far as the run itself tells.
    configured : Plan
        How it was to be made, as far as a file of it says.
    kept : tuple of Kept
    counts : mapping of str to tuple of int, or None
        Trained options by block, at the end.
    table : tuple of Epoch or None
        Rows of the table of evaluations where the log is a file of its own; None where there is
        no such table.
    log : tuple of Epoch or None
        And those of the log.
    finished : bool or None
        Whether its log says that it came to its end; None where no log would.
    notes : tuple of str
        What to know of how it was read.
    strict : bool
        Whether each step is to train every option of a block once.
    label_clip : float or None
        px at which it clips labels when it scores.
    first : int
        Number of a run's first epoch, 0 or 1.
    unmade : mapping of str to str
        Checks that nothing of this kind can be put to, and why.
    """

    kind: str
    files: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    plan: Plan = field(default_factory=Plan)
    configured: Plan = field(default_factory=Plan)
    kept: tuple[Kept, ...] = ()
    counts: Mapping[str, tuple[int, ...]] | None = None
    table: tuple[Epoch, ...] | None = None
    log: tuple[Epoch, ...] | None = None
    finished: bool | None = None
    notes: tuple[str, ...] = ()
    strict: bool = True
    label_clip: float | None = None
    first: int = 1
    unmade: Mapping[str, str] = field(default_factory=dict)

    @property
    def scored(self) -> tuple[Epoch, ...]:
        """Epochs with an evaluation."""
        return tuple(epoch for epoch in self.epochs if epoch.epe is not None)


def effective_epochs(epochs: Iterable[Epoch]) -> tuple[tuple[Epoch, ...], int]:
    """Return the epochs that count, and how many do not: one that comes again voids what follows.

    Parameters
    ----------
    epochs : iterable of Epoch
        In the order of the file.
    """
    kept: list[Epoch] = []
    void = 0
    for epoch in epochs:
        while kept and kept[-1].number >= epoch.number:
            kept.pop()
            void += 1
        kept.append(epoch)
    return tuple(kept), void


def grown(epoch: Epoch, norms: list[float]) -> Epoch:
    """Return an epoch with the figures of its logged norms."""
    if not norms:
        return epoch
    values = np.asarray(norms, np.float64)
    mean = float(values.mean())
    if len(norms) == 1 or not np.isfinite(values).all():
        return replace(epoch, norm_mean=mean)
    p10, p50, p90, p99 = (float(q) for q in np.quantile(values, [0.1, 0.5, 0.9, 0.99]))
    return replace(epoch, norm_mean=mean, norm_p10=p10, norm_p50=p50, norm_p90=p90, norm_p99=p99)
