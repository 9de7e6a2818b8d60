"""Batches as EdgeFlowNAS reads them: each file by path, by whole frames, without a question.

What this harness does beside decoding, chunks looked over, digests, unknown flow masked, is no part
of what it is measured against.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.fc2.crop import center_window, cut

__all__ = ["Plain", "plain_reader"]

_HEAD = 12


class Plain(NamedTuple):
    """B samples: frames (B, H, W, 6) float32 in [0, 255]; flow (B, H, W, 2) float32, px."""

    frames: NDArray[np.float32]
    flow: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.frames)


def plain_reader(
    folder: Path, crop: tuple[int, int], batch: int, count: int, *, clip: float = 50.0
) -> Callable[[], list[Plain]]:
    """Return a function that decodes the first `count` batches of a split's folder.

    Parameters
    ----------
    folder : pathlib.Path
        With ``*-img_0.png`` and their companions, at any depth.
    crop : (int, int)
        Height and width of the centre crop, px.
    batch, count : int
        Samples of a batch, and batches.
    clip : float, default 50
        Of each flow component, px, as EdgeFlowNAS clips labels.
    """
    paths = sorted(map(str, folder.rglob("*-img_0.png")))
    starts = range(0, min(len(paths), batch * count), batch)
    groups = [paths[start : start + batch] for start in starts]
    return lambda: [_batch(group, crop, clip) for group in groups]


def _batch(paths: Sequence[str], crop: tuple[int, int], clip: float) -> Plain:
    samples = [_sample(path.removesuffix("-img_0.png"), crop, clip) for path in paths]
    firsts, seconds, flows = (np.asarray(each, np.float32) for each in zip(*samples, strict=True))
    return Plain(np.concatenate([firsts, seconds], axis=3), flows)


def _sample(stem: str, crop: tuple[int, int], clip: float) -> list[NDArray[np.float32]]:
    frames = [cv2.imread(f"{stem}-img_{i}.png", cv2.IMREAD_COLOR) for i in range(2)]
    height, width = np.fromfile(f"{stem}-flow_01.flo", "<i4", 2, offset=4)[::-1]
    flow = np.fromfile(f"{stem}-flow_01.flo", "<f4", offset=_HEAD).reshape(height, width, 2)
    whole = [*(np.asarray(frame, np.float32) for frame in frames), flow.clip(-clip, clip)]
    window = center_window((int(height), int(width)), crop)
    return [cut(array, window) for array in whole]
