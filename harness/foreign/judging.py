"""What a check of another trainer's run is, and putting a run to all of them.

What was measured and what it means stand apart: a check returns figures, and its declaration says
what they usually mean.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import NotApplicableError
from harness.foreign.run import ForeignRun, Plan
from harness.training.ladder import SATURATED

__all__ = ["Check", "Findings", "Limits", "Measured", "Subject", "ZeroFlow", "judge_run"]


@dataclass(frozen=True)
class Limits:
    """Where a figure becomes a finding.

    Attributes
    ----------
    saturated : float
        Clip rate, as ``harness clip-study`` has it.
    near_zero_flow : float
        Share of the zero flow's EPE: EdgeFlowNAS stayed at 0.95 while its metric was dead, where
        the accumulated flow of the same weights had 0.44 (README).
    alike : float
        Standard deviation over the pool by its mean, as an audit of our own runs has it.
    sigmas : float
        Standard deviations of tau under chance that a mean tau is to exceed.
    """

    saturated: float = SATURATED
    near_zero_flow: float = 0.9
    alike: float = 0.001
    sigmas: float = 2.0


@dataclass(frozen=True)
class ZeroFlow:
    """EPE of an all-zero flow, px, and how it is known."""

    epe: float
    source: str


@dataclass(frozen=True)
class Subject:
    """A run with all that is known beside it.

    Attributes
    ----------
    run : ForeignRun
    plan : Plan
        What it was made with: as the run tells, else as configured.
    configured : Plan
        What was to be.
    zero : ZeroFlow or None
    limits : Limits
    """

    run: ForeignRun
    plan: Plan
    configured: Plan
    zero: ZeroFlow | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Measured:
    """What a check measured.

    Attributes
    ----------
    text : str
        For people, one line.
    found : bool
        Whether that is a finding.
    values : mapping of str to Any
        JSON-able.
    """

    text: str
    found: bool
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One question to a run.

    Attributes
    ----------
    id : str
        What is to hold, as a name.
    sentence : str
        The same as a sentence.
    check : callable
        Subject to what is measured; raises NotApplicableError, with the reason, where it cannot
        be made.
    meaning : str
        What a finding usually means, and what to do.
    """

    id: str
    sentence: str
    check: Callable[[Subject], Measured]
    meaning: str


@dataclass(frozen=True)
class Findings:
    """What all checks said, in their order.

    Attributes
    ----------
    measured : mapping of Check to Measured
    unmade : mapping of str to str
        Why others could not be made, by their id.
    """

    measured: Sequence[tuple[Check, Measured]]
    unmade: Mapping[str, str]

    @property
    def found(self) -> tuple[Check, ...]:
        """Checks with a finding."""
        return tuple(check for check, measured in self.measured if measured.found)


def judge_run(subject: Subject, checks: Sequence[Check]) -> Findings:
    """Put a run to every check that its format allows."""
    measured: list[tuple[Check, Measured]] = []
    unmade: dict[str, str] = {}
    for check in checks:
        why = subject.run.unmade.get(check.id)
        if why is None:
            try:
                measured.append((check, check.check(subject)))
            except NotApplicableError as error:
                why = str(error)
        if why is not None:
            unmade[check.id] = why
    return Findings(measured, {**unmade, **subject.run.unmade})
