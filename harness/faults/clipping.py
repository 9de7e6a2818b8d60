"""Faults of clipping, and of what it counts."""

from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, overriding, replaced
from harness.runs.parts import Parts
from harness.training.clipping import clip
from harness.training.schedule import expected_clip_checks

__all__ = [
    "ChecksCountFloor", "ChecksOfOldPosition", "ClipBeforeGradient", "ClipByValue",
    "ClipEachVariable", "ClipNeverApplied", "ClipOnScaled", "ClipReportedOnly", "NormOfNorms",
    "PositionIgnored",
]  # fmt: skip


class _Clip(Fault):
    family = "GRAD"
    touches = ("clip_checks",)


def _clip_each(gradients: Any, threshold: Any) -> Any:
    clipped = [tf.clip_by_norm(g, threshold) for g in gradients]
    return clipped, tf.linalg.global_norm(gradients), tf.linalg.global_norm(clipped)


class ClipEachVariable(_Clip):
    """Each variable is clipped by itself: the direction changes."""

    id = "clip-each-variable"
    slow = True
    citation = "tensorflow/tensorflow#29108; keras-team/keras#13575"
    expected = ("clip-arithmetic-micro-step", "clip-arithmetic-update", "clip-applied")

    def apply(self, parts: Parts) -> Parts:
        """Clip variable by variable."""
        return replaced(parts, "train", clip=_clip_each)


def _clip_reported(gradients: Any, threshold: Any) -> Any:
    _, before, after = clip(gradients, threshold)
    return list(gradients), before, after


class ClipReportedOnly(_Clip):
    """The clip is computed and logged, but the unclipped gradient is applied."""

    id = "clip-reported-only"
    citation = "tensorflow/tensorflow#33929"
    expected = ("clip-applied",)

    def apply(self, parts: Parts) -> Parts:
        """Return what came in."""
        return replaced(parts, "train", clip=_clip_reported)


def _no_clip(gradients: Any, threshold: Any) -> Any:
    norm = tf.linalg.global_norm(gradients)
    return list(gradients), norm, norm


class ClipNeverApplied(_Clip):
    """The threshold has no effect on this code path."""

    id = "clip-disabled"
    citation = "tensorflow/tensorflow#33929 and #45146"
    expected = ("clip-arithmetic-micro-step", "clip-applied")

    def apply(self, parts: Parts) -> Parts:
        """Never clip."""
        return replaced(parts, "train", clip=_no_clip)


def _clip_too_early(gradients: Any, threshold: Any) -> Any:
    norm = tf.zeros_like(tf.linalg.global_norm(gradients))
    return list(gradients), norm, norm


class ClipBeforeGradient(_Clip):
    """What is clipped is the gradient that is not there yet: zeros."""

    id = "clip-before-gradient"
    citation = "Cranial-XIX/FAMO#4; yandex-research/tabm#20"
    expected = ("clip-arithmetic-micro-step", "clip-arithmetic-update", "clip-applied")

    def apply(self, parts: Parts) -> Parts:
        """Clip zeros."""
        return replaced(parts, "train", clip=_clip_too_early)


def _clip_value(gradients: Any, threshold: Any) -> Any:
    norm = tf.linalg.global_norm(gradients)
    limit = threshold / 8
    cut = [tf.clip_by_value(g, -limit, limit) for g in gradients]
    scale = tf.minimum(1.0, threshold / tf.linalg.global_norm(cut))
    clipped = [scale * g for g in cut]
    return clipped, norm, tf.minimum(norm, threshold)


class ClipByValue(_Clip):
    """Large entries are cut off before the norm is clipped: another direction."""

    id = "clip-by-value"
    slow = True
    citation = "tensorflow/tensorflow#29108 (two implementations with one name)"
    expected = ("clip-applied",)

    def apply(self, parts: Parts) -> Parts:
        """Clip entries, then the norm."""
        return replaced(parts, "train", clip=_clip_value)


def _clip_scaled(gradients: Any, threshold: Any) -> Any:
    scaled, before, after = clip([3.0 * g for g in gradients], threshold)
    return [g / 3.0 for g in scaled], before, after


class ClipOnScaled(_Clip):
    """The threshold is compared with a scaled gradient."""

    id = "clip-before-unscale"
    citation = "milesial/Pytorch-UNet#468; Deci-AI/super-gradients#653"
    expected = ("clip-applied", "update-is-adam")

    def apply(self, parts: Parts) -> Parts:
        """Clip three times the gradient."""
        return replaced(parts, "train", clip=_clip_scaled)


def _norm_of_norms(gradients: Any, threshold: Any) -> Any:
    before = tf.add_n([tf.norm(g) for g in gradients])
    scale = tf.minimum(1.0, threshold / before)
    return [scale * g for g in gradients], before, scale * before


class NormOfNorms(_Clip):
    """The global norm is reduced in the wrong way."""

    id = "norm-of-norms"
    slow = True
    citation = "deepspeedai/DeepSpeed#5259"
    expected = ("update-is-adam",)
    touches = ("clip_checks",)

    def apply(self, parts: Parts) -> Parts:
        """Add the variables' norms."""
        return replaced(parts, "train", clip=_norm_of_norms)


class PositionIgnored(_Clip):
    """Clipping stays at each micro-step although once per update is configured."""

    id = "clip-position-ignored"
    citation = "linenmin/MCUFlowNet commit 2ef204e; NVIDIA/DeepLearningExamples#713"
    expected = ("clip-checks-planned-update",)

    def wrap(self, system: Any) -> Any:
        """Open with the other position."""

        def opened(inner: Any, config: Any) -> None:
            inner.open({**config, "train": {**config["train"], "clip_position": "micro_step"}})

        return overriding(system, open=opened)


class ChecksOfOldPosition(_Clip):
    """The closed form was not changed when clipping moved to the update."""

    id = "closed-form-of-old-position"
    citation = "linenmin/MCUFlowNet commits 2ef204e and a8d2b29"
    expected = ("clip-checks-planned-update", "clip-checks-planned-update-other-mode")

    def apply(self, parts: Parts) -> Parts:
        """Plan micro-steps always."""
        return replaced(
            parts, "train",
            expected_checks=lambda sizes, micro, *, position: expected_clip_checks(
                sizes, micro, position="micro_step"
            ),
        )  # fmt: skip


class ChecksCountFloor(_Clip):
    """The plan divides without rounding up."""

    id = "closed-form-floors"
    citation = "NVIDIA-NeMo/Automodel#2257 (floor division)"
    expected = ("clip-checks-planned-micro-step", "clip-checks-planned-micro-step-other-mode")

    def apply(self, parts: Parts) -> Parts:
        """Floor."""
        return replaced(
            parts, "train",
            expected_checks=lambda sizes, micro, *, position: (
                len(sizes) if position == "update" else 3 * sum(s // micro for s in sizes)
            ),
        )  # fmt: skip
