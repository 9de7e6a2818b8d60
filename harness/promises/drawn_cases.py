"""Promises of arithmetic, tried on cases that hypothesis draws: sizes, counts, orders, splits.

They are asked of the parts that a system is put together from, so that thousands of cases cost
less than one training step.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import Tier, Violation
from harness.promises.shown import Shown

__all__ = ["case_count", "for_all", "parts", "require", "require_refusal", "select_profile"]


class _BrokenCaseError(Exception):
    """A case in which a promise broke; hypothesis looks for the smallest one."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


def parts(bench: Bench) -> Any:
    """Return the parts that the system is put together from (:class:`harness.runs.parts.Parts`).

    Raises
    ------
    NotApplicableError
        If it is not put together of any.
    """
    system = bench.factory()
    if not hasattr(system, "parts"):
        msg = "the system does not expose its parts"
        raise NotApplicableError(msg)
    return system.parts


def select_profile(tier: Tier) -> None:
    """Let the tier say how many cases hypothesis draws.

    All but nightly repeat the same cases; nightly draws new ones, and prints how to repeat
    a failure.
    """
    quick, nightly = settings(max_examples=60, derandomize=True), settings(max_examples=1000)
    settings.register_profile("samebits-smoke", quick)
    settings.register_profile("samebits-quick", quick)
    settings.register_profile("samebits-full", quick, max_examples=500)
    settings.register_profile("samebits-nightly", nightly, derandomize=False, print_blob=True)
    settings.load_profile(f"samebits-{tier}")


def case_count() -> int:
    """Return how many cases are drawn in the profile that was selected."""
    profile = settings.default
    assert profile is not None
    return profile.max_examples


def for_all(case: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> list[Violation]:
    """Try drawn cases, and return the violation of the smallest one that breaks, if any.

    Parameters
    ----------
    case : callable
        Takes one value of each strategy and calls :func:`require`.
    """
    # The test itself is remembered nowhere: what was drawn follows from the profile alone.
    # With several bugs hypothesis would raise a group, in which
    # _BrokenCaseError is not caught below.
    cheap = settings(deadline=None, database=None, report_multiple_bugs=False)

    def tried(drawn: tuple[Any, ...]) -> None:
        try:
            case(*drawn)
        except _BrokenCaseError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            what = f"{type(error).__name__}: {error}"
            violation = Violation(f"{case.__name__} of {drawn}", "an answer", what)
            raise _BrokenCaseError(violation) from error

    tried.__name__ = case.__name__
    try:
        cheap(given(st.tuples(*strategies))(tried))()
    except _BrokenCaseError as broken:
        return [broken.violation]
    return []


def require(
    where: str, expected: Any, found: Any, *, holds: bool | None = None,
    shown: Callable[[], Shown] | None = None,
) -> None:  # fmt: skip
    """Break the case unless the two are equal, or unless it `holds` where that is told.

    Parameters
    ----------
    shown : callable, optional
        Makes what is shown of a broken case.
    """
    if not (expected == found if holds is None else holds):
        drawn = () if shown is None else (shown(),)
        raise _BrokenCaseError(Violation(where, str(expected), str(found), shown=drawn))


def require_refusal(
    where: str, words: str, function: Callable[..., Any], *args: Any, **options: Any
) -> None:
    """Break the case unless a function raises a ValueError that has the words in its text."""
    try:
        found = f"{function(*args, **options)!r}"[:200]
    except ValueError as error:
        require(where, f"an error that says {words!r}", str(error), holds=words in str(error))
    else:
        require(where, f"an error that says {words!r}", found, holds=False)
