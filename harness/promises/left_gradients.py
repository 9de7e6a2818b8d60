"""A gradient that one step has applied and the next one adds its own to: by another first step."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np

from harness.promises.gradients import (
    GRADIENT_TOLERANCE,
    Gradient,
    gradient_between,
    gradient_norm,
)
from harness.promises.promise import Violation
from harness.promises.states import other_kernel
from harness.systems.declared import UpdateRule
from harness.systems.protocol import Arrays, System

__all__ = ["AfterAnother", "after_another_first_step", "left_of_the_first"]

_ALONG = 0.99
"""Cosine from which on what differs in the second gradient is what differs in the first."""


class AfterAnother(NamedTuple):
    """Gradients of the first two steps: as they are, and with other weights in the first alone.

    Attributes
    ----------
    straight, other : (gradient, gradient)
        Of the first step and of the second.
    again : gradient
        Of the second step of `straight`, made a second time.
    """

    straight: tuple[Gradient, Gradient]
    other: tuple[Gradient, Gradient]
    again: Gradient


def after_another_first_step(
    opened: Callable[[], AbstractContextManager[System]], rule: UpdateRule,
    slots: Mapping[str, tuple[str, str]], between: Arrays, straight: tuple[Gradient, Gradient],
) -> AfterAnother:  # fmt: skip
    """Make the first two steps anew, as they were and with other kernels in the first alone.

    Parameters
    ----------
    opened : callable
        Opens the system at the start of training.
    between : mapping of str to numpy.ndarray
        The whole state after the first step: the second is made from there.
    straight : (gradient, gradient)
        Of both steps, as they were seen.
    """

    def two(*, other: bool) -> tuple[Gradient, Gradient]:
        with opened() as system:
            start = {n: np.array(a) for n, a in system.state().items()}
            if other:
                system.state({n: other_kernel(start[n]) for n in slots if start[n].ndim > 1})
            found = list[Gradient]()
            for place in (between, {}):
                before = start if not found else between
                system.train(2, steps=1, evaluate=False)
                new = system.state()
                found.append(
                    gradient_between(
                        rule, {w: before[m] for w, (m, _) in slots.items()},
                        {w: np.array(new[m]) for w, (m, _) in slots.items()},
                    )
                )  # fmt: skip
                if place:
                    system.state(_differing(place, new))
        return found[0], found[1]

    return AfterAnother(straight, two(other=True), two(other=False)[1])


def _differing(wanted: Arrays, present: Arrays) -> Arrays:
    return {n: a for n, a in wanted.items() if n in present and not np.array_equal(a, present[n])}


def left_of_the_first(found: AfterAnother, name: str) -> list[Violation]:
    """Return whether the second gradient has something of the first in it.

    Only what differs as the first gradients differ is that: a loss may well depend on what was
    before, by a weight that follows it, say. A second step that does not repeat itself tells
    nothing.
    """
    second, other = found.straight[1], found.other[1]
    if _apart(second, found.again) > GRADIENT_TOLERANCE * gradient_norm(second):
        return []
    distance = _apart(second, other)
    if not distance > GRADIENT_TOLERANCE * gradient_norm(second):
        return []
    moved = {n: second[n] - other[n] for n in second}
    first = {n: found.straight[0][n] - found.other[0][n] for n in second}
    along = sum(float((moved[n] * first[n]).sum()) for n in second)
    size = gradient_norm(first)
    if not along > _ALONG * distance * size:
        return []
    share = along / size**2
    text = f"{share:.3g} times the gradient of step 1 is in it: it was not set to zero"
    return [Violation(f"{name}, gradient", "its own alone", text, "gradient")]


def _apart(one: Gradient, other: Gradient) -> float:
    return gradient_norm({n: one[n] - other[n] for n in one})
