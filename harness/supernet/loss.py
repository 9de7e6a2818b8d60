"""The accumulated flow and EdgeFlowNAS's multi-scale uncertainty loss.

The three outputs are residuals: flow and log-variance are running sums, resized and added
scale by scale. Scoring the last output alone is the mistake that kept EdgeFlowNAS's metric
at the level of an all-zero flow for hundreds of epochs.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from harness.supernet.network import resize_bilinear

__all__ = ["SCALE_WEIGHTS", "accumulate_flow", "multiscale_loss", "running_sums", "weight_decay"]

SCALE_WEIGHTS = (0.125, 0.25, 0.5)
"""Loss weight of each scale, coarse to fine (EdgeFlowNAS, ``engine/train_step.py``)."""

# LinearSoftplus has one number in two places: added to logvar, and as the floor of sigma.
_SIGMA_MIN = 1e-3

Tensor = Any


def running_sums(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the accumulated output at every scale, coarse to fine.

    Parameters
    ----------
    outputs : sequence of tensor
        Residual outputs (B, h, w, 4), coarse to fine.

    Returns
    -------
    list of tensor
        The same shapes: flow in px (2 channels) and log-variance (2).
    """
    sums = [outputs[0]]
    for residual in outputs[1:]:
        sums.append(resize_bilinear(sums[-1], tf.shape(residual)[1:3]) + residual)
    return sums


def accumulate_flow(outputs: Sequence[Tensor]) -> Tensor:
    """Return the flow at full scale, (B, H, W, 2) in px: the sum over all residuals."""
    return running_sums(outputs)[-1][..., :2]


def _masked_resize(label: Tensor, valid: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Resize a label so that invalid pixels contribute nothing; return it and its mask."""
    # Unknown flow is stored as 0, which a plain resize would mix into its neighbours.
    weight = tf.cast(valid, tf.float32)[..., tf.newaxis]
    share = resize_bilinear(weight, size)
    # 0 / 0 where no neighbour is valid: a NaN would pass the mask, because 0 * NaN is NaN.
    resized = tf.math.divide_no_nan(resize_bilinear(label * weight, size), share)
    return resized, tf.cast(share > 0.0, tf.float32)


def _sample_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over a sample's valid pixels and channels, then over samples."""
    channels = tf.cast(tf.shape(values)[-1], tf.float32)
    total = tf.reduce_sum(values * mask, axis=[1, 2, 3])
    count = tf.reduce_sum(mask, axis=[1, 2, 3]) * channels
    # A coarse grid reads few pixels and may miss all the valid ones of a sample.
    return tf.reduce_mean(tf.math.divide_no_nan(total, count))


def multiscale_loss(outputs: Sequence[Tensor], label: Tensor, valid: Tensor) -> Tensor:
    """Return the batch's mean loss, without weight decay.

    Per scale: mean |flow - label| + mean(|flow - label| / sigma) + mean(softplus(logvar)),
    with sigma = max(softplus(logvar + 1e-3), 1e-3) and accumulated flow and logvar
    (EdgeFlowNAS's ``LinearSoftplus``).

    Parameters
    ----------
    outputs : sequence of tensor
        Residual outputs (B, h, w, 4), coarse to fine.
    label : tensor
        Shape (B, H, W, 2), float32, px.
    valid : tensor
        Shape (B, H, W), bool. Samples weigh equally, whatever their valid pixels.
    """
    total = tf.constant(0.0)
    for weight, output in zip(SCALE_WEIGHTS, running_sums(outputs), strict=True):
        flow, logvar = output[..., :2], output[..., 2:]
        target, mask = _masked_resize(label, valid, tf.shape(output)[1:3])
        difference = tf.abs(flow - target)
        sigma = tf.maximum(tf.math.softplus(logvar + _SIGMA_MIN), _SIGMA_MIN)
        terms = difference + difference / sigma + tf.math.softplus(logvar)
        total += weight * _sample_mean(terms, mask)
    return total


def weight_decay(kernels: Sequence[Tensor], rate: float) -> Tensor:
    """Return ``rate * sum(l2_loss(kernel))`` over all kernels, chosen or not."""
    return rate * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
