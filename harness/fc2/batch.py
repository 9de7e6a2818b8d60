"""A batch: what was served, from where, and its digest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.digest import digest_arrays, digest_strings
from harness.fc2.crop import Window

__all__ = [
    "Batch",
    "batch_key",
    "content_digest",
    "identity_digest",
    "join_digests",
    "pixel_digests",
]

_SIZE = 16
"""Bytes of a digest of pixels."""


@dataclass(frozen=True)
class Batch:
    """B samples, cropped. Arrays are read-only: nobody downstream may change a batch.

    Attributes
    ----------
    ids : tuple of str
        Sample ids, in order.
    windows : tuple of Window
        Each sample's crop window, the same for both frames and the flow.
    frames : numpy.ndarray
        Shape (B, H, W, 6), uint8: BGR of img_0, BGR of img_1.
    flow : numpy.ndarray
        Shape (B, H, W, 2), float32, px; 0 where unknown.
    valid : numpy.ndarray
        Shape (B, H, W), bool: where the flow is known.
    flow_clip : float or None
        Clip applied to each flow component, px; None for whole labels.
    digest : str
        Of ids, windows and content.
    """

    ids: tuple[str, ...]
    windows: tuple[Window, ...]
    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]
    valid: NDArray[np.bool_]
    flow_clip: float | None
    digest: str

    def __post_init__(self) -> None:
        for array in (self.frames, self.flow, self.valid):
            array.setflags(write=False)

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.ids)

    @property
    def unknown_pixels(self) -> int:
        """Number of pixels in the crops whose flow is unknown."""
        return int(self.valid.size - np.count_nonzero(self.valid))


def _placement(ids: Sequence[str], windows: Sequence[Window]) -> list[str]:
    return [
        f"{sample}@{w.top},{w.left},{w.height},{w.width}"
        for sample, w in zip(ids, windows, strict=True)
    ]


def content_digest(
    ids: Sequence[str],
    windows: Sequence[Window],
    frames: NDArray[np.uint8],
    flow: NDArray[np.float32],
    valid: NDArray[np.bool_],
) -> str:
    """Return the digest of an evaluation batch: ids, windows, pixels, flow, validity."""
    arrays = digest_arrays({"frames": frames, "flow": flow, "valid": valid})
    return digest_strings([*_placement(ids, windows), arrays])


def identity_digest(ids: Sequence[str], windows: Sequence[Window], files: Sequence[str]) -> str:
    """Return the digest of a training batch: ids, windows and each sample's file digest.

    Hashing every training crop would cost as much as decoding it; the files were hashed
    once when they were read.
    """
    return digest_strings([*_placement(ids, windows), *files])


def batch_key(
    *, code: str, crop: tuple[int, int], flow_clip: float | None, ids: Sequence[str],
    contents: Sequence[str],
) -> str:  # fmt: skip
    """Return the name under which an evaluation batch is found again on disk.

    Parameters
    ----------
    code : str
        Digest of the code that makes a batch of files.
    crop : tuple of int
        (height, width) in px.
    flow_clip : float or None
        Clip on each flow component, px.
    ids, contents : sequence of str
        Sample ids, and the digest of each sample's files.
    """
    # Their number tells where the ids end and the contents begin.
    return digest_strings([code, repr(crop), repr(flow_clip), str(len(ids)), *ids, *contents])


def join_digests(batches: Sequence[Batch]) -> str:
    """Return the digest of a sequence of batches."""
    return digest_strings(batch.digest for batch in batches)


def pixel_digests(
    frames: NDArray[np.uint8], flow: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[str, ...]:
    """Return the digest of each sample's pixels, whatever a batch says of itself.

    Parameters
    ----------
    frames, flow, valid : numpy.ndarray
        As in :class:`Batch`.
    """
    return tuple(
        hashlib.blake2b(
            sample.tobytes() + vectors.tobytes() + known.tobytes(), digest_size=_SIZE
        ).hexdigest()
        for sample, vectors, known in zip(frames, flow, valid, strict=True)
    )
