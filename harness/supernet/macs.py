"""What a pool costs in multiply-accumulate operations (MACs), before anything runs.

No TensorFlow here. Convolutions alone are counted, each at the size that the skeleton gives it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.supernet.sharing.order import distinct
from harness.supernet.sharing.plan import Node, Plan, plan_of
from harness.supernet.space import Stage, check_arch, check_crop, stage_sizes

__all__ = ["PoolMacs", "kernel_macs", "pool_macs", "shared_macs"]

Arch = tuple[int, ...]
Options = tuple[int, tuple[int, ...]] | None


@dataclass(frozen=True)
class PoolMacs:
    """MACs of one evaluation of a pool, recalibration included.

    Attributes
    ----------
    dense : int
        Every branch of every choice, one arch after another, as EdgeFlowNAS does; its
        recalibration runs the output heads too.
    chosen : int
        The chosen branches alone, one arch after another.
    shared : int
        Every distinct value once.
    """

    dense: int
    chosen: int
    shared: int


def pool_macs(
    skeleton: str,
    width: int,
    size: tuple[int, int],
    pool: Iterable[Sequence[int]],
    *,
    recal_samples: int,
    eval_samples: int,
) -> PoolMacs:
    """Count the MACs of an evaluation in three ways.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    width : int
        Base width C.
    size : (int, int)
        Crop, (height, width), px.
    pool : iterable of arch code
        Archs; the whole space has 19,683.
    recal_samples, eval_samples : int
        Samples of all R recalibration batches and of all K validation batches together.

    Raises
    ------
    ValueError
        If an arch code is invalid or the skeleton's strides do not divide the crop.
    """
    plan = plan_of(skeleton)
    check_crop(plan.skeleton, size)
    macs = kernel_macs(skeleton, width, size)
    archs = [check_arch(arch) for arch in pool]
    body, heads = _chosen(plan, macs, archs)
    shared_body, shared_heads = shared_macs(skeleton, width, size, archs)
    # Recalibration ends before the heads, which nothing normalises.
    samples = recal_samples + eval_samples
    return PoolMacs(
        dense=len(archs) * sum(macs.values()) * samples,
        chosen=body * samples + heads * eval_samples,
        shared=shared_body * samples + shared_heads * eval_samples,
    )


def shared_macs(
    skeleton: str, width: int, size: tuple[int, int], pool: Sequence[Arch]
) -> tuple[int, int]:
    """Return the MACs of one sample where every distinct value is computed once.

    Of all but the output heads, which are what recalibration runs, and of the heads.
    """
    return _distinct(plan_of(skeleton), kernel_macs(skeleton, width, size), pool)


def kernel_macs(skeleton: str, width: int, size: tuple[int, int]) -> dict[str, int]:
    """Return the MACs of one application of each kernel to one sample, by its name.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    width : int
        Base width C.
    size : (int, int)
        Crop, (height, width), px.
    """
    plan = plan_of(skeleton)
    pixels, channels = stage_sizes(plan.skeleton, width, size)
    found: dict[str, int] = {}
    for stage in plan.skeleton.stages:
        for node in plan.nodes.values():
            if node.stage is stage:
                inputs = channels[stage.name if node.kind == "block" else stage.source]
                for kernel in node.kernels:
                    side = _side(stage, kernel)
                    found[kernel] = pixels[stage.name] * side**2 * inputs * channels[stage.name]
    return found


def _side(stage: Stage, kernel: str) -> int:
    if stage.choice != "kernel":
        return stage.kernel
    return int(kernel.removeprefix(f"{stage.name}/k").removesuffix("/kernel"))


def _chosen(plan: Plan, macs: dict[str, int], archs: Sequence[Arch]) -> tuple[int, int]:
    sums = [0, 0]
    for node in plan.nodes.values():
        for options, cost in _costs(plan, macs, node):
            runs = sum(arch[options[0]] in options[1] for arch in archs) if options else len(archs)
            sums[node.kind == "output"] += runs * cost
    return sums[0], sums[1]


def _distinct(plan: Plan, macs: dict[str, int], archs: Sequence[Arch]) -> tuple[int, int]:
    sums = [0, 0]
    for node in plan.nodes.values():
        for options, cost in _costs(plan, macs, node):
            sums[node.kind == "output"] += len(distinct(node.depends, archs, options)) * cost
    return sums[0], sums[1]


def _costs(plan: Plan, macs: dict[str, int], node: Node) -> list[tuple[Options, int]]:
    """Return which archs run a node, or an option of a head, and what one run costs."""
    if node.kind != "output":
        return [(node.chosen_by, sum(macs[kernel] for kernel in node.kernels))]
    code = plan.skeleton.code_index(node.stage)
    return [((code, (option,)), macs[kernel]) for option, kernel in enumerate(node.kernels)]
