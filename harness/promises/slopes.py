"""The slope of a loss along a gradient, from losses of weights moved forth and back along it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Nudge", "nearest_slope"]


@dataclass(frozen=True)
class Nudge:
    """A step that was repeated with its weights moved forth and back along its gradient.

    Attributes
    ----------
    length : float
        Of the way, in units of the weights.
    forth, back : float
        Mean loss of the step, each micro-batch weighing by its samples.
    level : float
        The same with the weights where they are.
    """

    length: float
    forth: float
    back: float
    level: float

    @property
    def sides(self) -> tuple[float, float]:
        """Slopes ahead of the weights and behind them."""
        return (self.forth - self.level) / self.length, (self.level - self.back) / self.length


def nearest_slope(nudges: Sequence[Nudge], expected: float) -> float:
    """Return the slope at the weights that is nearest to an expected one, as far as losses tell.

    A loss of ReLUs and |.| has kinks. Where one lies close by, the slopes on its two sides
    differ, and their mean, the central difference, is the gradient of neither: the slope at the
    weights is that of one side, or between both where they bend in more than one place.

    Returns
    -------
    float
        NaN if a loss is no number.
    """
    found = [_between(nudge.sides, expected) for nudge in nudges]
    # NaN is never the nearest where another way has a number, and stays where none has.
    return min(
        found, key=lambda slope: (math.isnan(slope), abs(slope - expected)), default=math.nan
    )


def _between(sides: tuple[float, float], expected: float) -> float:
    """Return the value between two slopes that is nearest to `expected`."""
    low, high = min(sides), max(sides)
    return min(max(low, expected), high) if math.isfinite(sum(sides)) else math.nan
