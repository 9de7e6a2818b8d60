"""Which sample, and which window of it, a served crop is: found in the files themselves.

EdgeFlowNAS's provider returns pixels alone. A crop is looked up in the files that were read
for it, so that ids and windows are those of the pixels, whatever the provider believes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["FrameFinder", "digest_batch", "digest_texts", "read_order", "sample_id"]

_SUFFIX = "-img_0.png"
_KEPT = 64


def sample_id(path: str, split: str) -> str:
    """Return a sample's path below its split, without the member's suffix."""
    name = os.path.relpath(path, split).replace(os.sep, "/")
    return name[: -len(_SUFFIX)] if name.endswith(_SUFFIX) else name


def digest_texts(texts: Iterable[str]) -> str:
    """Return the BLAKE2b-128 digest of length-prefixed texts, in hex."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8")
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def digest_batch(
    ids: Sequence[str], windows: Sequence[tuple[int, int, int, int]], frames: Any, flow: Any
) -> str:
    """Return the digest of a batch: ids, windows, pixels and flow."""
    found = hashlib.blake2b(digest_size=16)
    found.update(digest_texts([*ids, *(repr(tuple(w)) for w in windows)]).encode())
    for array in (frames, flow):
        found.update(repr((array.dtype.str, array.shape)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


class FrameFinder:
    """Finds crops in frame pairs; the last few decoded pairs are kept.

    Parameters
    ----------
    imread : callable
        ``cv2.imread``, unobserved.
    """

    def __init__(self, imread: Any) -> None:
        self._imread = imread
        self._decoded: dict[tuple[str, int, int], Any] = {}

    def find(self, crop: Any, paths: Iterable[str]) -> tuple[str, tuple[int, int, int, int]] | None:
        """Return the path of img_0 and the (top, left, height, width) of a crop, px.

        Parameters
        ----------
        crop : numpy.ndarray
            Shape (h, w, 6), values 0 to 255: both frames on channels.
        paths : iterable of str
            Where to look, in this order.

        Returns
        -------
        found : (str, window) or None
            None if no file has these pixels.
        """
        for path in paths:
            pair = self._pair(path)
            place = None if pair is None else _place(pair, crop)
            if place is not None:
                return path, (place[0], place[1], crop.shape[0], crop.shape[1])
        return None

    def _pair(self, path: str) -> Any:
        try:
            about = os.stat(path)
        except OSError:
            return None
        key = (path, about.st_mtime_ns, about.st_size)
        if key not in self._decoded:
            if len(self._decoded) >= _KEPT:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[key] = self._decode(path)
        return self._decoded[key]

    def _decode(self, path: str) -> Any:
        members = [self._imread(path[: -len(_SUFFIX)] + name) for name in (_SUFFIX, "-img_1.png")]
        if any(image is None for image in members):
            return None
        # EdgeFlowNAS accepts a second frame of another size: what both have is searched.
        height, width = (min(image.shape[axis] for image in members) for axis in (0, 1))
        return np.concatenate([image[:height, :width] for image in members], axis=2)


def _place(pair: Any, crop: Any) -> tuple[int, int] | None:
    """Return (top, left) of a crop in a frame pair, None if it is not there."""
    height, width = crop.shape[:2]
    rows, columns = pair.shape[0] - height + 1, pair.shape[1] - width + 1
    if rows < 1 or columns < 1:
        return None
    # Three pixels rule out nearly every place at once; whole crops are compared at the rest.
    may = np.ones((rows, columns), bool)
    for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 2)):
        may &= (pair[y : y + rows, x : x + columns] == crop[y, x]).all(axis=-1)
    places = [tuple(place) for place in np.argwhere(may)]
    centre = ((rows - 1) // 2, (columns - 1) // 2)  # first, where equal pixels leave a choice
    for top, left in sorted(places, key=lambda place: place != centre):
        if np.array_equal(pair[top : top + height, left : left + width], crop):
            return int(top), int(left)
    return None


def read_order(reads: list[str], samples: Sequence[str]) -> list[str]:
    """Return the samples whose first frame was read, in order, then all others of the split."""
    of_split, first = set(samples), [path for path in reads if path.endswith(_SUFFIX)]
    first = [path for path in first if path in of_split]
    known = set(first)
    return first + [path for path in samples if path not in known]
