"""Which nodes run together, in one compiled function. No TensorFlow here.

A call costs about as much as a small convolution, hence fewer and larger ones: the stem is one
run, the missing blocks of a depth choice are one, and a leaf is one: everything after the last
depth choice, for all archs of the pool that agree in the depth choices.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from harness.supernet.sharing.plan import FRAMES, Key, Node, Plan
from harness.supernet.space import NUM_OPTIONS, SKELETONS

__all__ = ["Part", "Step", "chain_run", "in_leaf", "leaf_run", "parts_of", "variants"]

Arch = Sequence[int]
LEAF = "leaf"


class Part(NamedTuple):
    """What a compiled function knows of one step; equal parts share their compiled function.

    Attributes
    ----------
    kind : str
        Of the node.
    stride : int
        Of a layer.
    upsample : bool
        Whether a layer resizes first.
    source : int
        Number of the step whose value it takes; -1 - i for the run's i-th input.
    returned : bool
        Whether the value leaves the function.
    """

    kind: str
    stride: int
    upsample: bool
    source: int
    returned: bool


@dataclass(frozen=True)
class Step:
    """One node of a run, for one combination of codes.

    Attributes
    ----------
    node : Node
        What runs.
    arch : arch code
        One that needs the value.
    key, source : key
        Of its value and of its input.
    """

    node: Node
    arch: Arch
    key: Key
    source: Key


def in_leaf(plan: Plan, node: Node) -> bool:
    """Return whether a node comes after the last depth choice."""
    return _sections(plan.skeleton.name)[node.stage.name] == LEAF


def chain_run(plan: Plan, node: Node, arch: Arch, have: Collection[Key]) -> list[Step]:
    """Return what is missing of a node's section up to the node, in order."""
    steps = [_step(plan, node, arch)]
    sections = _sections(plan.skeleton.name)
    while steps[0].source not in have:
        before = plan.source(steps[0].node, arch)
        if before is None or sections[before.stage.name] != sections[node.stage.name]:
            break
        steps.insert(0, _step(plan, before, arch))
    return steps


def leaf_run(plan: Plan, arch: Arch, wanted: Callable[[Key], bool], *, heads: bool) -> list[Step]:
    """Return the wanted nodes of a leaf, for all codes of kernel choices, in order.

    Parameters
    ----------
    wanted : callable
        Whether some arch needs the value of a key that nobody has computed yet.
    heads : bool
        Whether the output heads run.
    """
    steps: dict[Key, Step] = {}
    for node in plan.nodes.values():
        if in_leaf(plan, node) and (heads or node.kind != "output"):
            for variant in variants(plan, node, arch):
                step = _step(plan, node, variant)
                if wanted(step.key):
                    steps.setdefault(step.key, step)
    return list(steps.values())


def parts_of(
    steps: Sequence[Step], left: Callable[[Key], int]
) -> tuple[tuple[Part, ...], list[Key]]:
    """Return what a run's compiled function is made from, and the keys of its inputs.

    Parameters
    ----------
    left : callable
        How many computations have yet to take the value of a key.
    """
    numbers = {step.key: index for index, step in enumerate(steps)}
    inputs = list(dict.fromkeys(step.source for step in steps if step.source not in numbers))
    sources = numbers | {key: -1 - index for index, key in enumerate(inputs)}
    parts = []
    for step in steps:
        inside = sum(other.source == step.key for other in steps)
        plain = step.node.kind == "layer"
        parts.append(
            Part(
                step.node.kind, step.node.stage.stride if plain else 1,
                plain and step.node.stage.upsample, sources[step.source],
                not plain or left(step.key) > inside,
            )
        )  # fmt: skip
    return tuple(parts), inputs


def variants(plan: Plan, node: Node, arch: Arch) -> Iterator[Arch]:
    """Yield archs with the depth choices of one, and the kernel choices that reach a node."""
    options: list[tuple[int, ...]] = [(code,) for code in arch]
    for position in set(node.depends) - set(plan.trunk_codes):
        options[position] = tuple(range(NUM_OPTIONS))
    if node.chosen_by is not None:
        options[node.chosen_by[0]] = node.chosen_by[1]
    return itertools.product(*options)


def _step(plan: Plan, node: Node, arch: Arch) -> Step:
    source = plan.source(node, arch)
    return Step(node, arch, node.key(arch), FRAMES if source is None else source.key(arch))


@cache
def _sections(skeleton: str) -> dict[str, str]:
    """Return the section of every stage, by its name."""
    stages = SKELETONS[skeleton].stages
    depths = [index for index, stage in enumerate(stages) if stage.choice == "depth"]
    found = {stage.name: "stem" for stage in stages[: depths[0]]}
    leaf = {stages[depths[-1]].name}
    for stage in stages[depths[0] :]:
        after = stage.source in leaf
        found[stage.name] = LEAF if after else stage.name
        if after:
            leaf.add(stage.name)
    return found
