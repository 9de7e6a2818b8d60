"""What a subnet computes, as nodes with the codes that each value depends on. No TensorFlow.

Two archs share a node's value exactly where they agree in those codes: sharing follows
data dependency, which is read off the skeleton, not the order of the code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from harness.supernet.space import NUM_OPTIONS, SKELETONS, Skeleton, Stage, depth_chain

__all__ = ["FRAMES", "Key", "Node", "Plan", "plan_of"]

Arch = Sequence[int]
Key = tuple[str, tuple[int, ...]]
"""A value: its node, and the codes that it depends on."""

FRAMES: Key = ("input", ())
PARTIAL = "partial"
"""The flow summed over all scales but the last, at full scale."""


@dataclass(frozen=True)
class Node:
    """One computation: a layer, a residual block, one kernel option, or an output head.

    Attributes
    ----------
    name : str
        Unique in a plan: the stage, its block or its kernel option.
    kind : {"layer", "block", "output"}
        A convolution, normalised; two of them with a shortcut; a head's convolutions for all
        options side by side.
    stage : Stage
        Where it belongs.
    source : str
        Stage whose value it takes, or the node of the same stage before it in its chain.
    depends : tuple of int
        Positions of the arch code that its value depends on, ascending.
    kernels : tuple of str
        Names of its kernels.
    units : tuple of str
        Names of its normalised units.
    chosen_by : (int, tuple of int) or None
        Position of the code and its values with which the node runs; None if it always does.
    """

    name: str
    kind: Literal["layer", "block", "output"]
    stage: Stage
    source: str
    depends: tuple[int, ...]
    kernels: tuple[str, ...]
    units: tuple[str, ...]
    chosen_by: tuple[int, tuple[int, ...]] | None = None

    def key(self, arch: Arch) -> Key:
        """Return which of the node's values an arch needs."""
        return self.name, tuple([arch[i] for i in self.depends])


@dataclass(frozen=True)
class Plan:
    """Every node of a skeleton.

    Attributes
    ----------
    skeleton : Skeleton
        What it was made from.
    nodes : dict of str to Node
        In topological order.
    """

    skeleton: Skeleton
    nodes: dict[str, Node]

    def source(self, node: Node, arch: Arch) -> Node | None:
        """Return the node whose value another takes for an arch; None for the frames."""
        if node.source == "input":
            return None
        if node.source in self.nodes:
            return self.nodes[node.source]
        stage = next(s for s in self.skeleton.stages if s.name == node.source)
        option = arch[self.skeleton.code_index(stage)]
        return self.nodes[_option_nodes(self.skeleton, stage)[option][-1]]

    def chain(self, arch: Arch) -> Iterator[Node]:
        """Yield the nodes that run for an arch, in topological order."""
        for stage in self.skeleton.stages:
            if stage.choice is None or stage.is_output:
                yield self.nodes[stage.name]
            else:
                option = arch[self.skeleton.code_index(stage)]
                for name in _option_nodes(self.skeleton, stage)[option]:
                    yield self.nodes[name]

    @cached_property
    def outputs(self) -> tuple[Node, ...]:
        """The three output heads, coarse to fine."""
        return tuple(node for node in self.nodes.values() if node.kind == "output")

    @cached_property
    def partial_codes(self) -> tuple[int, ...]:
        """Positions that the flow summed over all scales but the last depends on."""
        found: set[int] = set()
        for node in self.outputs[:-1]:
            found |= {*node.depends, self.skeleton.code_index(node.stage)}
        return tuple(sorted(found))

    @cached_property
    def statistic_codes(self) -> tuple[int, ...]:
        """Positions that the statistics of an arch depend on."""
        found: set[int] = set()
        for node in self.nodes.values():
            if node.units:
                found |= {*node.depends, *(node.chosen_by or ())[:1]}
        return tuple(sorted(found))

    @cached_property
    def trunk_codes(self) -> tuple[int, ...]:
        """Positions of the depth choices; archs that agree in them form a subtree."""
        stages = self.skeleton.stages
        return tuple(self.skeleton.code_index(s) for s in stages if s.choice == "depth")

    def partial_key(self, arch: Arch) -> Key:
        """Return which flow summed over all scales but the last an arch needs."""
        return PARTIAL, tuple([arch[i] for i in self.partial_codes])

    def statistic_key(self, arch: Arch) -> tuple[int, ...]:
        """Return the codes that an arch's statistics depend on."""
        return tuple([arch[i] for i in self.statistic_codes])


@cache
def plan_of(skeleton: str) -> Plan:
    """Return the plan of a skeleton, by its name."""
    found = SKELETONS[skeleton]
    depends: dict[str, tuple[int, ...]] = {"input": ()}
    nodes: dict[str, Node] = {}
    for stage in found.stages:
        before = depends[stage.source]
        for node in _nodes(found, stage, before):
            nodes[node.name] = node
        own = () if stage.choice is None else (found.code_index(stage),)
        depends[stage.name] = tuple(sorted({*before, *own}))
    return Plan(found, nodes)


def _nodes(skeleton: Skeleton, stage: Stage, before: tuple[int, ...]) -> Iterator[Node]:
    name, source = stage.name, stage.source
    if stage.is_output:
        kernels = tuple(f"{name}/k{k}/kernel" for k in skeleton.kernels)
        # A head's value does not depend on its own code: it holds all options side by side.
        yield Node(name, "output", stage, source, before, kernels, ())
    elif stage.choice == "depth":
        # Nor does a block's on its depth code, which says whether it runs and not on what: nested
        # options of every depth share the first block.
        for chain in map(list, _option_nodes(skeleton, stage)):
            for previous, block in zip([source, *chain], chain, strict=False):
                units = (f"{block}/conv1", f"{block}/conv2")
                kernels = tuple(f"{unit}/kernel" for unit in units)
                runs = skeleton.code_index(stage), _options_with(skeleton, stage, block)
                yield Node(block, "block", stage, previous, before, kernels, units, runs)
    elif stage.choice == "kernel":
        for (option,) in _option_nodes(skeleton, stage):
            runs = skeleton.code_index(stage), _options_with(skeleton, stage, option)
            kernels = (f"{option}/kernel",)
            yield Node(option, "layer", stage, source, before, kernels, (name,), runs)
    else:
        yield Node(name, "layer", stage, source, before, (f"{name}/kernel",), (name,))


def _options_with(skeleton: Skeleton, stage: Stage, name: str) -> tuple[int, ...]:
    options = enumerate(_option_nodes(skeleton, stage))
    return tuple(option for option, names in options if name in names)


def _option_nodes(skeleton: Skeleton, stage: Stage) -> tuple[tuple[str, ...], ...]:
    """Return the nodes that each option of a choice runs, in order."""
    return _options(skeleton.name, stage.name)


@cache  # by names: to hash a stage costs more than to look it up
def _options(skeleton: str, name: str) -> tuple[tuple[str, ...], ...]:
    found = SKELETONS[skeleton]
    stage = next(s for s in found.stages if s.name == name)
    if stage.choice == "depth":
        return tuple(depth_chain(found, stage, option) for option in range(NUM_OPTIONS))
    return tuple((f"{name}/k{k}",) for k in found.kernels)
