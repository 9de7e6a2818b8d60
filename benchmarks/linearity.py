"""Whether seconds follow a straight line, as far as the noise of the machine lets one tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Linearity", "linearity"]

_LEAST_R2 = 0.99
_CHANCE = 0.001
"""How often a straight line may be called none: once in a thousand sessions."""


@dataclass(frozen=True)
class Linearity:
    """How far mean seconds lie from the best line, and whether noise alone leads there.

    Attributes
    ----------
    r_squared : float
        Share of the variance of the means that the line explains.
    chance : float
        Probability of a deviation as large, were the line true.
    """

    r_squared: float
    chance: float

    @property
    def is_broken(self) -> bool:
        """Whether the means lie off the line, and noise does not explain it."""
        return self.r_squared <= _LEAST_R2 and self.chance < _CHANCE

    def text(self) -> str:
        """Return what is printed beside the line."""
        off = self.r_squared <= _LEAST_R2
        judged = "not linear" if self.is_broken else f"linear{' as far as noise tells' * off}"
        return (
            f"{judged}, by processor time: R^2 {self.r_squared:.4f}, lack of fit p = "
            f"{self.chance:.2g}"
        )


def linearity(seconds: Mapping[int, Sequence[float]]) -> Linearity:
    """Hold repeated seconds against a straight line over their counts.

    The lack-of-fit F test compares the deviations of the means from the least-squares line with
    the spread of repeated measurements (NIST/SEMATECH e-Handbook of Statistical Methods, section
    4.6.1.5). Rounds are blocks: a slow spell that lasts a round moves all of its counts, so that
    the spread is that about each round's own mean, with (counts - 1) (rounds - 1) degrees of
    freedom.

    Parameters
    ----------
    seconds : mapping of int to sequence of float
        Seconds by count, of each round in turn; at least three counts and two rounds.

    Raises
    ------
    ValueError
        If there are fewer, or rounds are not whole.
    """
    lengths = {len(values) for values in seconds.values()}
    if len(seconds) < 3 or len(lengths) != 1 or min(lengths) < 2:
        shape = {count: len(values) for count, values in seconds.items()}
        msg = f"linearity: rounds by count {shape}, expected at least 3 counts and 2 whole rounds"
        raise ValueError(msg)
    counts = np.array(list(seconds), float)
    table = np.array(list(seconds.values())).T  # a round a row
    rounds, points = table.shape
    means = table.mean(axis=0)
    off = means - np.polyval(np.polyfit(counts, means, 1), counts)
    spread = table - table.mean(axis=1, keepdims=True) - means + table.mean()
    total, lack = float(((means - means.mean()) ** 2).sum()), float((off**2).sum())
    error = float((spread**2).sum()) / ((points - 1) * (rounds - 1))
    r_squared = 1 - lack / total if total else 0.0
    if not error:
        return Linearity(r_squared, float(not lack))
    ratio = rounds * lack / (points - 2) / error
    return Linearity(r_squared, float(stats.f.sf(ratio, points - 2, (points - 1) * (rounds - 1))))
