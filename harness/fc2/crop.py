"""Crop windows: where a crop lies in a frame, and cutting it out of all arrays alike."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from harness.streams import integer

__all__ = ["Window", "center_window", "cut", "random_window"]


@dataclass(frozen=True, order=True)
class Window:
    """A crop window: top and left corner, height and width, all in px."""

    top: int
    left: int
    height: int
    width: int


def _room(frame: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int]:
    """Return how far the crop can move down and right in the frame, in px."""
    rows, columns = frame[0] - crop[0], frame[1] - crop[1]
    if min(crop) < 1 or rows < 0 or columns < 0:
        msg = f"crop {crop[0]} x {crop[1]} does not fit a frame of {frame[0]} x {frame[1]} (H x W)"
        raise ValueError(msg)
    return rows, columns


def center_window(frame: tuple[int, int], crop: tuple[int, int]) -> Window:
    """Return the centre crop; an odd margin puts the extra pixel at the bottom and right.

    Parameters
    ----------
    frame, crop : tuple of int
        (height, width) in px.

    Raises
    ------
    ValueError
        If the crop does not fit the frame.
    """
    rows, columns = _room(frame, crop)
    return Window(rows // 2, columns // 2, *crop)


def random_window(
    frame: tuple[int, int], crop: tuple[int, int], *, seed: int, epoch: int, index: int
) -> Window:
    """Return the window of the draw (seed, epoch, index), uniform over all positions.

    Raises
    ------
    ValueError
        If the crop does not fit the frame.
    """
    rows, columns = _room(frame, crop)
    top, left = integer(seed, "train/crop", epoch, index, below=(rows + 1, columns + 1))
    return Window(top, left, *crop)


def cut(array: NDArray[Any], window: Window) -> NDArray[Any]:
    """Return the window of an array whose first two axes are rows and columns."""
    bottom, right = window.top + window.height, window.left + window.width
    return array[window.top : bottom, window.left : right]
