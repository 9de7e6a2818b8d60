"""What there is to look at of an evaluation: samples, and what archs predict of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureFlow", "PictureSample", "Pictures", "Scored"]


@dataclass(frozen=True)
class Scored:
    """An arch, or a sample by its key, and its EPE, px."""

    name: str
    epe: float


@dataclass(frozen=True)
class PictureSample:
    """A sample that is looked at.

    Attributes
    ----------
    key : str
        Digest of id, window and pixels.
    id : str
    frames : numpy.ndarray
        Shape (H, W, 6), uint8, BGR of both: whole where `place` is known, else the window.
    flow, valid : numpy.ndarray
        Shapes (h, w, 2), float32, px, and (h, w), bool: of the window.
    place : (int, int) or None
        Row and column of the window's corner in the whole frames, px.
    """

    key: str
    id: str
    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]
    place: tuple[int, int] | None

    @property
    def longest(self) -> float:
        """Length of the longest known flow, px."""
        lengths = np.hypot(self.flow[..., 0], self.flow[..., 1])
        return float(lengths[self.valid].max(initial=0.0))

    @property
    def zero_flow(self) -> float:
        """EPE of an all-zero flow, px; 0 where no flow is known."""
        lengths = np.hypot(*np.moveaxis(self.flow[self.valid].astype(np.float64), -1, 0))
        return float(lengths.mean()) if lengths.size else 0.0


@dataclass(frozen=True)
class PictureFlow:
    """What an arch predicts of a sample.

    Attributes
    ----------
    sample : str
        Its key.
    arch : str
    epe : float
        As scored, px.
    flow : numpy.ndarray
        Shape (h, w, 2), float32, px.
    """

    sample: str
    arch: str
    epe: float
    flow: NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """What there is to look at of one evaluation.

    Attributes
    ----------
    epoch : int
    weights, batches : str
        Digests of what was evaluated, as in the evaluation's record.
    best_arch, worst_arch : Scored
        Of the pool.
    frozen : tuple of str
        Keys of the samples that every evaluation shows.
    best_sample, worst_sample : Scored
        By the mean EPE over the pool.
    flows : tuple of PictureFlow
        What the best and the worst arch predict of each of these samples.
    samples : mapping of str to PictureSample
        By key.
    """

    epoch: int
    weights: str
    batches: str
    best_arch: Scored
    worst_arch: Scored
    frozen: tuple[str, ...]
    best_sample: Scored
    worst_sample: Scored
    flows: tuple[PictureFlow, ...]
    samples: Mapping[str, PictureSample]

    def predicted(self, key: str) -> tuple[PictureFlow, ...]:
        """Return what is predicted of a sample, by the best arch first."""
        return tuple(one for one in self.flows if one.sample == key)
