"""What a wrong number is instead: named candidates, tried only when a promise has broken.

A number that differs says nothing by itself; that it equals, to the last digits, the sum where a
mean is due says where to look. Nothing is guessed: a candidate that does not give what was found
is not named.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Named", "by_step", "instead", "mean_instead", "order_instead", "schedule_instead",
    "scores_instead",
]  # fmt: skip

Named = Mapping[str, float | None]
"""What a number may be, in words, to its value; None where there is none."""

_EXACT = 1e-9
_RATE = 1e-6
"""Relative distance of learning rates: a trainer may keep them in float32."""


def instead(found: float | None, candidates: Named, *, rel_tol: float = _EXACT) -> str:
    """Return ``: `` and the first candidate that equals what was found; nothing if none does."""
    if found is None:
        return ""
    for name, value in candidates.items():
        if value is not None and math.isclose(found, value, rel_tol=rel_tol):
            return f": {name}"
    return ""


def by_step(values: Sequence[float], counts: Sequence[int]) -> list[list[float]]:
    """Return an epoch's values step by step; none where the counts are not those of the values."""
    if sum(counts) != len(values):
        return []
    found, start = [], 0
    for count in counts:
        found.append(list(values[start : start + count]))
        start += count
    return [step for step in found if step]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def mean_instead(
    found: float | None, steps: Sequence[Sequence[float]],
    before: Sequence[Sequence[float]] = (), *, archs: int = 3, of: str = "micro-batch",
) -> str:  # fmt: skip
    """Return what was found where the mean over an epoch's values is due.

    Parameters
    ----------
    steps : sequence of sequence of float
        The values of each step, archs outermost.
    before : sequence of sequence of float, optional
        Those of the epoch before.
    archs : int, default 3
        Archs of a step, which its values are shared between.
    of : str
        What a value is of.
    """
    values = [value for step in (*before, *steps) for value in step]
    if not any(steps) or not all(map(math.isfinite, values)):
        return ""
    return instead(found, _of_one_epoch(steps, archs, of) | _of_two_epochs(steps, before))


def _of_one_epoch(
    steps: Sequence[Sequence[float]], archs: int, of: str
) -> dict[str, float | None]:  # fmt: skip
    flat = [value for step in steps for value in step]
    shares = [(step, max(len(step) // archs, 1)) for step in steps]
    last = [value for step, share in shares for value in step[-share:]]
    first = [value for step, share in shares for value in step[:share]]
    return {
        "the sum, not the mean": math.fsum(flat),
        "the mean over steps, each weighing the same": _mean([_mean(step) for step in steps]),
        f"the mean over each step's last {of} alone": _mean([step[-1] for step in steps]),
        f"the mean over each step's first {of} alone": _mean([step[0] for step in steps]),
        "the mean over each step's last arch alone": _mean(last),
        "the mean over each step's first arch alone": _mean(first),
        "the mean over each step's largest": _mean([max(step) for step in steps]),
        "the mean of each step's sum": _mean([math.fsum(step) for step in steps]),
        "the last step's alone": _mean(steps[-1]),
        f"the last {of}'s alone": flat[-1],
        "the first step's alone": _mean(steps[0]),
        f"the first {of}'s alone": flat[0],
        f"the mean over all but the last {of}": _mean(flat[:-1]) if flat[1:] else None,
        "the median": statistics.median(flat),
        "the largest": max(flat),
        "the smallest": min(flat),
    }


def _of_two_epochs(
    steps: Sequence[Sequence[float]], before: Sequence[Sequence[float]]
) -> dict[str, float | None]:
    earlier = [value for step in before for value in step]
    if not earlier:
        return {}
    flat = [value for step in steps for value in step]
    return {
        "that of the epoch before": _mean(earlier),
        "the mean over this epoch and the one before": _mean([*earlier, *flat]),
    }


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
        "the mean over archs": _mean(epe),
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


Rate = tuple[int, int, float]
"""Epoch and step, both from 1, and the learning rate found there."""


def schedule_instead(rates: Sequence[Rate], base: float, planned: int, total: int) -> str:
    """Return the schedule that gives every learning rate found, if there is one, and only one.

    Parameters
    ----------
    rates : sequence of (epoch, step, rate)
        As found.
    base : float
        The configured rate.
    planned, total : int
        Steps of an epoch, and of the whole plan.
    """
    if len(rates) < 3 or total < 2 or not planned:
        return ""
    places = [((epoch - 1) * planned + step - 1, epoch, step) for epoch, step, _ in rates]
    found = [rate for *_, rate in rates]
    fitting = {
        name
        for name, schedule in _schedules(base, planned, total, rates[-1][0]).items()
        if all(
            math.isclose(rate, schedule(*place), rel_tol=_RATE, abs_tol=1e-300)
            for rate, place in zip(found, places, strict=True)
        )
    }
    return f": {fitting.pop()}" if len(fitting) == 1 else ""


Schedule = Callable[[int, int, int], float]
"""Steps done in all, epoch and step to a learning rate."""


def _schedules(base: float, planned: int, total: int, epochs: int) -> dict[str, Schedule]:
    def cosine(done: float, steps: float = total) -> float:
        return base * (1 + math.cos(math.pi * done / steps)) / 2

    def restarted(epoch: int) -> Schedule:
        start = (epoch - 1) * planned
        return lambda done, *_: cosine(done - start if done >= start else done)

    schedules: dict[str, Schedule] = {
        "the base rate in every step, it does not fall": lambda *_: base,
        "the plan one step late": lambda done, *_: cosine(max(done - 1, 0)),
        "the plan one step early": lambda done, *_: cosine(done + 1),
        "a straight line, not a cosine": lambda done, *_: base * (1 - done / total),
        "changed once an epoch, not in every step": lambda _, epoch, __: cosine(
            (epoch - 1) * planned
        ),
        "a cosine that ends with each epoch": lambda _, __, step: cosine(step - 1, planned),
        "a cosine of one step less than the plan": lambda done, *_: cosine(done, total - 1),
        "a cosine of one step more than the plan": lambda done, *_: cosine(done, total + 1),
        "half of the plan in every step": lambda done, *_: cosine(done) / 2,
        "twice the plan in every step": lambda done, *_: cosine(done) * 2,
        "a cosine that starts again with each epoch": lambda _, __, step: cosine(step - 1),
    }
    # Restarting once is starting with each epoch where there are two.
    again = range(2, epochs + 1) if epochs > 2 else ()
    return schedules | {f"the plan restarted at epoch {e}": restarted(e) for e in again}


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
        text = f"the last {count - len(got)} are missing"
    elif len(got) > count and got[:count] == want:
        text = f"the same, and {len(got) - count} more"
    elif want[1:] == got[: count - 1]:
        text = "the same but for the first, which is missing"
    elif want[: count - 1] == got[1:count] and len(got) == count:
        text = "the same, one place late"
    elif count > 2 and want[::-1] == got:
        text = "the same in reverse"
    elif turned:
        text = f"the same from number {turned} on, then from the start"
    elif sorted(map(repr, want)) == sorted(map(repr, got)):
        text = f"the same in another order, from number {equal} on"
    elif not count % 2 and len(got) == count and got[half:] == want[:half] == got[:half]:
        text = "the first half twice"
    else:
        text = f"the first {equal} are the same" if equal > 0 else ""
    return f": {text}" if text else ""
