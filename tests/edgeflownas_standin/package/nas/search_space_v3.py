"""Another space: four blocks of three depths, five of two kernels."""

_DEPTHS, _SIZES = ["Deep1", "Deep2", "Deep3"], ["3x3Conv", "5x5Conv"]


def get_block_specs():
    """Return the blocks, in the order of a code."""
    depth = [{"name": n, "labels": _DEPTHS} for n in ("EB0", "EB1", "DB0", "DB1")]
    heads = ("H0Out", "H1", "H1Out", "H2", "H2Out")
    return depth + [{"name": n, "labels": _SIZES} for n in heads]
