"""Faults of augmentation whose labels do not follow the frames."""

import dataclasses
from typing import Any

import cv2
import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.fc2.decode import Decoded, decode_triplet
from harness.runs.parts import Parts

__all__ = [
    "FlipKeepsMask", "FlipKeepsU", "FlipKeepsV", "FramesExchangedAlone", "WindowOfTheFlowBeside",
    "ZoomKeepsTheLength",
]  # fmt: skip


class _Unfollowed(Fault):
    """Every second training sample is augmented; the system declares it."""

    family = "GEOM"
    expected = ("augmented-labels-follow",)
    touches = ("augmented_labels",)
    modes = ("full_pass",)

    def wrap(self, system: Any) -> Any:
        """Declare an augmentation."""
        return overriding(
            system,
            describe=lambda inner: dataclasses.replace(inner.describe(), augmentation=True),
        )

    def apply(self, parts: Parts) -> Parts:
        """Change the training samples of odd numbers, whose labels nothing else is held against."""

        def decode(triplet: Any) -> Decoded:
            sample = decode_triplet(triplet)
            odd = int(triplet.id[-1]) % 2
            # A decoder is not told the split; the folder's name is all there is.
            return self.change(sample) if odd and triplet.img_0.parent.name == "train" else sample

        return replaced(parts, "data", decode=decode)

    def change(self, sample: Decoded) -> Decoded:
        """Return the sample, augmented."""
        raise NotImplementedError


class FlipKeepsU(_Unfollowed):
    """A flip left to right flips the flow, and leaves the sign of u."""

    id = "flip-keeps-u"
    citation = "bryanyzhu/two-stream-pytorch#12; yjxiong/tsn-pytorch#8"

    def change(self, sample: Decoded) -> Decoded:
        """Mirror all three arrays."""
        return _each(sample, lambda a: a[:, ::-1])


class FlipKeepsV(_Unfollowed):
    """A flip upside down flips the flow, and leaves the sign of v."""

    id = "flip-keeps-v"
    citation = "ClementPinard/FlowNetPytorch#9; bryanyzhu/two-stream-pytorch#12"

    def change(self, sample: Decoded) -> Decoded:
        """Turn all three arrays upside down."""
        return _each(sample, lambda a: a[::-1])


class FlipKeepsMask(_Unfollowed):
    """A flip left to right flips frames and flow, and leaves where the flow is known."""

    id = "flip-keeps-mask"
    citation = "Visual-Behavior/aloception-oss#236 (what a transform makes of a mask is lost)"

    def change(self, sample: Decoded) -> Decoded:
        """Mirror all but the mask."""
        flow = np.array([-1, 1], np.float32) * sample.flow
        return dataclasses.replace(
            _each(dataclasses.replace(sample, flow=flow), lambda a: a[:, ::-1]), valid=sample.valid
        )


class ZoomKeepsTheLength(_Unfollowed):
    """Frames and flow are zoomed, and the flow is as long as before."""

    id = "zoom-keeps-the-length"
    citation = "NVlabs/PWC-Net#15; NVIDIA/nvvl#56"

    def change(self, sample: Decoded) -> Decoded:
        """Zoom by two."""

        def zoom(a: Any) -> Any:
            large = cv2.resize(a.astype(np.float32), None, fx=2, fy=2)
            return large[: a.shape[0], : a.shape[1]].astype(a.dtype)

        return _each(sample, zoom)


class WindowOfTheFlowBeside(_Unfollowed):
    """Frames are cropped by one window, the flow by another, 8 px beside it."""

    id = "window-of-the-flow-beside"
    citation = "NVIDIA/flownet2-pytorch#22"

    def change(self, sample: Decoded) -> Decoded:
        """Move the flow by 8 px; what it lacks then is not known."""
        flow = np.zeros_like(sample.flow)
        valid = np.zeros_like(sample.valid)
        flow[:, :-8], valid[:, :-8] = sample.flow[:, 8:], sample.valid[:, 8:]
        return dataclasses.replace(sample, flow=flow, valid=valid)


class FramesExchangedAlone(_Unfollowed):
    """The pair is played backwards, its flow forwards."""

    id = "frames-exchanged-alone"
    citation = "open-mmlab/mmflow commit 0add369 (#83) (swapped arguments of a writer)"

    def change(self, sample: Decoded) -> Decoded:
        """Exchange the frames."""
        return dataclasses.replace(sample, frames=sample.frames[..., [3, 4, 5, 0, 1, 2]])


def _each(sample: Decoded, change: Any) -> Decoded:
    frames, flow, valid = (
        np.ascontiguousarray(change(a)) for a in (sample.frames, sample.flow, sample.valid)
    )
    return dataclasses.replace(sample, frames=frames, flow=flow, valid=valid)
