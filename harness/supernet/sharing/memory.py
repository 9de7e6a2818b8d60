"""How much memory a walk takes at most, before anything runs. No TensorFlow here."""

from harness.supernet.sharing.plan import plan_of
from harness.supernet.sharing.runs import in_leaf, variants
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS, check_crop, stage_sizes

__all__ = ["device_bytes", "walk_bytes"]

_FLOAT = 4
_FLOW = 2


def walk_bytes(skeleton: str, width: int, size: tuple[int, int], samples: int) -> int:
    """Return a bound of the memory that a walk over some samples takes, for any pool.

    Depth first, each node has at most one value at a time, but in a leaf, where it has one for
    each option that reaches it. To these come the resized inputs of layers, three temporaries
    of the size of the largest value, the flow of the heads of two leaves (twice while it is
    laid out), and six flows of sums and distances. The weights, what TensorFlow takes for itself
    and the scores are not in it.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    width : int
        Base width C.
    size : (int, int)
        Crop, (height, width), px.
    samples : int
        Samples run at once: :func:`harness.evaluation.scoring.score_split` of the crop, or
        those of a recalibration batch if they are more.

    Returns
    -------
    int
        Bytes.
    """
    plan = plan_of(skeleton)
    check_crop(plan.skeleton, size)
    pixels, channels = stage_sizes(plan.skeleton, width, size)
    values, resized, flows = [pixels["input"] * channels["input"]], 0, 0
    for stage in plan.skeleton.stages:
        area = pixels[stage.name]
        for node in plan.nodes.values():
            if node.stage is not stage:
                continue
            keys = {node.key(arch) for arch in variants(plan, node, (0,) * NUM_BLOCKS)}
            count = len(keys) if in_leaf(plan, node) else 1
            if node.kind == "output":
                flows += count * area * NUM_OPTIONS * _FLOW
            else:
                values += [area * channels[stage.name]] * count
                resized += count * stage.upsample * area * channels[stage.source]
    sums = 6 * pixels["input"] * _FLOW
    # Flows four times: of this leaf and of the one ahead, each twice while it is laid out.
    return samples * _FLOAT * (sum(values) + resized + 3 * max(values) + 4 * flows + sums)


def device_bytes(
    skeleton: str, width: int, size: tuple[int, int], samples: int, scoring: int
) -> int:
    """Return a bound of the device's memory that values and scores of a walk take there.

    Every value lies there twice while it is laid out for its kernels. What a convolution asks for
    to work in is not in it: TensorFlow allows 4 GiB (``TF_CUDNN_WORKSPACE_LIMIT_IN_MB``).

    Parameters
    ----------
    skeleton, width, size, samples
        As of :func:`walk_bytes`.
    scoring : int
        What scoring may take, as :func:`harness.evaluation.on_device.scoring_bytes`.

    Returns
    -------
    int
        Bytes.
    """
    return 2 * walk_bytes(skeleton, width, size, samples) + scoring
