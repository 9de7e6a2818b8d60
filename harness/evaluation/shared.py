"""What the archs of one evaluation share: statistics by what feeds them, and a batch's values.

Handed to the evaluator's functions in place of the weights, because what was computed holds
for those weights alone.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import tensorflow as tf

from harness.evaluation.journal import Entry
from harness.evaluation.recalibration import (
    NonFiniteScoreError,
    PooledStatistics,
    Statistics,
    pool_statistics,
)
from harness.evaluation.scoring import recal_pieces
from harness.fc2.batch import Batch
from harness.supernet.sharing.order import Subtree, schedule, subtrees
from harness.supernet.sharing.plan import Key, Plan
from harness.supernet.sharing.walk import Model, Walk
from harness.supernet.space import check_arch, format_arch

__all__ = ["Journal", "Shared"]

Tensor = Any
Arch = tuple[int, ...]
Pool = Callable[[Sequence[Statistics], Sequence[int]], PooledStatistics]
Input = Callable[[Tensor], Tensor]
Between = Callable[[], None]

Journal = MutableMapping[Entry, dict[Any, Any]]
"""What is finished: statistics by key, or per-sample EPE by arch. A dict forgets it at the
end; one that writes to disk can go on after a kill."""


class _NodePools:
    """Population statistics by the value of a node, pooled once for each, of some batches.

    What a walk asks. It holds no walk: with a tensor in a circle of references, memory grows from
    evaluation to evaluation until the interpreter looks for such circles.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.sizes: list[int] = []
        self.found: list[dict[Key, Any]] = []
        self.merge: Pool = pool_statistics
        self.pooled: dict[Key, PooledStatistics] = {}
        self.ready: dict[Key, Sequence[Any]] = {}

    def of(self, key: Key) -> PooledStatistics:
        """Return the statistics of a node's units."""
        if key not in self.pooled:
            units = self._plan.nodes[key[0]].units
            per_batch = [dict(zip(units, found[key], strict=True)) for found in self.found]
            self.pooled[key] = self.merge(per_batch, self.sizes)
        return self.pooled[key]

    def pairs(self, key: Key) -> Sequence[Any]:
        """Return the statistics of a node's units in their order."""
        # Once for all pieces: a device would be sent them again with every call.
        if key not in self.ready:
            pairs = self.of(key).values()
            self.ready[key] = [tuple(tf.constant(values) for values in pair) for pair in pairs]
        return self.ready[key]


class Shared(Mapping[str, Tensor]):
    """Weights, with what the archs of a pool share under them.

    Parameters
    ----------
    model : Model
        Weights and compiled functions.
    pool : sequence of arch code
        Who shares.
    to_input : callable
        Frames to input.
    ahead : Executor
        Of one thread, which computes ahead: two that run NumPy wait for each other's lock at
        every operation and gained nothing.
    taken : callable, optional
        Receives each batch once statistics were collected on it.
    lag : int, default 0
        Subtrees that are given to the device before the statistics of one are waited for.
    """

    def __init__(
        self, model: Model, pool: Sequence[Arch], to_input: Input, ahead: Executor, *,
        taken: Callable[[Batch], None] | None = None, lag: int = 0,
    ) -> None:  # fmt: skip
        self.model, self._to_input, self._taken = model, to_input, taken
        self._schedule = schedule(model.plan, pool)
        self.subtrees = subtrees(model.plan, self._schedule.archs)
        self._pool = frozenset(self._schedule.archs)
        self._batches: Sequence[Batch] | None = None
        self._pools = _NodePools(model.plan)
        self._pairs = self._pools.pairs
        self._given: dict[tuple[int, ...], PooledStatistics] = {}
        self._lag = lag
        self._walk: tuple[Batch, Walk] | None = None
        self._ahead = ahead

    def __getitem__(self, name: str) -> Tensor:
        return self.model.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.model.weights)

    def __len__(self) -> int:
        return len(self.model.weights)

    def close(self) -> None:
        """Wait for what is computed ahead, if anything is."""
        if self._walk is not None:
            self._walk[1].close()

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The pool in the order of the walk."""
        return self._schedule.archs

    def checked(self, arch: Sequence[int]) -> Arch:
        """Return an arch code after validating it, at once for one of the pool."""
        code = tuple(arch)
        return code if code in self._pool else check_arch(code)

    def gather(
        self, batches: Sequence[Batch], between: Between, journal: Journal | None = None
    ) -> None:
        """Collect every unit's statistics of every batch.

        Parameters
        ----------
        between : callable
            Called before each set of statistics.
        journal : mapping, optional
            What is in it is not computed again, and what is computed is put into it.
        """
        journal = {} if journal is None else journal
        # Nothing is held until all is gathered: what `between` raises may end this half-way.
        self._batches, self._walk = None, None
        self._pools.pooled.clear()
        self._given.clear()
        self._pools.ready.clear()
        for piece in recal_pieces(batches):
            todo = [s for s in self.subtrees if any(e not in journal for e in _entries(piece, s))]
            together = [batches[index] for index in piece]
            for subtree, found in self._statistics(together, todo, between):
                for entry, values in zip(_entries(piece, subtree), found, strict=True):
                    if entry not in journal:
                        journal[entry] = values
            if todo and self._taken is not None:
                for batch in together:
                    self._taken(batch)
        self._pools.found = [self._of_batch(journal, index) for index in range(len(batches))]
        self._pools.sizes = [batch.size for batch in batches]
        self._batches = batches

    def _of_batch(self, journal: Journal, index: int) -> dict[Key, Any]:
        merged: dict[Key, Any] = {}
        for subtree in self.subtrees:
            merged |= journal["recal", index, subtree.name]
        return merged

    def _statistics(
        self, batches: Sequence[Batch], todo: Sequence[Subtree], between: Between
    ) -> Iterator[tuple[Subtree, list[dict[Key, Any]]]]:
        """Yield each subtree's new statistics, of each of some batches of equal size."""
        if not todo:
            return
        archs = [arch for subtree in todo for arch in subtree.archs]
        # Uses by the archs that are left: a value that waits for finished ones is never freed.
        uses = schedule(self.model.plan, archs) if len(archs) < len(self._pool) else self._schedule
        frames = [batch.frames for batch in batches]
        if sum(map(len, frames)) == 1:  # as in :meth:`start`; the second is not looked at
            frames *= 2
        x, known = self._to_input(np.concatenate(frames)), 0
        walk = Walk(self.model, x, uses.recal, uses.wanted, batches=len(frames))
        given: deque[tuple[Subtree, list[tuple[Key, Any]]]] = deque()
        for subtree in todo:
            for arch in subtree.representatives:
                between()
                walk.recalibrate(arch)
            given.append((subtree, list(walk.found.items())[known:]))
            known += len(given[-1][1])
            # What is taken to the host is waited for: the device has the next one by then.
            if len(given) > self._lag:
                done, new = given.popleft()
                yield done, _by_batch(new, len(frames))[: len(batches)]
        for done, new in given:
            yield done, _by_batch(new, len(frames))[: len(batches)]

    def holds(self, arch: Arch, batches: Sequence[Batch]) -> bool:
        """Return whether the statistics of these batches were gathered for an arch."""
        return self._batches is batches and arch in self._pool

    def pooled(self, arch: Arch, pool: Pool) -> PooledStatistics:
        """Return the population statistics of the units that run for an arch.

        Archs with the same statistics get the same mapping, which nobody may change.

        Parameters
        ----------
        pool : callable
            Pools per-batch statistics of some units; called once for each node's value.

        Raises
        ------
        NonFiniteScoreError
            If a statistic is not finite.
        """
        self._pools.merge = pool
        codes = self.model.plan.statistic_key(arch)
        if codes not in self._given:
            stats: PooledStatistics = {}
            for node in self.model.plan.chain(arch):
                if node.units:
                    stats |= self._pools.of(node.key(arch))
            _require_finite(arch, stats)
            self._given[codes] = stats
        return self._given[codes]

    def give(self, arch: Arch, stats: PooledStatistics) -> None:
        """Take the statistics of a pool of one."""
        plan = self.model.plan
        for node in plan.chain(arch):
            key = node.key(arch)
            self._pools.pooled[key] = {unit: stats[unit] for unit in node.units}
            self._pools.ready.pop(key, None)
        self._given[plan.statistic_key(arch)] = stats

    def gave(self, arch: Arch, stats: PooledStatistics) -> bool:
        """Return whether these are the very statistics that were returned for an arch."""
        return self._given.get(self.model.plan.statistic_key(arch)) is stats

    def start(self, batch: Batch, archs: Sequence[Arch], samples: int | None = None) -> Walk:
        """Start to score a batch for some archs of the pool, in their order.

        A batch of one sample is run twice side by side, and the second is not looked at.

        Parameters
        ----------
        samples : int, optional
            How many samples are run, for scores that are summed up on the device: a batch of fewer
            is filled up with copies of its last.
        """
        whole = len(archs) == len(self._pool)
        uses = self._schedule if whole else schedule(self.model.plan, archs)
        frames = batch.frames
        if batch.size == 1:  # one sample alone takes other kernels, with other bits
            frames = np.concatenate([frames, frames])
        if samples is not None:
            frames = batch.frames[np.minimum(np.arange(samples), batch.size - 1)]
        x = self._to_input(frames)
        walk = Walk(
            self.model, x, uses.score, uses.wanted, given=self._pairs, archs=archs,
            ahead=self._ahead, stay=samples is not None,
        )  # fmt: skip
        self._walk = batch, walk
        return walk

    def walk(self, batch: Batch) -> Walk:
        """Return the walk over the batch that is being scored."""
        if self._walk is None or self._walk[0] is not batch:
            return self.start(batch, self.archs)
        return self._walk[1]


def _require_finite(arch: Arch, stats: PooledStatistics) -> None:
    for unit, pair in stats.items():
        if not all(np.isfinite(values).all() for values in pair):
            msg = f"arch {format_arch(arch)}: recalibrated statistics of {unit} are not finite"
            raise NonFiniteScoreError(msg)


def _entries(piece: Sequence[int], subtree: Subtree) -> list[Entry]:
    return [("recal", index, subtree.name) for index in piece]


def _by_batch(found: Iterable[tuple[Key, Any]], batches: int) -> list[dict[Key, Any]]:
    """Return the statistics of each batch by key, pairs of (channels,) for each unit."""
    each: list[dict[Key, Any]] = [{} for _ in range(batches)]
    for key, pairs in found:
        arrays = [[np.asarray(values).reshape(batches, -1) for values in pair] for pair in pairs]
        for index, values in enumerate(each):
            values[key] = tuple((mean[index], variance[index]) for mean, variance in arrays)
    return each
