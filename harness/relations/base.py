"""What a relation is: a pure function from evidence to violations, with a name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "NotApplicableError",
    "Outcome",
    "Relation",
    "Tier",
    "Violation",
    "differences",
    "outcome",
]

Tier = Literal["quick", "full", "nightly"]


class NotApplicableError(Exception):
    """A promise does not apply to this system, configuration, data or run; says why."""


@dataclass(frozen=True)
class Violation:
    """The first place where a promise broke, with both values."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Outcome:
    """What a relation found.

    Attributes
    ----------
    violations : tuple of Violation
        Empty: the promise holds.
    figures : str
        The evidence in numbers, for one line.
    warnings : tuple of str
        What a person should know although the promise holds.
    """

    violations: tuple[Violation, ...]
    figures: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """An invariant.

    Attributes
    ----------
    id : str
        Stable name.
    promise : str
        One sentence.
    needs : str
        Name of the scenario that makes its evidence.
    calls : tuple of str
        Protocol calls that the scenario makes; a system without one of them cannot be
        judged, and is reported so.
    hint : str
        What a violation usually means, for its reader.
    check : callable
        Evidence to Outcome.
    sees : tuple of str
        Rooms of the system in which a fault can break it: ``data``, ``step``, ``evaluation``,
        ``metric``, ``recalibration``, ``checkpoint``, ``log``, ``fairness``, ``determinism``,
        ``config``. A fault is run against every relation that sees one of the rooms it touches.
    tier : {"quick", "full", "nightly"}
        From which tier on it is checked.
    offline : bool
        Whether its evidence is a :class:`harness.records.run.RunEvidence`, so that
        ``harness audit`` can check it on the ledger of any run.
    """

    id: str
    promise: str
    needs: str
    calls: tuple[str, ...]
    hint: str
    check: Callable[[Any], Outcome]
    sees: tuple[str, ...]
    tier: Tier = "quick"
    offline: bool = False


def outcome(
    violations: list[Violation], looked_at: int, figures: str, warnings: tuple[str, ...] = ()
) -> Outcome:
    """Return the outcome; evidence of which nothing was looked at is a violation itself."""
    if looked_at == 0 and not violations:
        empty = Violation("evidence", "something to compare", "nothing: the check saw no data")
        return Outcome((empty,), figures, warnings)
    return Outcome(tuple(violations), figures, warnings)


def differences(
    expected: dict[str, Any], found: dict[str, Any], *, what: str, limit: int = 5
) -> list[Violation]:
    """Return a violation for each key that differs, at most `limit` and a count of the rest."""
    wrong = [
        Violation(f"{what} {key}", str(expected.get(key, "absent")), str(found.get(key, "absent")))
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key, "absent") != found.get(key, "absent")
    ]
    if len(wrong) > limit:
        rest = Violation(f"{what}", "no further difference", f"{len(wrong) - limit} more")
        return [*wrong[:limit], rest]
    return wrong
