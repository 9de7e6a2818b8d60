"""In which order a pool is walked, and how often each value is needed. No TensorFlow here."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.supernet.sharing.plan import Key, Node, Plan
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS

__all__ = ["FRAMES", "PARTIAL", "Schedule", "distinct", "schedule", "walk_order"]

Arch = tuple[int, ...]

FRAMES: Key = ("input", ())
PARTIAL = "partial"
"""The flow summed over all scales but the last, at full scale."""


@dataclass(frozen=True)
class Schedule:
    """A pool in the order of the walk.

    Attributes
    ----------
    archs : tuple of arch code
        Depth first; siblings as they first appear in the pool.
    representatives : tuple of arch code
        Of `archs`, one for each set of normalised units' inputs: enough to recalibrate.
    recal, score : mapping of key to int
        How many computations take each value, in recalibration and in scoring.
    """

    archs: tuple[Arch, ...]
    representatives: tuple[Arch, ...]
    recal: Mapping[Key, int]
    score: Mapping[Key, int]


def schedule(plan: Plan, pool: Sequence[Arch]) -> Schedule:
    """Return the order of a pool and the number of uses of every value."""
    archs = walk_order(pool)
    nodes = plan.nodes.values()
    recal, score = Counter[Key](), Counter[Key]()
    for node in nodes:
        for arch in distinct(node.depends, archs, node.chosen_by):
            source = plan.source(node, arch)
            key = FRAMES if source is None else source.key(arch)
            score[key] += 1
            recal[key] += node.kind != "output"
    *coarse, last = plan.outputs
    for arch in distinct(partial_codes(plan), archs):
        for node in coarse:
            score[node.key(arch)] += 1
    score += Counter(partial_key(plan, arch) for arch in archs)
    score += Counter(last.key(arch) for arch in archs)
    return Schedule(archs, _representatives(plan, archs), recal, score)


def partial_codes(plan: Plan) -> tuple[int, ...]:
    """Return the positions that the sum over all scales but the last depends on."""
    coarse = plan.outputs[:-1]
    return tuple(sorted({i for node in coarse for i in plan.output_codes(node)}))


def partial_key(plan: Plan, arch: Sequence[int]) -> Key:
    """Return which sum over all scales but the last an arch needs."""
    return PARTIAL, tuple([arch[i] for i in partial_codes(plan)])


def walk_order(pool: Iterable[Arch]) -> tuple[Arch, ...]:
    """Return the archs depth first by their codes, siblings as they first appear."""

    def visit(group: list[Arch], position: int) -> Iterator[Arch]:
        if len(group) == 1 or position == NUM_BLOCKS:
            yield from group
            return
        children: dict[int, list[Arch]] = {}
        for arch in group:
            children.setdefault(arch[position], []).append(arch)
        for child in children.values():
            yield from visit(child, position + 1)

    return tuple(visit(list(dict.fromkeys(pool)), 0))


def distinct(
    positions: Sequence[int],
    archs: Sequence[Arch],
    chosen_by: tuple[int, tuple[int, ...]] | None = None,
) -> list[Arch]:
    """Return one arch for each combination of codes at `positions`, the first in order.

    Parameters
    ----------
    chosen_by : (int, tuple of int), optional
        Only archs whose code at a position is one of these.
    """
    if not archs:
        return []
    codes = np.asarray(archs, np.int64)
    rows = np.arange(len(archs))
    if chosen_by is not None:
        rows = rows[np.isin(codes[:, chosen_by[0]], chosen_by[1])]
    places = NUM_OPTIONS ** np.arange(len(positions), dtype=np.int64)
    numbers = codes[np.ix_(rows, np.asarray(positions, np.int64))] @ places
    _, first = np.unique(numbers, return_index=True)
    return [archs[i] for i in rows[np.sort(first)]]


def _representatives(plan: Plan, archs: Sequence[Arch]) -> tuple[Arch, ...]:
    positions: set[int] = set()
    for node in plan.nodes.values():
        if node.units:
            positions |= {*node.depends, *_own(node)}
    return tuple(distinct(sorted(positions), archs))


def _own(node: Node) -> tuple[int, ...]:
    return () if node.chosen_by is None else (node.chosen_by[0],)
