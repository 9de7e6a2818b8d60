"""The forward pass: weights, arch and frames to three residual outputs.

Only the chosen branches run, forward and backward: the arch code is a tensor and each
choice a ``tf.cond`` or ``tf.switch_case``. How a layer is normalised is passed in, so that
training, recalibration and evaluation share one forward pass.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import tensorflow as tf

from harness.supernet.space import SKELETONS, Skeleton, Stage, depth_chain, norm_units

__all__ = [
    "BN_EPSILON",
    "BN_MOMENTUM",
    "BatchNorm",
    "FixedNorm",
    "GivenNorm",
    "Norm",
    "RecalNorm",
    "forward",
    "frames_to_input",
    "resize_bilinear",
]

# EdgeFlowNAS's, which imported weights and statistics were trained with.
BN_EPSILON = 1e-5
BN_MOMENTUM = 0.9

Tensor = Any
Stats = tuple[Tensor, Tensor]
Weights = Mapping[str, Tensor]


class Norm(Protocol):
    """Normalises the input of one unit and reports a pair of per-channel statistics."""

    def __call__(self, unit: str, x: Tensor) -> tuple[Tensor, Stats]:
        """Return the normalised tensor and the unit's statistics."""

    def skipped(self, unit: str) -> Stats:
        """Return the statistics of a unit that does not run."""


class BatchNorm:
    """Normalise by the batch; report the moving statistics after the update.

    Variance is corrected by N/(N-1) in the moving statistic alone, as TensorFlow's fused
    kernel does, and the update is ``moving - (moving - batch) * (1 - momentum)``, as
    TensorFlow 1's ``assign_moving_average``.
    """

    def __init__(self, weights: Weights, moving: Mapping[str, Stats]) -> None:
        self._weights, self._moving = weights, moving

    def __call__(self, unit: str, x: Tensor) -> tuple[Tensor, Stats]:
        """Return the normalised tensor and the moving statistics after the update."""
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self._weights[f"{unit}/gamma"],
            offset=self._weights[f"{unit}/beta"],
            # The op wants these empty where it is to compute both itself.
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=BN_EPSILON,
            is_training=True,
        )
        old = self.skipped(unit)
        # Subtracted in double and rounded once, as in TensorFlow 1: float32(1) - float32(0.9) is
        # another number.
        rate = tf.constant(1.0 - BN_MOMENTUM, tf.float32)
        return y, (old[0] - (old[0] - mean) * rate, old[1] - (old[1] - variance) * rate)

    def skipped(self, unit: str) -> Stats:
        """Return the moving statistics unchanged."""
        mean, variance = self._moving[unit]
        return tf.identity(mean), tf.identity(variance)


class GivenNorm:
    """Normalise by given statistics; report them unchanged."""

    def __init__(self, weights: Weights, stats: Mapping[str, Stats]) -> None:
        self._weights, self._stats = weights, stats

    def __call__(self, unit: str, x: Tensor) -> tuple[Tensor, Stats]:
        """Return the normalised tensor and the given statistics."""
        return _normalise(self._weights, unit, x, self._stats[unit]), self.skipped(unit)

    def skipped(self, unit: str) -> Stats:
        """Return the given statistics."""
        mean, variance = self._stats[unit]
        return tf.identity(mean), tf.identity(variance)


class FixedNorm(GivenNorm):
    """Normalise by given statistics where a gradient passes through; report them unchanged.

    Multiplies and adds, as the fused kernel does but for rounding: the gradient of that kernel
    outside training mode, FusedBatchNormGradV3, has no deterministic form on a GPU.
    """

    def __call__(self, unit: str, x: Tensor) -> tuple[Tensor, Stats]:
        """Return the normalised tensor and the given statistics."""
        mean, variance = self._stats[unit]
        scale = self._weights[f"{unit}/gamma"] * tf.math.rsqrt(variance + BN_EPSILON)
        return x * scale + (self._weights[f"{unit}/beta"] - mean * scale), self.skipped(unit)


class RecalNorm:
    """Normalise by the batch's own statistics, and report those.

    Mean and variance (divided by N) are reduced one axis at a time: unlike the fused
    kernel in training mode, their bits do not depend on the number of threads. Units that
    do not run report zeros.

    Parameters
    ----------
    weights : mapping of str to tensor
        Gammas and betas by name.
    groups : int, default 1
        Batches of equal size that lie one after another in each tensor, each normalised by
        its own statistics; with more than one these have the shape (groups, channels).
    """

    def __init__(self, weights: Weights, groups: int = 1) -> None:
        self._weights, self._groups = weights, groups

    def __call__(self, unit: str, x: Tensor) -> tuple[Tensor, Stats]:
        """Return the normalised tensor and each batch's statistics."""
        if self._groups == 1:
            return self._alone(unit, x)
        affine = [self._weights[f"{unit}/{name}"] for name in ("gamma", "beta")]
        alone = [_batch_alone()(part, *affine) for part in tf.split(x, self._groups)]
        y, mean, variance = zip(*alone, strict=True)
        return tf.concat(y, axis=0), (tf.stack(mean), tf.stack(variance))

    def _alone(self, unit: str, x: Tensor) -> tuple[Tensor, Stats]:
        """Normalise one batch: where in a larger tensor it lies may change the sums' bits."""
        mean = _channel_mean(x)
        stats = mean, _channel_mean(_squared_difference(x, mean))
        return _normalise(self._weights, unit, x, stats), stats

    def skipped(self, unit: str) -> Stats:
        """Return zeros."""
        zeros = tf.zeros_like(self._weights[f"{unit}/gamma"])
        return zeros, zeros


@cache
def _batch_alone() -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Return what normalises one of several batches: its value, mean and variance.

    Traced once and called, not copied into each function that runs several batches: most of an
    evaluation's tracing was copies of it.
    """

    def alone(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (mean, variance) = RecalNorm({"x/gamma": gamma, "x/beta": beta})("x", x)
        return y, mean, variance

    vector = tf.TensorSpec([None], tf.float32)
    signature = [tf.TensorSpec([None] * 4, tf.float32), vector, vector]
    function = tf.function(
        alone, autograph=False, input_signature=signature,
        experimental_attributes={"_noinline": True},
    )  # fmt: skip
    return function.get_concrete_function()  # type: ignore[no-any-return]


def _channel_mean(x: Tensor) -> Tensor:
    for _ in range(3):
        x = tf.reduce_mean(x, axis=-2)
    return x


def _squared_difference(x: Tensor, mean: Tensor) -> Tensor:
    """Return ``(x - mean)^2``, row by row: few channels are slow to broadcast over."""
    shape = tf.shape(x)
    rows = tf.reshape(x, [shape[0] * shape[1], shape[2] * shape[3]])
    return tf.reshape(tf.math.squared_difference(rows, tf.tile(mean, [shape[2]])), shape)


def _normalise(weights: Weights, unit: str, x: Tensor, stats: Stats) -> Tensor:
    # Without training mode, in which alone the kernel's bits depend on the number of threads.
    y, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=weights[f"{unit}/gamma"],
        offset=weights[f"{unit}/beta"],
        mean=stats[0],
        variance=stats[1],
        epsilon=BN_EPSILON,
        is_training=False,
    )
    return y


def frames_to_input(frames: Tensor) -> Tensor:
    """Map uint8 frames (B, H, W, 6) to float32 in [-1, 1], BGR kept, as EdgeFlowNAS does."""
    return (tf.cast(frames, tf.float32) / 255.0 - 0.5) * 2.0


def resize_bilinear(x: Tensor, size: Tensor) -> Tensor:
    """Resize (B, H, W, C) to `size` with TensorFlow 1's bilinear sampling grid."""
    # tf.image.resize has half-pixel centres and no argument against them.
    return tf.raw_ops.ResizeBilinear(
        images=x, size=size, align_corners=False, half_pixel_centers=False
    )


def _conv(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")


def forward(
    skeleton: str, weights: Weights, arch: Tensor, x: Tensor, norm: Norm
) -> tuple[tuple[Tensor, ...], dict[str, Stats]]:
    """Run one subnet.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    weights : mapping of str to tensor
        Kernels, gammas and betas by name.
    arch : tensor
        Shape (9,), int32, values 0, 1 or 2 (validated before it became a tensor).
    x : tensor
        Shape (B, H, W, 6), float32 in [-1, 1].
    norm : Norm
        How units are normalised.

    Returns
    -------
    outputs : tuple of tensor
        Three residual outputs of 4 channels, coarse to fine.
    stats : dict of str to (tensor, tensor)
        What `norm` reported for every unit, each of shape (channels,).
    """
    plan = SKELETONS[skeleton]
    values: dict[str, Tensor] = {"input": x}
    stats: dict[str, Stats] = {}
    for stage in plan.stages:
        source = values[stage.source]
        if stage.upsample:
            source = resize_bilinear(source, 2 * tf.shape(source)[1:3])
        if stage.choice == "depth":
            code = arch[plan.code_index(stage)]
            y, block_stats = _depth_choice(plan, stage, weights, code, source, norm)
            stats |= block_stats
        elif stage.choice == "kernel":
            y = _kernel_choice(plan, stage, weights, arch[plan.code_index(stage)], source)
        else:
            y = _conv(source, weights[f"{stage.name}/kernel"], stage.stride)
        if stage.norm and stage.choice != "depth":
            y, stats[stage.name] = norm(stage.name, y)
            y = tf.nn.relu(y)
        values[stage.name] = y
    ordered = {unit: stats[unit] for unit in norm_units(plan)}
    return tuple(values[stage.name] for stage in plan.outputs), ordered


def _residual(
    block: str, weights: Weights, x: Tensor, norm: Norm
) -> tuple[Tensor, dict[str, Stats]]:
    first, second = f"{block}/conv1", f"{block}/conv2"
    y, first_stats = norm(first, _conv(x, weights[f"{first}/kernel"]))
    y, second_stats = norm(second, _conv(tf.nn.relu(y), weights[f"{second}/kernel"]))
    return tf.nn.relu(y + x), {first: first_stats, second: second_stats}


def _skip(block: str, norm: Norm) -> dict[str, Stats]:
    return {f"{block}/{conv}": norm.skipped(f"{block}/{conv}") for conv in ("conv1", "conv2")}


def _depth_choice(
    plan: Skeleton, stage: Stage, weights: Weights, code: Tensor, x: Tensor, norm: Norm
) -> tuple[Tensor, dict[str, Stats]]:
    if not plan.nested:
        return _depth_branches(plan, stage, weights, code, x, norm)
    stats: dict[str, Stats] = {}
    for option, block in enumerate(depth_chain(plan, stage, 2)):
        run, skip = _either(block, weights, x, norm)
        # A cond for each block, not a branch for each option: what options share is traced once.
        x, block_stats = run() if option == 0 else tf.cond(code >= option, run, skip)
        stats |= block_stats
    return x, stats


def _either(
    block: str, weights: Weights, x: Tensor, norm: Norm
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    return (
        lambda: _residual(block, weights, x, norm),
        lambda: (tf.identity(x), _skip(block, norm)),
    )


def _depth_branches(
    plan: Skeleton, stage: Stage, weights: Weights, code: Tensor, x: Tensor, norm: Norm
) -> tuple[Tensor, dict[str, Stats]]:
    chains = [depth_chain(plan, stage, option) for option in range(3)]

    def branch(option: int) -> tuple[Tensor, dict[str, Stats]]:
        y = x
        stats: dict[str, Stats] = {}
        # tf.switch_case wants the same structure from every branch, of units that do not run too.
        for other in (b for o, chain in enumerate(chains) if o != option for b in chain):
            stats |= _skip(other, norm)
        for block in chains[option]:
            y, block_stats = _residual(block, weights, y, norm)
            stats |= block_stats
        return y, dict(sorted(stats.items()))

    y, stats = tf.switch_case(code, [lambda o=option: branch(o) for option in range(3)])
    return y, stats


def _kernel_choice(plan: Skeleton, stage: Stage, weights: Weights, code: Tensor, x: Tensor) -> Any:
    kernels = [weights[f"{stage.name}/k{k}/kernel"] for k in plan.kernels]
    return tf.switch_case(code, [lambda kernel=kernel: _conv(x, kernel) for kernel in kernels])
