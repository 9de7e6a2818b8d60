"""What a graph of EdgeFlowNAS holds, read off the graph itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .errors import CheckoutError

__all__ = [
    "GraphFacts", "arrays_of_options", "clip_position", "clipped_norm", "epe_epsilon",
    "norm_inputs", "options_by_name", "output_heads", "read_graph", "skeleton", "slots",
]  # fmt: skip

_DEPTH = ("EB0", "EB1", "DB0", "DB1")
_KERNEL = ("H0Out", "H1", "H1Out", "H2", "H2Out")
_CLIPPED = re.compile(r"^(.*/)?clip_by_global_norm(_\d+)?/(clip_by_global_norm/)?_\d+$")


class GraphFacts:
    """A built graph, and what was found in it.

    Attributes
    ----------
    graph, handles : tf.Graph, dict
        The graph and what ``_build_graph`` returned.
    variables : dict
        Name to variable, of everything that a checkpoint must hold.
    after : tensor
        Global norm of the clipped gradients.
    inputs : dict
        Normalised unit to its input tensor.
    """

    def __init__(self, tf: Any, graph: Any, handles: dict[str, Any]) -> None:
        self.graph, self.handles = graph, handles
        self.variables = {
            v.op.name: v
            for v in graph.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES)
            # Gradient accumulators are zeroed before every step and carry nothing.
            if not v.op.name.startswith("strict_accum_")
        }
        self.after = clipped_norm(tf, graph)
        self.inputs = norm_inputs(graph, self.variables)
        self.position = clip_position(handles)


def read_graph(tf: Any, graph: Any, handles: dict[str, Any]) -> GraphFacts:
    """Look a graph over; adds the norm of the clipped gradients to it.

    Raises
    ------
    CheckoutError
        If something that every version has had is absent.
    """
    wanted = (
        "input_ph", "label_ph", "arch_code_ph", "is_training_ph", "preds", "loss", "epe",
        "global_grad_norm", "accum_op", "apply_op", "saver",
    )  # fmt: skip
    absent = [name for name in wanted if name not in handles]
    if absent:
        raise CheckoutError(
            "engine.supernet_trainer._build_graph returned no {}: this version of EdgeFlowNAS is "
            "not one that the adapter knows how to observe".format(", ".join(absent))
        )
    return GraphFacts(tf, graph, handles)


def _ancestors(tensor: Any) -> list[Any]:
    seen: dict[str, Any] = {}
    queue = [tensor.op]
    while queue:
        op = queue.pop()
        if op.name not in seen:
            seen[op.name] = op
            queue.extend(source.op for source in op.inputs)
    return list(seen.values())


def clip_position(handles: dict[str, Any]) -> str:
    """Return where gradients are clipped: the norm of an update needs no batch to be fed."""
    # Until commit 3261988 it is a micro-step's norm, from 2ef204e on that of what was accumulated.
    names = {op.name for op in _ancestors(handles["global_grad_norm"])}
    return "micro_step" if handles["input_ph"].op.name in names else "update"


def clipped_norm(tf: Any, graph: Any) -> Any:
    """Return the global norm of the gradients behind ``tf.clip_by_global_norm``.

    Raises
    ------
    CheckoutError
        If the graph does not clip by that function.
    """
    clipped = [op.outputs[0] for op in graph.get_operations() if _CLIPPED.match(op.name)]
    if not clipped:
        raise CheckoutError(
            "found no tf.clip_by_global_norm in the graph, expected one: the adapter cannot "
            "observe what this version applies after clipping"
        )
    return tf.linalg.global_norm(clipped)


def norm_inputs(graph: Any, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the input tensor of each batch normalisation, by its scope.

    Every layer normalises by a fused kernel or by a conditional around one; the input is the
    one of four dimensions that comes from outside of the layer's scope.
    """
    units = [name[: -len("/moving_mean")] for name in variables if name.endswith("/moving_mean")]
    found: dict[str, Any] = {}
    for op in graph.get_operations():
        if op.type not in ("If", "StatelessIf", "FusedBatchNormV3", "FusedBatchNorm", "Switch"):
            continue
        for unit in units:
            if unit not in found and op.name.startswith(unit + "/"):
                outside = [t for t in op.inputs if t.shape.rank == 4 and not _within(t, unit)]
                if outside:
                    found[unit] = outside[0]
    return found


def _within(tensor: Any, unit: str) -> bool:
    return bool(tensor.op.name.startswith(unit + "/"))


def epe_epsilon(tf: Any, epe: Any) -> float:
    """Return what the metric adds under its square root, px^2; 0 if nothing."""
    queue = [epe.op]
    for _ in range(12):
        following: list[Any] = []
        for op in queue:
            if op.type == "Sqrt":
                source = op.inputs[0].op
                for term in source.inputs if source.type.startswith("Add") else ():
                    value = tf.get_static_value(term)
                    if value is not None and getattr(value, "shape", ()) == ():
                        return float(value)
                return 0.0
            following.extend(tensor.op for tensor in op.inputs)
        queue = following
    return 0.0


def skeleton(graph: Any, variables: dict[str, Any]) -> str:
    """Return which of the three skeletons a graph is: ``full``, ``bilinear`` or ``decoupled``."""
    # The depth options of commit 5f197cd and later do not nest: each has a branch of its own.
    if any("/branch1_block1/" in name for name in variables):
        return "decoupled"
    # E0 has stride 1 in the first skeleton, and 2 from commit 902a0e1 on.
    first = next(op for op in graph.get_operations() if op.type == "Conv2D")
    return "full" if list(first.get_attr("strides"))[1] == 1 else "bilinear"


def output_heads(variables: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the kernels of each output head."""
    return {
        head: tuple(name for name in variables if _is_kernel(name, head))
        for head in ("H0Out", "H1Out", "H2Out")
    }


def _is_kernel(name: str, block: str) -> bool:
    return name.endswith("/kernel") and block in name.split("/")


def slots(variables: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the names of each weight's two Adam moments."""
    return {
        name: (name + "/Adam", name + "/Adam_1")
        for name in variables
        if name + "/Adam" in variables and name + "/Adam_1" in variables
    }


def options_by_name(variables: dict[str, Any], plan: str) -> list[list[tuple[str, ...]]] | None:
    """Return, for each block and option, the kernels that it runs; None if names say nothing.

    Depth options nest in the first two skeletons. Kernel options 0, 1, 2 are 7x7, 5x5, 3x3 in
    the first and 3x3, 5x5, 7x7 in the later ones.
    """
    sizes = ("k7", "k5", "k3") if plan == "full" else ("k3", "k5", "k7")
    found = [[_depth(variables, b, option, plan) for option in range(3)] for b in _DEPTH]
    found += [[_sized(variables, block, size) for size in sizes] for block in _KERNEL]
    return found if all(kernels for block in found for kernels in block) else None


def arrays_of_options(variables: dict[str, Any], plan: str) -> list[list[tuple[str, ...]]]:
    """Return, for each block and option, the normalisation that it runs: gamma to statistics.

    Kernel options have none of their own: what follows them is normalised after the choice.
    """
    kinds = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays = [name for name in variables if name.rsplit("/", 1)[-1] in kinds]
    depth = [
        [
            tuple(
                name
                for name in arrays
                if block in name.split("/") and _runs_depth(name, option, plan)
            )
            for option in range(3)
        ]
        for block in _DEPTH
    ]
    return depth + [[()] * 3 for _ in _KERNEL]


def _runs_depth(name: str, option: int, plan: str) -> bool:
    """Return whether a depth option runs what a variable belongs to, by its scopes."""
    scopes = name.split("/")
    if plan == "decoupled":
        return any(scope.startswith(f"branch{option + 1}_") for scope in scopes)
    return any(f"deep{depth + 1}" in scopes for depth in range(option + 1))


def _depth(variables: Iterable[str], block: str, option: int, plan: str) -> tuple[str, ...]:
    return tuple(
        name for name in variables if _is_kernel(name, block) and _runs_depth(name, option, plan)
    )


def _sized(variables: Iterable[str], block: str, size: str) -> tuple[str, ...]:
    return tuple(
        name
        for name in variables
        if _is_kernel(name, block) and any(p in (size, size + "_conv") for p in name.split("/"))
    )
