"""Learning-rate schedules that a system may declare, and the rate of each step on them.

The one place that knows them: pure functions of base rate, step and plan, so that no counter of a
trainer's own vouches for itself.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

__all__ = ["COSINE", "SCHEDULES", "Schedule", "named"]

SCHEDULES = ("cosine", "constant", "step", "linear", "onecycle", "own")
"""Half a cosine (Loshchilov and Hutter, arXiv 1608.03983, without restarts), one rate for all
steps, a factor at milestones or every so often (PyTorch's MultiStepLR and StepLR), a straight
line, the 1cycle policy (Smith and Topin, arXiv 1708.07120) in the form of PyTorch's OneCycleLR,
and any other, of which no rate is judged."""

PER = ("step", "epoch")
"""How often a rate is set anew; in these units a schedule counts."""

ANNEALS = ("cos", "linear")
"""How the 1cycle policy goes from one rate to the next."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate follows from a step's place in the plan.

    Attributes
    ----------
    name : str
        Of :data:`SCHEDULES`.
    per : {"step", "epoch"}
        Whether the rate is another one in each step, or in each epoch; in steps done before, or
        epochs completed, are `warmup`, `milestones`, `every` and `beyond`.
    warmup : int
        For so long the rate rises in a straight line from `warmup_from` times the base rate; not
        of ``onecycle``, which has one. A cosine or a line begins behind it, milestones count from
        the start.
    warmup_from : float
        Share of the base rate that it starts from.
    end : float
        Share of the base rate that a cosine or a line ends at, behind the last step.
    milestones : tuple of int
        Of ``step``: from each on, the rate is `factor` times what it was.
    every : int
        Of ``step``, in place of milestones: that it is so again and again.
    factor : float
        Of ``step``.
    pct_start, anneal, div_factor, final_div_factor
        Of ``onecycle``, whose base rate is the largest: share of the run in which it rises,
        ``cos`` or ``linear``, base rate over first, and first over last.
    beyond : int
        By how much the schedule is longer than the run.
    title : str
        What it is called, where that is another name.
    """

    name: str
    per: str = "step"
    warmup: int = 0
    warmup_from: float = 0.0
    end: float = 0.0
    milestones: tuple[int, ...] = ()
    every: int = 0
    factor: float = 0.1
    pct_start: float = 0.3
    anneal: str = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    beyond: int = 0
    title: str = ""

    @property
    def known(self) -> bool:
        """Whether a step's rate follows from it."""
        return self.name in _SHARES

    @property
    def text(self) -> str:
        """What it is called."""
        return self.title or self.name

    def rate(self, base: float, step: int, total: int, planned: int) -> float:
        """Return the learning rate of a step.

        Parameters
        ----------
        base : float
            The configured rate.
        step : int
            Steps done before it.
        total, planned : int
            Steps of the whole run, and of an epoch.

        Raises
        ------
        ValueError
            If no rate follows from the schedule.
        """
        if not self.known:
            msg = f"no rate follows from schedule {self.text!r}, expected one that is known"
            raise ValueError(msg)
        of_epochs = self.per == "epoch"
        done, last = (step // planned, total // planned) if of_epochs else (step, total)
        if done < self.warmup:
            return base * (self.warmup_from + (1 - self.warmup_from) * done / self.warmup)
        return base * _SHARES[self.name](self, done, last + self.beyond)

    def fits(self, found: float, base: float, planned: float) -> bool:
        """Return whether a rate is the planned one, but for rounding.

        A trainer that declares its schedule may keep a rate in float32, or compute it there
        from shares of the base rate.
        """
        if self == COSINE:
            return math.isclose(found, planned, rel_tol=_EXACT)
        return math.isclose(found, planned, rel_tol=_ROUNDED, abs_tol=_OF_THE_BASE * abs(base))

    def faults(self) -> Iterator[tuple[str, str, object]]:
        """Yield what is no schedule: the field, what was expected, and what was found."""
        if self.name not in SCHEDULES:
            yield "name", f"one of {', '.join(SCHEDULES)}", self.name
            return
        taken = _TAKEN[self.name]
        for one in fields(self):
            found = getattr(self, one.name)
            if one.name not in taken and found != one.default:
                yield one.name, f"none of {self.name}'s, which has {', '.join(taken)}", found
        for name, choices in (("per", PER), ("anneal", ANNEALS)):
            if getattr(self, name) not in choices:
                yield name, f"one of {', '.join(choices)}", getattr(self, name)
        for name in ("warmup", "every", "beyond"):
            if getattr(self, name) < 0:
                yield name, "0 or more", getattr(self, name)
        for name in ("warmup_from", "end", "pct_start"):
            if not 0 <= getattr(self, name) <= 1:
                yield name, "0 to 1", getattr(self, name)
        for name in ("div_factor", "final_div_factor"):
            if not 0 < getattr(self, name) < math.inf:
                yield name, "more than 0", getattr(self, name)
        if self.name == "step":
            yield from self._faults_of_steps()

    def _faults_of_steps(self) -> Iterator[tuple[str, str, object]]:
        if not 0 < self.factor < 1:
            yield "factor", "more than 0, and less than 1", self.factor
        if bool(self.milestones) == bool(self.every):
            yield "milestones", "milestones, or every, and not both", list(self.milestones)
        if list(self.milestones) != sorted(self.milestones) or min(self.milestones, default=1) < 1:
            yield "milestones", "numbers from 1 on, in order", list(self.milestones)


_EXACT, _ROUNDED, _OF_THE_BASE = 1e-9, 1e-6, 2e-7
"""Relative distance of two rates of the planned cosine, and of those of a declared schedule; of
the base rate, what float32 may be off where a rate is a small difference of shares."""


def _cosine(of: Schedule, done: int, last: int) -> float:
    # Not of a share: near the end, where 1 + cos is small, rounding would tell.
    angle = math.pi * min(done - of.warmup, last - of.warmup) / max(last - of.warmup, 1)
    return of.end + (1 - of.end) * (1 + math.cos(angle)) / 2


def _line(of: Schedule, done: int, last: int) -> float:
    return 1 + (of.end - 1) * min((done - of.warmup) / max(last - of.warmup, 1), 1.0)


def _stepwise(of: Schedule, done: int, _: int) -> float:
    passed = done // of.every if of.every else sum(done >= one for one in of.milestones)
    return of.factor**passed


def _onecycle(of: Schedule, done: int, last: int) -> float:
    """Return the share of the largest rate, as ``torch.optim.lr_scheduler.OneCycleLR`` has it.

    Two phases, of pct_start * last - 1 steps and of the rest: from 1 / div_factor up to 1, and
    down to 1 / (div_factor * final_div_factor).
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html
    """
    first, top = 1 / of.div_factor, of.pct_start * last - 1
    if done <= top:
        return _between(of.anneal, first, 1.0, done / top if top else 1.0)
    share = min((done - top) / max(last - 1 - top, 1e-12), 1.0)
    return _between(of.anneal, 1.0, first / of.final_div_factor, share)


def _between(anneal: str, start: float, end: float, share: float) -> float:
    if anneal == "linear":
        return start + (end - start) * share
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


_SHARES: Mapping[str, Callable[[Schedule, int, int], float]] = {
    "cosine": _cosine, "constant": lambda *_: 1.0, "step": _stepwise, "linear": _line,
    "onecycle": _onecycle,
}  # fmt: skip
"""The share of the base rate behind a warmup, after so much of so much is done."""

_ALWAYS = ("name", "per", "title")
_WARMED = (*_ALWAYS, "warmup", "warmup_from")
_TAKEN: Mapping[str, tuple[str, ...]] = {
    "cosine": (*_WARMED, "end", "beyond"),
    "constant": _WARMED,
    "step": (*_WARMED, "milestones", "every", "factor"),
    "linear": (*_WARMED, "end", "beyond"),
    "onecycle": (*_ALWAYS, "pct_start", "anneal", "div_factor", "final_div_factor", "beyond"),
    "own": _ALWAYS,
}
"""The fields that each schedule has."""

COSINE = Schedule("cosine", title="the planned cosine")
"""Of a system that declares nothing; its rates are computed in float64."""

_BY_NAME: Mapping[object, Schedule] = {
    None: COSINE, "": COSINE, "cosine": COSINE, "constant": Schedule("constant")
}  # fmt: skip


def named(name: object) -> Schedule:
    """Return the schedule of a name alone, as a configuration has it.

    Half a cosine where nothing is said; of a name from which no rate follows, one that is not
    known.
    """
    return _BY_NAME.get(name) or Schedule("own", title=str(name))
