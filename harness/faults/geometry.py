"""Faults of geometry and colour: channels, axes, windows, units."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from harness.faults.base import Fault, overriding, replaced
from harness.fc2.crop import Window, center_window
from harness.fc2.decode import Decoded, decode_triplet
from harness.runs.parts import Parts
from harness.supernet.network import frames_to_input

__all__ = [
    "CentreRoundsUp", "CropOfAnotherStride", "EvalFlips", "EvalInputUnnormalised",
    "EvalLabelsClipped", "FlowMissing", "FlowNegated", "FlowNotResized", "FlowNotShifted",
    "FlowUnitsDivided", "FlowUpsideDown", "FramesFlippedAlone", "FramesOrderSwapped",
    "FramesResized", "HalfPixelCentres", "HeightForWidth", "RgbForBgr", "TrainInputSwapsColours",
    "UForV",
]  # fmt: skip


def _decoding(parts: Parts, change: Callable[[Decoded], Decoded]) -> Parts:
    return replaced(parts, "data", decode=lambda triplet: change(decode_triplet(triplet)))


def _flow(parts: Parts, change: Callable[[Any], Any]) -> Parts:
    return _decoding(
        parts, lambda d: dataclasses.replace(d, flow=np.ascontiguousarray(change(d.flow)))
    )


def _frames(parts: Parts, change: Callable[[Any], Any]) -> Parts:
    return _decoding(
        parts, lambda d: dataclasses.replace(d, frames=np.ascontiguousarray(change(d.frames)))
    )


class _Pixels(Fault):
    family = "GEOM"
    expected = ("eval-crop-centred",)
    touches = ("served", "draws")


class RgbForBgr(_Pixels):
    """Frames come as RGB although the net was made for BGR."""

    id = "rgb-for-bgr"
    citation = "ClementPinard/FlowNetPytorch#80; hustvl/SparseInst#100"

    def apply(self, parts: Parts) -> Parts:
        """Reverse the colours of both frames."""
        return _frames(parts, lambda f: f[..., [2, 1, 0, 5, 4, 3]])


class FramesOrderSwapped(_Pixels):
    """The second frame comes first."""

    id = "frames-swapped"
    citation = "open-mmlab/mmflow commit 0add369 (#83) (swapped arguments of a writer)"

    def apply(self, parts: Parts) -> Parts:
        """Swap the two frames."""
        return _frames(parts, lambda f: f[..., [3, 4, 5, 0, 1, 2]])


class UForV(_Pixels):
    """The two flow components are swapped."""

    id = "u-for-v"
    citation = "fizyr/keras-retinanet#240 (x taken for y)"

    def apply(self, parts: Parts) -> Parts:
        """Swap u and v."""
        return _flow(parts, lambda f: f[..., ::-1])


class FlowNegated(_Pixels):
    """The flow points from the second frame to the first."""

    id = "flow-negated"
    citation = "ClementPinard/FlowNetPytorch#9 (opposite signs in two transforms)"

    def apply(self, parts: Parts) -> Parts:
        """Negate the flow."""
        return _flow(parts, lambda f: -f)


class FlowUpsideDown(_Pixels):
    """The label's rows are read from the bottom."""

    id = "flow-upside-down"
    citation = "lmb-freiburg/flownet2#23; simonfuhrmann/mve#30"

    def apply(self, parts: Parts) -> Parts:
        """Reverse the rows."""
        return _flow(parts, lambda f: f[::-1])


class FlowNotShifted(_Pixels):
    """The flow is not shifted with the crop of the frames."""

    id = "flow-not-shifted"
    citation = "PhoenixDL/rising#99; tensorflow/tensorflow#32779"

    def apply(self, parts: Parts) -> Parts:
        """Move the label against the frames."""
        return _flow(parts, lambda f: np.roll(f, (2, 3), axis=(0, 1)))


class FlowUnitsDivided(_Pixels):
    """Labels are divided by 20, as FlowNet trains, and never multiplied back."""

    id = "flow-units"
    citation = "linenmin/MCUFlowNet commits a221118 and f2cf8ae"

    def apply(self, parts: Parts) -> Parts:
        """Divide the labels."""
        return _flow(parts, lambda f: f / np.float32(20))


class FlowMissing(_Pixels):
    """The validation split comes without its label."""

    id = "validation-without-flow"
    citation = "neu-vi/ezflow#66"

    def apply(self, parts: Parts) -> Parts:
        """Serve zeros where the split is not training."""

        def decode(triplet: Any) -> Decoded:
            sample = decode_triplet(triplet)
            # A decoder is not told the split; the folder's name is all there is.
            if triplet.img_0.parent.name == "train":
                return sample
            return dataclasses.replace(sample, flow=np.zeros_like(sample.flow))

        return replaced(parts, "data", decode=decode)


class FramesFlippedAlone(_Pixels):
    """Frames are flipped, the label is not."""

    id = "frames-flipped-alone"
    citation = "lavi135246/pytorch-Learning-to-See-in-the-Dark#11"

    def apply(self, parts: Parts) -> Parts:
        """Mirror the frames."""
        return _frames(parts, lambda f: f[:, ::-1])


class EvalFlips(_Pixels):
    """The augmentation of training reaches the validation set."""

    id = "validation-augmented"
    citation = "gpleiss/efficient_densenet_pytorch#51"

    def apply(self, parts: Parts) -> Parts:
        """Mirror validation samples, consistently, so that only the source tells."""

        def decode(triplet: Any) -> Decoded:
            d = decode_triplet(triplet)
            if triplet.img_0.parent.name == "train":
                return d
            flow = d.flow[:, ::-1] * np.asarray([-1, 1], np.float32)
            return dataclasses.replace(
                d, frames=d.frames[:, ::-1].copy(), flow=flow.copy(), valid=d.valid[:, ::-1].copy()
            )

        return replaced(parts, "data", decode=decode)


class FramesResized(_Pixels):
    """Frames are scaled down and up again instead of being cropped from."""

    id = "frames-resized"
    citation = "hmorimitsu/ptlflow commit d9ec471 (resizing not undone)"

    def apply(self, parts: Parts) -> Parts:
        """Keep every second pixel, twice."""
        return _frames(
            parts, lambda f: f[::2, ::2].repeat(2, 0).repeat(2, 1)[: len(f), : f.shape[1]]
        )


class FlowNotResized(_Pixels):
    """The label is resized with the frames, but its values are not."""

    id = "flow-values-not-scaled"
    citation = "NVlabs/PWC-Net#15; NVIDIA/nvvl#56"

    def apply(self, parts: Parts) -> Parts:
        """Zoom frames and label by two around the corner; u, v stay."""

        def zoom(a: Any) -> Any:
            return np.ascontiguousarray(a.repeat(2, 0).repeat(2, 1)[: a.shape[0], : a.shape[1]])

        return _decoding(
            parts,
            lambda d: dataclasses.replace(
                d, frames=zoom(d.frames), flow=zoom(d.flow), valid=zoom(d.valid)
            ),
        )


class HeightForWidth(_Pixels):
    """The centre is computed with height and width exchanged."""

    id = "height-for-width"
    citation = "daniilidis-group/EV-FlowNet#4; georgegach/flowiz#7"

    def apply(self, parts: Parts) -> Parts:
        """Take the row margin for the columns, as far as it fits."""

        def window(frame: tuple[int, int], crop: tuple[int, int]) -> Window:
            w = center_window(frame, crop)
            top = min(w.left, frame[0] - crop[0])
            return Window(top, min(w.top, frame[1] - crop[1]), *crop)

        return replaced(parts, "data", center=window)


class CentreRoundsUp(_Pixels):
    """An odd margin puts its extra pixel at the other side."""

    id = "centre-off-by-one"
    citation = "linenmin/MCUFlowNet commit 3261988 (closed form of the centre crop)"

    def apply(self, parts: Parts) -> Parts:
        """Round the margin up."""

        def window(frame: tuple[int, int], crop: tuple[int, int]) -> Window:
            return Window(-(-(frame[0] - crop[0]) // 2), -(-(frame[1] - crop[1]) // 2), *crop)

        return replaced(parts, "data", center=window)


class EvalLabelsClipped(Fault):
    """The label clip of training reaches evaluation."""

    id, family = "eval-labels-clipped", "GEOM"
    citation = "linenmin/MCUFlowNet commit 3261988 (evaluation shares the training loader)"
    expected = ("unknown-flow-masked",)
    touches = ("loss",)

    def apply(self, parts: Parts) -> Parts:
        """Clip every label at 50 px."""
        return _flow(parts, lambda f: np.clip(f, -50, 50))


def _unnormalised(frames: Any) -> Any:
    return tf.cast(frames, tf.float32) / 255.0


def _swapped_colours(frames: Any) -> Any:
    return frames_to_input(tf.gather(frames, [2, 1, 0, 5, 4, 3], axis=-1))


class EvalInputUnnormalised(Fault):
    """Evaluation feeds [0, 1] where training feeds [-1, 1]."""

    id, family = "eval-input-range", "DATA"
    citation = "open-mmlab/mmrazor commit 5495accd (#202)"
    expected = ("loss-recomputed",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Leave the shift out."""
        return replaced(parts, "evaluation", frames_to_input=_unnormalised)


class TrainInputSwapsColours(Fault):
    """Training sees RGB, evaluation BGR."""

    id, family = "train-input-colours", "GEOM"
    citation = "open-mmlab/mmaction2#692 (wrong normalisation of the input)"
    expected = ("loss-recomputed",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Reverse the colours on the way into the training graph."""
        return replaced(parts, "train", frames_to_input=_swapped_colours)


def _half_pixel(outputs: Any) -> Any:
    total = outputs[0]
    for residual in outputs[1:]:
        total = residual + tf.raw_ops.ResizeBilinear(
            images=total, size=tf.shape(residual)[1:3], align_corners=False,
            half_pixel_centers=True,
        )  # fmt: skip
    return total[..., :2]


class HalfPixelCentres(Fault):
    """Residuals are added on TensorFlow 2's sampling grid, the net was trained on the old one."""

    id, family = "half-pixel-centres", "GEOM"
    citation = "open-mmlab/mmflow commit 3d064bf (#65) (resizing in evaluation unlike training)"
    expected = ("metric-recomputed",)
    touches = ("metric", "response")

    def apply(self, parts: Parts) -> Parts:
        """Resize with half-pixel centres."""
        return replaced(parts, "evaluation", accumulate_flow=_half_pixel)


class CropOfAnotherStride(Fault):
    """The network halves its input once more often than the configured crop divides."""

    id, family = "crop-of-another-stride", "GEOM"
    citation = (
        "linenmin/MCUFlowNet commit 902a0e1 (180 x 240 on strides of 16: labels are stretched to "
        "the outputs)"
    )
    expected = ("own-crop-fits",)
    touches = ()

    def wrap(self, system: Any) -> Any:
        """Need multiples of 12 px, which the crop of no gate is."""
        return overriding(
            system, describe=lambda inner: dataclasses.replace(inner.describe(), stride=12)
        )
