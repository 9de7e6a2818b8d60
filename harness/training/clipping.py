"""Accumulating gradients over archs and micro-batches, and clipping their global norm."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["accumulate", "clip", "micro_weight"]

Tensor = Any


def micro_weight(samples: int, batch: int, archs: int = 3) -> float:
    """Return the weight of a micro-batch's mean gradient in the update.

    ``(1 / archs) * (samples / batch)``: micro-batches weigh by their samples, so that 4,
    4 and 2 samples give the mean over 10 and not the mean of three means.
    """
    return samples / (batch * archs)


def accumulate(total: Sequence[Tensor], gradients: Sequence[Tensor], weight: Tensor) -> list[Any]:
    """Return ``total + weight * gradients``, variable by variable."""
    return [t + weight * g for t, g in zip(total, gradients, strict=True)]


def clip(gradients: Sequence[Tensor], threshold: Tensor) -> tuple[list[Any], Tensor, Tensor]:
    """Scale gradients down to a global norm of at most `threshold`.

    Unlike ``tf.clip_by_global_norm``, gradients within the threshold keep their bits, and
    an infinite norm gives NaN, which the finite check names, instead of zeros.

    Returns
    -------
    gradients : list of tensor
        As applied.
    before, after : tensor
        Global norm before clipping, and the norm of what is applied.
    """
    before = tf.linalg.global_norm(gradients)
    scale = tf.where(before > threshold, threshold / before, 1.0)
    scale = tf.where(tf.math.is_finite(before), scale, float("nan"))
    clipped = [scale * g for g in gradients]
    return clipped, before, tf.linalg.global_norm(clipped)
