"""Draws that come again at one place of every epoch: the first, or the few at an end.

Among thousands of others they are too few to show: a shuffle that leaves the samples alone which
fill no batch, or a first crop that is the centre in each epoch.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from harness.promises.chance import Finding, repeats
from harness.wording import counted

__all__ = ["at_one_place", "at_the_ends"]

ByKey = Mapping[tuple[int, int], NDArray[np.int64]]
"""Draws by seed and epoch, each of shape (n,)."""

_ENDS = 4
"""Samples of an end of an order, at most: as many as a gate's batch, of 5 samples, may lack."""


def _stacked(found: ByKey, count: int) -> NDArray[np.int64]:
    return np.stack([np.asarray(draws)[:count] for draws in found.values()])


def at_one_place(what: str, found: ByKey, *, count: int, places: int) -> Iterator[Finding]:
    """Yield the place among an epoch's first `count` draws where most epochs draw the same.

    Parameters
    ----------
    what : str
        What is drawn, in the singular.
    places : int
        Equally likely values of a draw.
    """
    if len(found) < 2:
        return
    draws = np.sort(_stacked(found, count), axis=0)
    again = (draws[1:] == draws[:-1]).sum(axis=0)
    place = int(again.argmax())
    # The worst of so many places.
    chance = repeats(int(again[place]), len(draws), places) + math.log(len(again))
    yield Finding(
        f"{what} number {place + 1} of an epoch, of {counted(len(draws), 'seed and epoch', _KEYS)}",
        f"some {len(draws)} different", str(len(draws) - int(again[place])), min(0.0, chance),
    )  # fmt: skip


_KEYS = "seeds and epochs"


def at_the_ends(found: ByKey, *, samples: int) -> Iterator[Finding]:
    """Yield how many of the first and of the last few samples of orders are those of others.

    Given what stands before it at the same end, a sample is any of `samples` less those few.
    """
    if len(found) < 2:
        return
    orders = _stacked(found, samples)
    for size in range(1, _ENDS + 1):
        for name, end in (("first", orders[:, :size]), ("last", orders[:, -size:])):
            different = len(np.unique(end))
            expected = samples * -math.expm1(end.size * math.log1p(-1 / samples))
            yield Finding(
                f"{name} {counted(size, 'sample')} of {len(orders)} orders of {samples}",
                f"some {expected:.0f} different samples", str(different),
                repeats(end.size - different, end.size, samples - size),
            )  # fmt: skip
