"""What the archs of one evaluation share: statistics by what feeds them, and a batch's values.

Handed to the evaluator's functions in place of the weights, because what was computed holds
for those weights alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from harness.evaluation.recalibration import PooledStatistics, Statistics
from harness.fc2.batch import Batch
from harness.supernet.sharing.order import Schedule, schedule
from harness.supernet.sharing.plan import Key, Node
from harness.supernet.sharing.walk import Model, Walk

__all__ = ["Shared"]

Tensor = Any
Arch = tuple[int, ...]
Pool = Callable[[Sequence[Statistics], Sequence[int]], PooledStatistics]
Input = Callable[[Tensor], Tensor]


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
    """

    def __init__(self, model: Model, pool: Sequence[Arch], to_input: Input) -> None:
        self.model, self._to_input = model, to_input
        self.schedule: Schedule = schedule(model.plan, pool)
        self._pool = frozenset(self.schedule.archs)
        self._batches: Sequence[Batch] | None = None
        self._found: list[dict[Key, Any]] = []
        self._pooled: dict[Key, PooledStatistics] = {}
        self._given: dict[Arch, PooledStatistics] = {}
        self._walk: tuple[Batch, Walk] | None = None

    def __getitem__(self, name: str) -> Tensor:
        return self.model.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.model.weights)

    def __len__(self) -> int:
        return len(self.model.weights)

    def gather(self, batches: Sequence[Batch], between: Callable[[], None] | None = None) -> None:
        """Collect every unit's statistics of every batch, batch by batch, whole batches."""
        self._batches, self._found = batches, []
        for batch in batches:
            self._found.append(self.batch_statistics(batch, between))

    def batch_statistics(
        self, batch: Batch, between: Callable[[], None] | None = None
    ) -> dict[Key, Any]:
        """Return the statistics of one batch by node and what feeds it, in NumPy."""
        walk = Walk(self.model, self._to_input(batch.frames), self.schedule.recal)
        for arch in self.schedule.representatives:
            if between is not None:
                between()
            walk.recalibrate(arch)
        return {
            key: tuple((np.asarray(m), np.asarray(v)) for m, v in pairs)
            for key, pairs in walk.found.items()
        }

    def holds(self, arch: Arch, batches: Sequence[Batch]) -> bool:
        """Return whether the statistics of these batches were gathered for an arch."""
        return self._batches is batches and arch in self._pool

    def pooled(self, arch: Arch, pool: Pool) -> PooledStatistics:
        """Return the population statistics of the units that run for an arch.

        Parameters
        ----------
        pool : callable
            Pools per-batch statistics of some units; called once for each node's value.
        """
        stats: PooledStatistics = {}
        for node in self.model.plan.chain(arch):
            if node.units:
                stats |= self._node_statistics(node, node.key(arch), pool)
        self._given[arch] = stats
        return stats

    def _node_statistics(self, node: Node, key: Key, pool: Pool) -> PooledStatistics:
        if key not in self._pooled:
            per_batch = [dict(zip(node.units, found[key], strict=True)) for found in self._found]
            self._pooled[key] = pool(per_batch, [batch.size for batch in self._batches or ()])
        return self._pooled[key]

    def give(self, arch: Arch, stats: PooledStatistics) -> None:
        """Take the statistics of a pool of one."""
        for node in self.model.plan.chain(arch):
            self._pooled[node.key(arch)] = {unit: stats[unit] for unit in node.units}
        self._given[arch] = stats

    def gave(self, arch: Arch, stats: PooledStatistics) -> bool:
        """Return whether these are the very statistics that were returned for an arch."""
        return self._given.get(arch) is stats

    def walk(self, batch: Batch) -> Walk:
        """Return the walk over the batch that is being scored."""
        if self._walk is None or self._walk[0] is not batch:
            x = self._to_input(batch.frames)
            self._walk = batch, Walk(self.model, x, self.schedule.score, self._pairs)
        return self._walk[1]

    def _pairs(self, key: Key) -> Sequence[Any]:
        return [tuple(pair) for pair in self._pooled[key].values()]
