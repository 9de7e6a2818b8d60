"""What a promise is: evidence, how a system is driven to give it, what must hold, why it breaks."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.errors import UnseenError
from harness.promises.shown import Shown
from harness.wording import is_digest, shortened

if TYPE_CHECKING:
    from harness.promises.bench import Bench

__all__ = [
    "COINCIDENCE", "EACH_TIME", "TIERS", "Digests", "Driver", "Outcome", "Promise", "Tier",
    "Violation", "differences", "grouped_differences", "kind_of_array", "needs",
    "outcome", "require_seen", "with_shown",
]  # fmt: skip

Tier = Literal["smoke", "quick", "full", "nightly"]
TIERS: tuple[Tier, ...] = ("smoke", "quick", "full", "nightly")
"""Each one checks what those before it check, and more."""

EACH_TIME = "other each time"
"""Kind of a breach: what is served or drawn differs from one time to the next."""

COINCIDENCE = 1_000
"""Equal draws are no coincidence from this many equally likely ones on."""

Digests = Mapping[str, str]
"""Name of an array to its digest."""

Driver = Callable[["Bench"], Any]
"""Drives a system on the bench and returns evidence."""

_Driver = TypeVar("_Driver", bound=Callable[..., Any])


@dataclass(frozen=True)
class Violation:
    """The first place where a promise broke, with both values.

    Attributes
    ----------
    where, expected, found : str
        The place and both values.
    kind : str
        What kind of breach it is, where a promise can break in several ways: a cause explains
        breaches of its own kinds alone. Empty: it is of no particular kind.
    shown : tuple of Shown
        Both values as they can be drawn, where they can.
    """

    where: str
    expected: str
    found: str
    kind: str = ""
    shown: tuple[Shown, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes
    ----------
    violations : tuple of Violation
        Empty: the promise holds.
    figures : str
        The evidence in numbers, for one line.
    warnings : tuple of str
        What a person should know although the promise holds.
    unseen : str
        What should have been looked at and could not be seen; empty where enough was seen. It
        is no accusation of somebody's trainer, and no excuse for a system of ours
        (:meth:`accused`).
    detail : str
        What is too long for a list of violations: the whole text of an error.
    """

    violations: tuple[Violation, ...]
    figures: str
    warnings: tuple[str, ...] = ()
    unseen: str = ""
    detail: str = ""

    def accused(self) -> tuple[Violation, ...]:
        """Return the violations of a system that must show everything: one of ours."""
        if not self.unseen:
            return self.violations
        return (*self.violations, Violation("evidence", "something to compare", self.unseen))


def require_seen(seen: Any, what: str) -> None:
    """Require evidence of something: a list that has elements, a text that is not empty.

    Raises
    ------
    UnseenError
        If there is nothing, saying what was not there.
    """
    if not seen:
        raise UnseenError(what)


@dataclass(frozen=True)
class Promise:
    """An invariant of a system, with everything that is said of it.

    Attributes
    ----------
    id : str
        Stable name.
    sentence : str
        What is promised.
    check : callable
        What must hold: a pure function from evidence to :class:`Outcome`.
    hint : str
        What a violation usually means, for its reader.
    evidence : callable or None
        Drives a system to give the evidence; several promises may share it. None where the
        evidence is the records of a run (:class:`harness.records.run.RunEvidence`), which
        ``harness audit`` reads from any ledger.
    tier : {"smoke", "quick", "full", "nightly"}
        From which tier on it is checked.
    explained_by : tuple of str
        Promises whose breach explains a breach of this one of the same kinds; ``ID:KIND`` where
        breaches of that kind explain it, whatever its own kind.
    blocked_by : tuple of str
        Promises whose breach leaves this one undecidable: what it compares moves by itself.
    varied : bool
        Whether a gate judges it under the other setting too
        (:func:`harness.promises.varied.varied_bench`), because it may hold under one alone.
    further : tuple of str
        What its check needs beyond its evidence: calls, or words of
        :data:`harness.promises.openings.SAYINGS`.
    """

    id: str
    sentence: str
    check: Callable[[Any], Outcome]
    hint: str
    evidence: Driver | None = None
    tier: Tier = "quick"
    explained_by: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    varied: bool = False
    further: tuple[str, ...] = ()

    @property
    def in_quick(self) -> bool:
        """Whether the quick tier checks it."""
        return TIERS.index(self.tier) <= TIERS.index("quick")

    @property
    def calls(self) -> tuple[str, ...]:
        """Protocol calls that its evidence needs; a system without one cannot be judged."""
        return getattr(self.evidence, "calls", ())

    @property
    def needs(self) -> frozenset[str]:
        """Calls that it needs, and what a system must say beside them to be judged at all."""
        return frozenset((*self.calls, *getattr(self.evidence, "says", ()), *self.further))


def needs(*calls: str, says: tuple[str, ...] = ()) -> Callable[[_Driver], _Driver]:
    """Declare the protocol calls that a driver makes of every system it is given.

    Parameters
    ----------
    says : tuple of str
        What the system must say for them to show anything, of
        :data:`harness.promises.openings.SAYINGS`: without, the driver finds that its promises
        do not apply.
    """

    def declared(driver: _Driver) -> _Driver:
        driver.calls = calls  # type: ignore[attr-defined]
        driver.says = says  # type: ignore[attr-defined]
        return driver

    return declared


def outcome(
    violations: list[Violation], looked_at: int, figures: str, warnings: tuple[str, ...] = (),
    *, unseen: str = "", without: str = "the check saw no data",
) -> Outcome:  # fmt: skip
    """Return the outcome.

    Parameters
    ----------
    looked_at : int
        How much was compared; 0: nothing was seen.
    unseen : str
        What could not be seen although something was.
    without : str
        What was not there if nothing was looked at.
    """
    if looked_at == 0 and not violations:
        unseen = unseen or f"nothing: {without}"
    return Outcome(tuple(violations), figures, warnings, unseen)


def with_shown(
    violations: Sequence[Violation], shown: Callable[[], tuple[Shown, ...]]
) -> list[Violation]:
    """Return violations of which the first shows what all are about, too; made if there is one."""
    if not violations:
        return []
    first, *others = violations
    return [replace(first, shown=(*first.shown, *shown())), *others]


def differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], *, what: str, limit: int = 5
) -> list[Violation]:
    """Return a violation for each key that differs, at most `limit` and a count of the rest.

    Two digests, which tell a person nothing, are not shown.
    """
    wrong = [_difference(what, key, expected, found) for key in _different(expected, found)]
    if len(wrong) > limit:
        rest = Violation(what.rstrip(":"), "no further difference", f"{len(wrong) - limit} more")
        return [*wrong[:limit], rest]
    return wrong


def grouped_differences(expected: Digests, found: Digests, *, what: str) -> list[Violation]:
    """Return a violation for each kind of array that differs, with how many do.

    One array alone is named.
    """
    different: dict[str, list[str]] = {}
    for name in _different(expected, found):
        different.setdefault(kind_of_array(name), []).append(name)
    violations = []
    for kind, names in different.items():
        if len(names) == 1:
            violations.append(_difference(what, names[0], expected, found))
            continue
        total = sum(kind_of_array(name) == kind for name in expected.keys() | found.keys())
        absent = [name for name in names if name not in expected or name not in found]
        shown = f"others, e.g. {names[0]}" + f"; {len(absent)} on one side alone" * bool(absent)
        where = f"{what} {len(names)} of {total} {kind}"
        violations.append(Violation(where, "the same", shown))
    return violations


_KINDS = (
    ("counters and generators", re.compile(r"(^|/)progress/")),
    ("moving statistics", re.compile(r"moving_(mean|variance)|running_(mean|var)")),
    (
        "optimizer slots",
        re.compile(r"(^|[/.])(adam(_\d+)?|slots?|exp_avg(_sq)?|momentum)([/.:]|$)", re.IGNORECASE),
    ),
)


def kind_of_array(name: str) -> str:
    """Return what an array of a state is, by its name; ``weights`` where nothing says otherwise."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "weights")


def _different(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        key
        for key in sorted(expected.keys() | found.keys())
        if not _same(expected.get(key, "absent"), found.get(key, "absent"))
    ]


def _difference(
    what: str, key: str, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> Violation:
    return Violation(
        f"{what} {key}", *_in_words(expected.get(key, "absent"), found.get(key, "absent"))
    )


def _in_words(expected: Any, found: Any) -> tuple[str, str]:
    """Return two values as text; of two digests, that they differ."""
    if is_digest(expected) and is_digest(found):
        return "the same value", "another"
    return shortened(expected), shortened(found)


def _same(expected: Any, found: Any) -> bool:
    """Return whether two values are equal; NaN, which is not equal to itself, is here."""
    return bool(expected == found or (expected != expected and found != found))
