"""The forward pass with dense branches, as EdgeFlowNAS computes it: the reference of ratios.

Every option of every choice block is computed and the options' outputs are mixed by the
one-hot vectors of the arch code, so that what is not chosen costs as much as what is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from harness.supernet.network import resize_bilinear
from harness.supernet.space import NUM_OPTIONS, SKELETONS, Skeleton, Stage, depth_chain, norm_units

__all__ = ["forward_dense", "stages_before"]

Tensor = Any
Stats = tuple[Tensor, Tensor]
Weights = Mapping[str, Tensor]
Normalise = Callable[[str, Tensor], tuple[Tensor, Stats]]


def forward_dense(
    skeleton: str, weights: Weights, arch: Tensor, x: Tensor, norm: Normalise
) -> tuple[tuple[Tensor, ...], dict[str, Stats]]:
    """Run one subnet of dense branches; a drop-in for :func:`harness.supernet.network.forward`.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    weights : mapping of str to tensor
        Kernels, gammas and betas by name, the harness's own.
    arch : tensor
        Shape (9,), int32, values 0, 1 or 2.
    x : tensor
        Shape (B, H, W, 6), float32 in [-1, 1].
    norm : callable
        Normalises the input of a unit and reports a pair of statistics; every unit runs.

    Returns
    -------
    outputs : tuple of tensor
        Three residual outputs of 4 channels, coarse to fine.
    stats : dict of str to (tensor, tensor)
        What `norm` reported for every unit.
    """
    plan = SKELETONS[skeleton]
    one_hot = tf.one_hot(arch, NUM_OPTIONS, dtype=tf.float32)
    values: dict[str, Tensor] = {"input": x}
    stats: dict[str, Stats] = {}
    for stage in plan.stages:
        source = values[stage.source]
        if stage.upsample:
            source = resize_bilinear(source, 2 * tf.shape(source)[1:3])
        if stage.choice == "depth":
            options, block_stats = _depth_options(plan, stage, weights, source, norm)
            y = _mixed(one_hot[plan.code_index(stage)], options)
            stats |= block_stats
        elif stage.choice == "kernel":
            kernels = [weights[f"{stage.name}/k{k}/kernel"] for k in plan.kernels]
            options = [_conv(source, kernel) for kernel in kernels]
            y = _mixed(one_hot[plan.code_index(stage)], options)
        else:
            y = _conv(source, weights[f"{stage.name}/kernel"], stage.stride)
        if stage.norm and stage.choice != "depth":
            y, stats[stage.name] = norm(stage.name, y)
            y = tf.nn.relu(y)
        values[stage.name] = y
    ordered = {unit: stats[unit] for unit in norm_units(plan)}
    return tuple(values[stage.name] for stage in plan.outputs), ordered


def stages_before(skeleton: Skeleton, last: Stage) -> list[str]:
    """Return the names of the stages that a stage depends on, and its own, from it backwards."""
    by_name, found = {stage.name: stage for stage in skeleton.stages}, [last.name]
    while (source := by_name[found[-1]].source) in by_name:
        found.append(source)
    return found


def _mixed(shares: Tensor, options: Sequence[Tensor]) -> Tensor:
    return tf.add_n([shares[i] * option for i, option in enumerate(options)])


def _conv(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    return tf.nn.conv2d(x, kernel, strides=stride, padding="SAME")


def _depth_options(
    plan: Skeleton, stage: Stage, weights: Weights, x: Tensor, norm: Normalise
) -> tuple[list[Tensor], dict[str, Stats]]:
    """Return the output of each depth option; nested options share their leading blocks."""
    stats: dict[str, Stats] = {}
    known: dict[tuple[str, ...], Tensor] = {(): x}
    for option in range(NUM_OPTIONS):
        chain = depth_chain(plan, stage, option)
        for length in range(1, len(chain) + 1):
            if chain[:length] not in known:
                source, block = known[chain[: length - 1]], chain[length - 1]
                known[chain[:length]], found = _residual(block, weights, source, norm)
                stats |= found
    return [known[depth_chain(plan, stage, option)] for option in range(NUM_OPTIONS)], stats


def _residual(
    block: str, weights: Weights, x: Tensor, norm: Normalise
) -> tuple[Tensor, dict[str, Stats]]:
    first, second = f"{block}/conv1", f"{block}/conv2"
    y, first_stats = norm(first, _conv(x, weights[f"{first}/kernel"]))
    y, second_stats = norm(second, _conv(tf.nn.relu(y), weights[f"{second}/kernel"]))
    return tf.nn.relu(y + x), {first: first_stats, second: second_stats}
