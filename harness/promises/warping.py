"""Whether a flow takes one frame to the other: brightness constancy, up to a change of colours."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FITS", "Pair", "beside", "best_other", "misfit", "pair_of", "taken_back"]

FITS = 0.05
"""A misfit up to here is one of interpolation alone, and no other flow is tried.

Of the scenes that are served, right flows leave 0.01 to 0.03, cropped, flipped, turned or scaled;
colours that no affine map makes of others, and noise, may leave more. A flow that is wrong by d px
leaves 2 sin(pi d / period) of each wave.
"""

_FEW = 128
"""Pixels that four coefficients are found from at least."""

_SIDE, _MOST = 128, 800
"""Side, px, of the middle part that other flows are tried on, and of how many of its pixels."""


@dataclass(frozen=True)
class Pair:
    """Two frames and what is said to be their flow.

    Attributes
    ----------
    first, second : numpy.ndarray
        Shape (H, W, C).
    flow : numpy.ndarray
        Shape (H, W, 2), px.
    valid : numpy.ndarray
        Where it is known, and the first frame is to be looked at; (H, W), bool.
    blank : numpy.ndarray
        Where the second frame is not: a pixel with those to the right and below; (H, W), bool.
    """

    first: NDArray[Any]
    second: NDArray[Any]
    flow: NDArray[Any]
    valid: NDArray[np.bool_]
    blank: NDArray[np.bool_]

    def cut(self, *window: slice) -> "Pair":
        """Return a part of all of it; targets are counted from its corner."""
        return Pair(*(array[window] for array in vars(self).values()))


def pair_of(
    first: NDArray[Any], second: NDArray[Any], flow: NDArray[Any], valid: NDArray[np.bool_]
) -> Pair:  # fmt: skip
    """Return frames and flow; what an eraser painted over in one colour is not looked at.

    Nor is what is as bright or as dark as anything: a change of brightness may have cut it off.
    """
    ends, near = _ends(second), np.zeros(second.shape[:2], bool)
    for down in (0, 1):  # the four pixels that a sample is made of
        for right in (0, 1):
            near |= np.roll(ends, (-down, -right), (0, 1))
    return Pair(first, second, flow, valid & ~(_blank(first) | _ends(first)), _blank(second) | near)


def _ends(frame: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels have the lowest or the highest value of a channel."""
    lowest, highest = frame.min(axis=(0, 1)), frame.max(axis=(0, 1))
    found: NDArray[np.bool_] = ((frame == lowest) | (frame == highest)).any(axis=-1)
    return found


def _blank(frame: NDArray[Any]) -> NDArray[np.bool_]:
    found = np.ones(frame.shape[:2], bool)
    found[:, :-1] &= (frame[:, :-1] == frame[:, 1:]).all(axis=-1)
    found[:-1] &= (frame[:-1] == frame[1:]).all(axis=-1)
    found[:-1, :-1] &= (frame[:-1, :-1] == frame[1:, 1:]).all(axis=-1)
    return found


def misfit(pair: Pair, *, step: int = 1) -> float | None:
    """Return how much of the first frame the second, taken back by the flow, does not explain.

    The median error over the known pixels whose target lies within the frame, as a part of
    the median deviation of the first frame there, once the second frame's colours are mapped to
    those of the first by the affine map that fits best (a change of brightness, contrast,
    saturation and hue is nearly one). A median, so that what hides less than half of them changes
    little.

    Parameters
    ----------
    step : int, default 1
        Of every so many rows and columns one is looked at.

    Returns
    -------
    float or None
        0: all of it is explained. None: too little is seen.
    """
    height, width = pair.valid.shape
    y, x = np.indices((height, width))[:, ::step, ::step]
    flow = pair.flow[::step, ::step].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        to_x, to_y = x + flow[..., 0], y + flow[..., 1]
        seen = pair.valid[::step, ::step] & (to_x >= 0) & (to_y >= 0)
        seen &= (to_x <= width - 1) & (to_y <= height - 1)
    to_x, to_y = to_x[seen], to_y[seen]
    here = pair.first[::step, ::step][seen]
    shown = ~pair.blank[to_y.astype(int), to_x.astype(int)]
    if shown.sum() < _FEW:
        return None
    there = _between(pair.second, to_x[shown], to_y[shown])
    return _unexplained(here[shown].astype(np.float64), there)


def taken_back(
    second: NDArray[Any], flow: NDArray[Any], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the second frame as the flow makes the first one of it, and where that is known.

    Parameters
    ----------
    second : numpy.ndarray
        Shape (H, W, C).
    flow, valid : numpy.ndarray
        Shape (H, W, 2), px, and (H, W), bool.
    """
    height, width = valid.shape
    y, x = np.indices((height, width))
    with np.errstate(invalid="ignore", over="ignore"):
        to_x, to_y = x + flow[..., 0].astype(np.float64), y + flow[..., 1].astype(np.float64)
        seen = valid & (to_x >= 0) & (to_y >= 0) & (to_x <= width - 1) & (to_y <= height - 1)
    found = np.zeros(second.shape, np.float64)
    found[seen] = _between(second, to_x[seen], to_y[seen])
    return found, seen


def _between(
    frame: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a frame between its pixels, bilinear; places lie within it."""
    height, width = frame.shape[:2]
    left, top = x.astype(int), y.astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    along, down = (x - left)[:, None], (y - top)[:, None]
    rows = [frame[row, left] * (1 - along) + frame[row, right] * along for row in (top, below)]
    found: NDArray[np.float64] = rows[0] * (1 - down) + rows[1] * down
    return found


def _unexplained(here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
    """Return the median error of the best affine map of colours, of what varies."""
    columns, most = np.column_stack([there - there.mean(axis=0), np.ones(len(there))]), len(here)
    kept: Any = slice(None)
    for _ in range(4):  # least squares, of those that fit it best
        some = columns[kept]
        # By the normal equations; of grey frames, whose columns are one, the shortest solution.
        found = np.linalg.lstsq(some.T @ some, some.T @ here[kept], rcond=1e-12)[0]
        error = np.abs(here - columns @ found).mean(axis=1)
        kept = np.argpartition(error, int(0.6 * most))[: int(0.6 * most) + 1]
    spread = np.median(np.abs(here - np.median(here, axis=0)).mean(axis=1))
    return float(np.median(error) / spread) if spread > 0 else 0.0


def best_other(pair: Pair, enough: float) -> tuple[str, float]:
    """Return in words which other flow explains the frames, and its misfit.

    Only what a known mistake makes of a right flow is tried: a sign, the axes, a flip, the order of
    the frames; then a length, a turn, and a window beside the right one.

    Parameters
    ----------
    enough : float
        A misfit from which down nothing further is tried.
    """
    best = _best((name, other(pair)) for name, other in _OTHERS.items())
    for grid, near, made in _SEARCHES:
        if best[1] <= enough:
            break
        coarse = {place: _tried(made(pair, place)[1]) for place in grid}
        around = near(min(coarse, key=lambda place: coarse[place]))
        best = min(best, _best(made(pair, place) for place in around), key=lambda one: one[1])
    return best


def _best(others: Iterable[tuple[str, Pair]]) -> tuple[str, float]:
    return min(((name, _tried(other)) for name, other in others), key=lambda one: one[1])


def _tried(other: Pair) -> float:
    """Return the misfit of the middle part; infinite where nothing is seen."""
    window = (slice(max(0, (n - _SIDE) // 2), (n + _SIDE) // 2) for n in other.valid.shape)
    middle = other.cut(*window)
    step = max(1, round(float(np.sqrt(middle.valid.size / _MOST))))
    found = misfit(middle, step=step)
    return np.inf if found is None else found


def _times(u: float, v: float) -> Callable[[Pair], Pair]:
    return lambda pair: replace(pair, flow=pair.flow * np.array([u, v], np.float32))


def _mirrored(axis: int, u: float, v: float) -> Callable[[Pair], Pair]:
    """Return what flips the flow alone: frames that were flipped without it then fit it."""

    def made(pair: Pair) -> Pair:
        flow = np.flip(pair.flow, axis) * np.array([u, v], np.float32)
        return replace(pair, flow=flow, valid=np.flip(pair.valid, axis))

    return made


_OTHERS: Mapping[str, Callable[[Pair], Pair]] = MappingProxyType(
    {
        "(-u, v): u has the wrong sign": _times(-1, 1),
        "(u, -v): v has the wrong sign": _times(1, -1),
        "(-u, -v): both have the wrong sign": _times(-1, -1),
        "(v, u): its axes are exchanged": lambda p: replace(p, flow=p.flow[..., ::-1]),
        "and the frames in the other order": lambda p: pair_of(p.second, p.first, p.flow, p.valid),
        "flipped left to right, as the frames are": _mirrored(1, -1, 1),
        "flipped upside down, as the frames are": _mirrored(0, 1, -1),
    }
)


def _longer(pair: Pair, length: float) -> tuple[str, Pair]:
    return f"{length:.2g} times as long", _times(length, length)(pair)


def _turned(pair: Pair, degrees: float) -> tuple[str, Pair]:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    u, v = pair.flow[..., 0], pair.flow[..., 1]
    flow = np.stack([cos * u - sin * v, sin * u + cos * v], axis=-1)
    return f"turned by {degrees} degrees", replace(pair, flow=flow)


def beside(pair: Pair, place: tuple[int, int]) -> tuple[str, Pair]:
    """Return the flow of a window beside it, on the part of the frames that both share."""
    here, there = [], []
    for by in place:
        here.append(slice(max(0, -by), -by if by > 0 else None))
        there.append(slice(max(0, by), by if by < 0 else None))
    part, other = pair.cut(*here), pair.cut(*there)
    down, right = place
    name = f"taken {down} px further down and {right} px further right"
    return name, replace(part, flow=other.flow, valid=part.valid & other.valid)


_REACH = 16
_SEARCHES: tuple[tuple[Any, Callable[[Any], Any], Callable[..., tuple[str, Pair]]], ...] = (
    (
        [float(length) for length in np.geomspace(1 / 32, 32, 51)],
        lambda best: [best * float(more) for more in np.geomspace(0.92, 1.09, 7)],
        _longer,
    ),
    (range(15, 360, 15), lambda best: range(best - 10, best + 11, 5), _turned),
    (
        [(a, b) for a in range(-_REACH, _REACH + 1, 4) for b in range(-_REACH, _REACH + 1, 4)],
        lambda best: [(best[0] + a, best[1] + b) for a in (-2, 0, 2) for b in (-2, 0, 2)],
        beside,
    ),
)
"""Of each kind of other flow: a coarse grid, a finer one around a place of it, and what is made."""
