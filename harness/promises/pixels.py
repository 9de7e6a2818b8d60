"""What wrong pixels are instead: named transforms of the right ones, tried when they differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Expected", "flow_instead", "frames_instead", "only_place", "valid_instead"]

Array = NDArray[Any]

_UNKNOWN = 1e9
"""px: a larger flow is unknown, as Middlebury's files have it."""

_MINUS_U = np.asarray([-1, 1], np.float32)
_MINUS_V = np.asarray([1, -1], np.float32)


@dataclass(frozen=True)
class Expected:
    """What a served sample should hold, and what else its split holds.

    Attributes
    ----------
    sample : str
        Its id.
    window : (top, left, height, width), px
        As declared.
    whole : mapping of str to numpy.ndarray
        Uncropped arrays of the served kind, by sample: BGR frames (H, W, 6), or flow (H, W, 2).
    """

    sample: str
    window: tuple[int, ...]
    whole: Mapping[str, Array]

    @property
    def cut(self) -> Array:
        """The declared window of the sample."""
        return _cut(self.whole[self.sample], self.window)


def frames_instead(expected: Expected, found: Array, *, second: bool) -> str:
    """Return what a served image is instead, in words; nothing where that cannot be told.

    Parameters
    ----------
    expected : Expected
        Of both frames.
    found : numpy.ndarray
        Shape (H, W, 3), uint8.
    second : bool
        Whether it was served as ``img_1``.
    """
    own, other = ("img_1", "img_0") if second else ("img_0", "img_1")
    places = {"img_0": slice(0, 3), "img_1": slice(3, 6)}

    def of(member: str, colours: int = 1) -> Expected:
        whole = {s: a[..., places[member]][..., ::colours] for s, a in expected.whole.items()}
        return Expected(expected.sample, expected.window, whole)

    return _first(
        [
            ("the colours are reversed, RGB", lambda: _same(of(own, -1).cut, found)),
            (f"it is {other}", lambda: _same(of(other).cut, found)),
            (f"it is {other}, its colours reversed, RGB",
             lambda: _same(of(other, -1).cut, found)),
            ("it is mirrored left to right", lambda: _mirrored(of(own), found, 1)),
            ("it is upside down", lambda: _mirrored(of(own), found, 0)),
            ("it is turned by 180 degrees", lambda: _turned(of(own), found)),
            ("rows and columns are exchanged", lambda: _exchanged(of(own).cut, found)),
            ("one value everywhere", lambda: bool((found == found.flat[0]).all())),
            ("every pixel comes twice, it was enlarged by two",
             lambda: _enlarged(found) and not _enlarged(of(own).cut)),
        ]
    ) or _place(of(own), found) or _place(of(other), found, f"{other}, ")  # fmt: skip


def flow_instead(expected: Expected, found: Array, raw: Array) -> str:
    """Return what a served flow is instead, in words; nothing where that cannot be told.

    Parameters
    ----------
    expected : Expected
        Flow as it must be served, unknown pixels 0.
    found : numpy.ndarray
        Shape (H, W, 2), px.
    raw : numpy.ndarray
        The window of the file, unknown pixels as they are there.
    """
    cut = expected.cut
    return _first(
        [
            ("all of it is 0", lambda: not found.any()),
            ("unknown pixels are served as they are in the file",
             lambda: _same(raw, found) and bool((np.abs(raw) > _UNKNOWN).any())),
            ("u and v are exchanged", lambda: _same(cut[..., ::-1], found)),
            ("negated", lambda: _same(-cut, found)),
            ("u is negated", lambda: _same(cut * _MINUS_U, found)),
            ("v is negated", lambda: _same(cut * _MINUS_V, found)),
            ("mirrored left to right", lambda: _mirrored(expected, found, 1)),
            ("mirrored left to right, u negated as it must be",
             lambda: _mirrored(expected, found * _MINUS_U, 1)),
            ("upside down", lambda: _mirrored(expected, found, 0)),
            ("upside down, v negated as it must be",
             lambda: _mirrored(expected, found * _MINUS_V, 0)),
            ("rows and columns are exchanged", lambda: _exchanged(cut, found)),
            ("every vector comes twice, it was enlarged by two",
             lambda: _enlarged(found) and not _enlarged(cut)),
        ]
    ) or _limited(cut, raw, found) or _scaled(cut, found) or _place(expected, found)  # fmt: skip


def valid_instead(expected: Expected, found: Array) -> str:
    """Return what a served mask of known flow, bool (H, W), is instead, in words."""
    return _first(
        [
            ("inverted", lambda: _same(~expected.cut, found)),
            ("every pixel counts as known", lambda: bool(found.all())),
            ("no pixel counts as known", lambda: not found.any()),
            ("mirrored left to right", lambda: _mirrored(expected, found, 1)),
            ("upside down", lambda: _mirrored(expected, found, 0)),
        ]
    )


def _first(candidates: Sequence[tuple[str, Callable[[], bool]]]) -> str:
    return next((f": {name}" for name, gives in candidates if gives()), "")


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


def _cut(array: Array, window: Sequence[int]) -> Array:
    top, left, height, width = window
    return array[top : top + height, left : left + width]


def _mirrored(expected: Expected, found: Array, axis: int) -> bool:
    """Return whether the window, or the whole frame before it was cropped, was mirrored."""
    whole = np.flip(expected.whole[expected.sample], axis)
    return _same(np.flip(expected.cut, axis), found) or _same(_cut(whole, expected.window), found)


def _turned(expected: Expected, found: Array) -> bool:
    whole = expected.whole[expected.sample][::-1, ::-1]
    return _same(expected.cut[::-1, ::-1], found) or _same(_cut(whole, expected.window), found)


def _exchanged(cut: Array, found: Array) -> bool:
    """Return whether rows and columns changed places, or the shape alone did."""
    if found.shape[:2] not in (cut.shape[:2], cut.shape[1::-1]):
        return False
    return _same(np.swapaxes(cut, 0, 1), found) or (
        found.size == cut.size and _same(cut.reshape(found.shape), found)
        and found.shape != cut.shape
    )  # fmt: skip


def _enlarged(array: Array) -> bool:
    """Return whether pixels are equal two by two, in rows and in columns."""
    for axis in (0, 1):
        length = array.shape[axis]
        pairs = [
            (array.take(range(start, length - 1, 2), axis),
             array.take(range(start + 1, length, 2), axis))
            for start in (0, 1)
        ]  # fmt: skip
        if not any(one.size and np.array_equal(one, other) for one, other in pairs):
            return False
    return True


def _limited(cut: Array, raw: Array, found: Array) -> str:
    """Return at which value a flow was clipped, or that it was not, in words."""
    if cut.shape != found.shape:
        return ""
    limit = np.abs(found).max(initial=0)
    if 0 < limit < np.abs(cut).max() and _same(np.clip(cut, -limit, limit), found):
        return f": clipped at {limit:g} px"
    # Unknown pixels hold 1e9 and more: clipped, they look like labels.
    unknown = bool((np.abs(raw) > _UNKNOWN).any())
    if limit > 0 and unknown and _same(np.clip(raw, -limit, limit), found):
        return f": unknown pixels are served as labels, clipped at {limit:g} px"
    known = (np.abs(raw) <= np.abs(found).max(initial=0)).all(axis=-1, keepdims=True)
    if np.abs(cut).max() < limit and _same(np.where(known, raw, np.float32(0)), found):
        return ": not clipped"
    return ""


_ROUNDING = 1e-6
"""Relative: a multiple of a float32 is rounded."""


def _scaled(cut: Array, found: Array) -> str:
    """Return by which number all vectors were multiplied, in words."""
    if cut.shape != found.shape or not cut.any():
        return ""
    place = np.unravel_index(int(np.abs(cut).argmax()), cut.shape)
    factor = float(found[place]) / float(cut[place])
    if not factor or not np.allclose(found, cut * factor, rtol=_ROUNDING, atol=0):
        return ""
    return f": {factor:.6g} times that everywhere"


def _place(expected: Expected, found: Array, what: str = "") -> str:
    """Return from which sample and window the pixels come, if there is one place, in words."""
    if found.shape[:2] != tuple(expected.window[2:]):
        return ""
    others = [sample for sample in expected.whole if sample != expected.sample]
    for sample in (expected.sample, *others):
        places = list(_places(expected.whole[sample], found))
        if len(places) > 1:  # so little texture that it could be anywhere
            return ""
        if places:
            of = "" if sample == expected.sample else f" of sample {sample}"
            return f": {what}the window at (top, left) = {places[0]}{of}"
    return ""


def only_place(whole: Array, found: Array) -> tuple[int, int] | None:
    """Return top and left, px, of the one place of a frame where pixels lie; None: no, or several.

    Parameters
    ----------
    whole, found : numpy.ndarray
        Shape (H, W, C) and (h, w, C).
    """
    places = list(islice(_places(whole, found), 2)) if whole.shape[2:] == found.shape[2:] else []
    return places[0] if len(places) == 1 else None


def _places(whole: Array, found: Array) -> Iterator[tuple[int, int]]:
    """Yield where in a whole frame the pixels of a window lie."""
    height, width = found.shape[:2]
    rows, columns = whole.shape[0] - height + 1, whole.shape[1] - width + 1
    if rows < 1 or columns < 1:
        return
    fits = np.ones((rows, columns), bool)
    # A few pixels rule out nearly every place.
    for row, column in ((0, 0), (height - 1, width - 1), (height // 2, width // 2), (0, width - 1)):
        part = whole[row : row + rows, column : column + columns]
        equal = part == found[row, column]
        fits &= equal.all(axis=-1) if equal.ndim > 2 else equal
    for found_at, (top, left) in enumerate(np.argwhere(fits)):
        if found_at == _MOST_PLACES:
            return
        if np.array_equal(whole[top : top + height, left : left + width], found):
            yield int(top), int(left)


_MOST_PLACES = 1_000
