"""Whether the flow of a window one pixel beside explains samples better than their own.

A window that is one pixel off changes a smooth flow by less than what interpolation may leave of
one sample (:data:`harness.promises.warping.FITS`). But a right flow explains each of its samples
better than its neighbours do, so that many of them tell together.
"""

import math
from collections.abc import Sequence
from statistics import median

from harness.promises.warping import Pair, beside, misfit

__all__ = ["one_pixel_beside"]

_FEWEST, _MOST = 6, 12
"""Samples that are looked at."""

_EACH, _MIDDLE = 1.1, 1.5
"""How many times better the other flow explains all of them but one, and the median one.

Of right flows, cropped, flipped, scaled by either way to resize, noisy or recoloured, the second
lowest of twelve was below 1 for each neighbour; of windows that are 1 px off it was 1.3 to 4, and
the median 2.1 to 5.7.
"""

_PIXELS = 4000
"""Of a sample that are looked at."""

_PLACES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


def one_pixel_beside(pairs: Sequence[Pair]) -> tuple[str, float, float] | None:
    """Return the window beside whose flow explains the samples better, if there is one.

    Parameters
    ----------
    pairs : sequence of Pair
        Of which twelve are looked at, evenly spread.

    Returns
    -------
    (str, float, float) or None
        Its name, and the median misfit of the flow as given and of that one.
    """
    some = [pairs[len(pairs) * n // _MOST] for n in range(_MOST)] if len(pairs) > _MOST else pairs
    found = []
    for place in _PLACES:
        both = [(_misfit(pair), _misfit(beside(pair, place)[1])) for pair in some]
        seen = [(one, other) for one, other in both if one is not None and other is not None]
        times = sorted(one / max(other, 1e-9) for one, other in seen)
        if len(times) >= _FEWEST and times[1] >= _EACH and median(times) >= _MIDDLE:
            here, there = (median(values) for values in zip(*seen, strict=True))
            found.append((median(times), place, here, there))
    if not found:
        return None
    _, place, here, there = max(found)
    return beside(some[0], place)[0], here, there


def _misfit(pair: Pair) -> float | None:
    return misfit(pair, step=max(1, round(math.sqrt(pair.valid.size / _PIXELS))))
