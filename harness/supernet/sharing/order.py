"""In which order a pool is walked, and how often each value is needed. No TensorFlow here."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.supernet.sharing.plan import FRAMES, Key, Plan
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS

__all__ = ["Schedule", "Subtree", "distinct", "schedule", "subtrees", "walk_order"]

Arch = tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """A pool in the order of the walk.

    Attributes
    ----------
    archs : tuple of arch code
        Depth first; siblings as they first appear in the pool.
    recal, score : mapping of key to int
        How many computations take each value, in recalibration and in scoring.
    wanted : frozenset of key
        Every value that an arch needs.
    """

    archs: tuple[Arch, ...]
    recal: Mapping[Key, int]
    score: Mapping[Key, int]
    wanted: frozenset[Key]


def schedule(plan: Plan, pool: Sequence[Arch]) -> Schedule:
    """Return the order of a pool and the number of uses of every value."""
    archs = walk_order(pool)
    nodes = plan.nodes.values()
    recal, score, wanted = Counter[Key](), Counter[Key](), set[Key]()
    for node in nodes:
        for arch in distinct(node.depends, archs, node.chosen_by):
            source = plan.source(node, arch)
            key = FRAMES if source is None else source.key(arch)
            score[key] += 1
            # Nothing normalises a head, so that recalibration never runs one.
            recal[key] += node.kind != "output"
            wanted.add(node.key(arch))
    *coarse, last = plan.outputs
    for arch in distinct(plan.partial_codes, archs):
        for node in coarse:
            score[node.key(arch)] += 1
    score += Counter(plan.partial_key(arch) for arch in archs)
    score += Counter(last.key(arch) for arch in archs)
    return Schedule(archs, recal, score, frozenset(wanted))


@dataclass(frozen=True)
class Subtree:
    """Archs of a pool that agree in every depth choice: the unit of what is finished or not.

    Attributes
    ----------
    name : str
        Their codes of the depth choices.
    archs : tuple of arch code
        In the order of the walk.
    representatives : tuple of arch code
        One for each set of statistics.
    """

    name: str
    archs: tuple[Arch, ...]
    representatives: tuple[Arch, ...]


def subtrees(plan: Plan, archs: Sequence[Arch]) -> tuple[Subtree, ...]:
    """Return the subtrees of a pool, in its order."""
    groups: dict[str, list[Arch]] = {}
    for arch in archs:
        groups.setdefault("".join([str(arch[i]) for i in plan.trunk_codes]), []).append(arch)
    return tuple(
        Subtree(name, tuple(group), tuple(distinct(plan.statistic_codes, group)))
        for name, group in groups.items()
    )


def walk_order(pool: Iterable[Arch]) -> tuple[Arch, ...]:
    """Return the archs depth first by their codes, siblings as they first appear."""
    return tuple(_depth_first(list(dict.fromkeys(pool)), 0))


def _depth_first(group: list[Arch], position: int) -> Iterator[Arch]:
    if len(group) == 1 or position == NUM_BLOCKS:
        yield from group
        return
    children: dict[int, list[Arch]] = {}
    for arch in group:
        children.setdefault(arch[position], []).append(arch)
    for child in children.values():
        yield from _depth_first(child, position + 1)


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
    # np.unique sorts by value; the walk goes in the order of the archs.
    _, first = np.unique(numbers, return_index=True)
    return [archs[i] for i in rows[np.sort(first)]]
