"""One judge for the gate, the audit and the kill matrix.

It imports no subject: whoever asks brings the promise, and with it the evidence.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import NotApplicableError, UnseenError, full_text, one_line, plain_line
from harness.promises.promise import Outcome, Promise, Violation
from harness.promises.shown import Shown

if TYPE_CHECKING:
    from harness.promises.bench import Bench

__all__ = ["Judgement", "Verdict", "gravity", "is_broken", "judge", "judge_evidence", "tally"]

Verdict = Literal["holds", "BROKEN", "n/a", "error"]

_BY_GRAVITY: tuple[Verdict, ...] = ("n/a", "holds", "error", "BROKEN")


@dataclass(frozen=True)
class Judgement:
    """What was found of one promise.

    Attributes
    ----------
    promise : Promise
    verdict : {"holds", "BROKEN", "n/a", "error"}
        ``error``: the evidence could not be made or judged.
    text : str
        One line: the figures, the first violation, the reason or the error.
    violations : tuple of str
        Every violation, or the error.
    warnings : tuple of str
    kinds : tuple of str
        Kinds of its violations, where they have any.
    error : Exception or None
        What kept it from being judged.
    detail : str
        What is too long for a list: the whole text of an error, with a foreign traceback.
    shown : tuple of (int, Shown)
        What can be drawn, with the number of the violation that it belongs to, from 0.
    """

    promise: Promise
    verdict: Verdict
    text: str
    violations: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    error: Exception | None = field(default=None, repr=False, compare=False)
    detail: str = field(default="", repr=False)
    shown: tuple[tuple[int, Shown], ...] = field(default=(), repr=False, compare=False)


def judge(promise: Promise, bench: "Bench") -> Judgement:
    """Judge a promise of the system on the bench."""
    absent = [call for call in promise.calls if call not in bench.describe().can]
    if absent:
        reason = f"the system does not offer {', '.join(absent)}"
        return Judgement(promise, "n/a", reason)
    assert promise.evidence is not None, f"{promise.id} is judged on a ledger alone"
    found = _judged_on(promise, bench)
    # What is broken already needs no second proof.
    if not promise.varied or found.verdict not in ("holds", "n/a") or bench.varied is None:
        return found
    return _together(found, _judged_on(promise, bench.varied), bench.varied.setting)


def _judged_on(promise: Promise, bench: "Bench") -> Judgement:
    driver = promise.evidence
    assert driver is not None
    return judge_evidence(promise, lambda: bench.evidence(driver), foreign=bench.spec.foreign)


def _together(first: Judgement, other: Judgement, name: str) -> Judgement:
    """Return one judgement of two settings, of which the first neither broke nor failed."""
    if other.verdict == "n/a":
        return first
    if other.verdict == "holds":
        text = f"{name}: {other.text}" if first.verdict == "n/a" else f"{first.text}; {name} too"
        return replace(other, text=text, warnings=(*first.warnings, *other.warnings))
    return replace(
        other, text=f"{name}: {other.text}",
        violations=tuple(f"{name}: {text}" for text in other.violations),
    )  # fmt: skip


def judge_evidence(
    promise: Promise, make: Callable[[], Any], *, foreign: bool = False
) -> Judgement:
    """Judge a promise on the evidence that a function makes.

    Parameters
    ----------
    foreign : bool, default False
        Whether it is somebody else's. What theirs does not show is not applicable; a system of
        ours, or its ledger, that has nothing to show broke its promise.
    """
    try:
        found = promise.check(make())
    except UnseenError as error:
        found = Outcome((), "", unseen=str(error))
    except NotApplicableError as error:
        return Judgement(promise, "n/a", plain_line(str(error), most=500), detail=str(error))
    except Exception as error:  # noqa: BLE001 -- whatever a system raises is its judgement
        text, detail = one_line(error), full_text(error)
        return Judgement(promise, "error", text, (text,), error=error, detail=detail)
    accused = found.violations if foreign else found.accused()
    violations = tuple(str(violation) for violation in accused)
    if found.unseen and not violations:
        text = plain_line(found.unseen, most=500)
        return Judgement(promise, "n/a", text, (), found.warnings, detail=found.unseen)
    if violations:
        kinds = tuple(sorted({v.kind for v in found.violations if v.kind}))
        return Judgement(
            promise, "BROKEN", violations[0], violations, found.warnings, kinds,
            detail=found.detail, shown=_shown(accused),
        )  # fmt: skip
    return Judgement(promise, "holds", found.figures, (), found.warnings)


_MOST_SHOWN = 6
"""Of one promise: arrays of a few samples say what those of all would."""


def _shown(violations: Sequence[Violation]) -> tuple[tuple[int, Shown], ...]:
    every = [(number, one) for number, v in enumerate(violations) for one in v.shown]
    return tuple(every[:_MOST_SHOWN])


def gravity(judgement: Judgement) -> int:
    """Return how bad a judgement is; the worst of several speaks for all."""
    return _BY_GRAVITY.index(judgement.verdict)


def is_broken(judgements: Iterable[Judgement]) -> bool:
    """Return whether a promise is broken, or could not be judged, which vouches for nothing."""
    return any(judgement.verdict in ("BROKEN", "error") for judgement in judgements)


def tally(judgements: Sequence[Judgement], *more: tuple[int, str]) -> str:
    """Return how many judgements have which verdict, in words, with further counts."""
    found = [judgement.verdict for judgement in judgements]
    counts = (
        (found.count("holds"), "promise holds" if found.count("holds") == 1 else "promises hold"),
        (found.count("BROKEN"), "broken"),
        (found.count("error"), "could not be checked"),
        (found.count("n/a"), "not applicable"),
        *more,
    )
    return ", ".join(f"{number} {what}" for number, what in counts if number)
