"""What learning rates follow instead of their schedule."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.schedules import COSINE, Schedule

__all__ = ["schedule_instead"]

_RATE = 1e-6
"""Relative distance of learning rates: a trainer may keep them in float32."""

Rate = tuple[int, int, float]
"""Epoch and step, both from 1, and the learning rate found there."""


def schedule_instead(
    rates: Sequence[Rate], base: float, planned: int, total: int, of: Schedule = COSINE
) -> str:
    """Return the schedule that gives every learning rate found, if there is one, and only one.

    Parameters
    ----------
    rates : sequence of (epoch, step, rate)
        As found.
    base : float
        The configured rate.
    planned, total : int
        Steps of an epoch, and of the whole plan.
    of : Schedule, optional
        The one that is due.
    """
    if len(rates) < 3 or total < 2 or not planned:
        return ""
    places = [((epoch - 1) * planned + step - 1, epoch, step) for epoch, step, _ in rates]
    # The last ones first: there are as many restarts to try as epochs, which differ there.
    given = [(rate, place) for (*_, rate), place in zip(rates, places, strict=True)][::-1]
    tried = _of_any(base, planned, total, rates[-1][0], of)
    tried |= _of_cosine(base, planned, total) if of == COSINE else _of_declared(
        base, planned, total, of, given
    )  # fmt: skip
    fitting = {
        name
        for name, schedule in tried.items()
        if all(
            math.isclose(rate, schedule(*place), rel_tol=_RATE, abs_tol=1e-300)
            for rate, place in given
        )
    }
    return f": {fitting.pop()}" if len(fitting) == 1 else ""


Curve = Callable[[int, int, int], float]
"""Steps done in all, epoch and step to a learning rate."""

Given = Sequence[tuple[float, tuple[int, int, int]]]
"""A learning rate that was found, and where: steps done in all, epoch and step."""


def _of_any(
    base: float, planned: int, total: int, epochs: int, of: Schedule
) -> dict[str, Curve]:  # fmt: skip
    """Return what may have become of any schedule."""

    def plan(done: int) -> float:
        return of.rate(base, max(done, 0), total, planned)

    def restarted(epoch: int) -> Curve:
        start = (epoch - 1) * planned
        return lambda done, *_: plan(done - start if done >= start else done)

    curves: dict[str, Curve] = {
        "the base rate in every step, it does not fall": lambda *_: base,
        "the plan one step late": lambda done, *_: plan(done - 1),
        "the plan one step early": lambda done, *_: plan(done + 1),
        "half of the plan in every step": lambda done, *_: plan(done) / 2,
        "twice the plan in every step": lambda done, *_: plan(done) * 2,
    }
    if of.per == "step":
        name = "changed once an epoch, not in every step"
        curves[name] = lambda _, epoch, __: plan((epoch - 1) * planned)
    else:
        curves["the plan one epoch late"] = lambda done, *_: plan(done - planned)
        curves["the plan one epoch early"] = lambda done, *_: plan(done + planned)
    # Restarting once is starting with each epoch where there are two.
    again = range(2, epochs + 1) if epochs > 2 else ()
    return curves | {f"the plan restarted at epoch {e}": restarted(e) for e in again}


def _of_cosine(base: float, planned: int, total: int) -> dict[str, Curve]:
    """Return what may have become of the planned cosine."""

    def cosine(done: float, steps: float = total) -> float:
        return base * (1 + math.cos(math.pi * done / steps)) / 2

    return {
        "a straight line, not a cosine": lambda done, *_: base * (1 - done / total),
        "a cosine that ends with each epoch": lambda _, __, step: cosine(step - 1, planned),
        "a cosine of one step less than the plan": lambda done, *_: cosine(done, total - 1),
        "a cosine of one step more than the plan": lambda done, *_: cosine(done, total + 1),
        "a cosine that starts again with each epoch": lambda _, __, step: cosine(step - 1),
    }


def _of_declared(
    base: float, planned: int, total: int, of: Schedule, given: Given
) -> dict[str, Curve]:
    """Return what may have become of a schedule that is declared."""
    other = "epoch" if of.per == "step" else "step"
    others = {f"the plan counted in {other}s, not in {of.per}s": replace(of, per=other)}
    if of.warmup:
        others["the plan without its warmup"] = replace(of, warmup=0, warmup_from=0.0)
    if of.beyond:
        others["the plan no longer than the run"] = replace(of, beyond=0)
    if of.name == "onecycle":
        anneal = "linear" if of.anneal == "cos" else "cos"
        others[f"the plan annealed by {anneal}, not by {of.anneal}"] = replace(of, anneal=anneal)
    factor = _factor_found(base, planned, total, of, given)
    if factor is not None:
        told = f"the plan with a factor of {factor:.6g}, not {of.factor:g}"
        others[told] = replace(of, factor=factor)
    others |= {
        "half a cosine over the steps, not the declared one": Schedule("cosine"),
        "half a cosine over the epochs, not the declared one": Schedule("cosine", per="epoch"),
        "a straight line over the steps, not the declared one": Schedule("linear"),
    }

    def curve(one: Schedule) -> Curve:
        return lambda done, *_: one.rate(base, done, total, planned)

    # What says more of a schedule comes first, and stands alone for it.
    first = {one: name for name, one in reversed(others.items()) if one != of}
    found: dict[str, Curve] = {name: curve(one) for one, name in first.items()}
    found["the plan that starts again with each epoch"] = lambda _, __, step: of.rate(
        base, step - 1, total, planned
    )
    return found


def _factor_found(
    base: float, planned: int, total: int, of: Schedule, given: Given
) -> float | None:
    """Return the factor of the first milestone by what was found; None where there is none."""
    once = [
        rate / base for rate, (done, *_) in given
        if of.name == "step" and done >= of.warmup
        and math.isclose(of.rate(1.0, done, total, planned), of.factor)
    ]  # fmt: skip
    found = once[-1] if once else 1.0
    return found if 0 < found < 1 else None
