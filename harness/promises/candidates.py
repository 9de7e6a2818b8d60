"""What a wrong number is instead: named candidates, tried only when a promise has broken.

A number that differs says nothing by itself; that it equals, to the last digits, the sum where a
mean is due says where to look. Nothing is guessed: a candidate that does not give what was found
is not named.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

__all__ = ["Named", "instead", "mean_of", "order_instead", "scores_instead"]

Named = Mapping[str, float | None]
"""What a number may be, in words, to its value; None where there is none."""

_EXACT = 1e-9


def instead(found: float | None, candidates: Named, *, rel_tol: float = _EXACT) -> str:
    """Return ``: `` and the first candidate that equals what was found; nothing if none does."""
    if found is None:
        return ""
    for name, value in candidates.items():
        if value is not None and math.isclose(found, value, rel_tol=rel_tol):
            return f": {name}"
    return ""


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of some values, summed exactly."""
    return math.fsum(values) / len(values)


def scores_instead(name: str, epe: Sequence[float], before: float | None = None) -> Named:
    """Return what a column of the scores of a pool may be instead.

    Parameters
    ----------
    name : str
        The column.
    epe : sequence of float
        EPE of each arch, px.
    before : float, optional
        The column in the epoch before.
    """
    if not epe or not all(map(math.isfinite, epe)):
        return {}
    spread = statistics.pstdev(epe)
    candidates = {
        "that of the epoch before": before,
        "the mean over archs": mean_of(epe),
        "the median over archs": statistics.median(epe),
        "the smallest of the archs'": min(epe),
        "the largest of the archs'": max(epe),
        "the sum over archs": math.fsum(epe),
        "the first arch's alone": epe[0],
        "the last arch's alone": epe[-1],
        "the deviation divided by one arch less": statistics.stdev(epe) if epe[1:] else None,
        "the variance": spread**2,
        "the deviation over archs": spread,
    }
    if "std" not in name:  # a variance that happens to be a mean says nothing
        return {k: v for k, v in candidates.items() if "variance" not in k and "devia" not in k}
    return candidates


def order_instead(expected: Sequence[object], found: Sequence[object]) -> str:
    """Return how one sequence follows from another that it should be; nothing where it does not."""
    want, got, count = list(expected), list(found), len(expected)
    if not want or not got or want == got:
        return ""
    shifts = range(1, count if len(set(want)) == count == len(got) else 1)
    turned = next((k for k in shifts if want[k:] + want[:k] == got), 0)
    equal = next((i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), count)
    half = count // 2
    if len(got) < count and want[: len(got)] == got:
        lost = count - len(got)
        text = "the last is missing" if lost == 1 else f"the last {lost} are missing"
    elif len(got) > count and got[:count] == want:
        text = f"the same, and {len(got) - count} more"
    elif count > 2 and want[::-1] == got:
        text = "the same in reverse"
    elif turned:
        text = f"the same from number {turned} on, then from the start"
    elif 2 < count <= len(got) + 1 and want[1:] == got[: count - 1]:
        text = "the same, one place early"
    elif count > 2 and want[:-1] == got[1:]:
        text = "the same, one place late"
    elif sorted(map(repr, want)) == sorted(map(repr, got)):
        text = f"the same in another order, from number {equal} on"
    elif not count % 2 and len(got) == count and got[half:] == want[:half] == got[:half]:
        text = "the first half twice"
    else:
        first = "the first is" if equal == 1 else f"the first {equal} are"
        text = f"{first} the same" if equal > 0 else ""
    return f": {text}" if text else ""
