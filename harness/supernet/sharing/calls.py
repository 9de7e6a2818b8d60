"""How many calls of compiled functions an evaluation makes, before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.supernet.sharing.layers import Layers
from harness.supernet.sharing.order import schedule
from harness.supernet.sharing.plan import Node, Plan
from harness.supernet.sharing.runs import Part
from harness.supernet.sharing.walk import Model, Walk

__all__ = ["PoolCalls", "pool_calls"]

Arch = tuple[int, ...]


@dataclass(frozen=True)
class PoolCalls:
    """Calls that a pool makes of the functions that run its layers.

    Attributes
    ----------
    recal : int
        For each group of recalibration batches that lie side by side.
    score : int
        For each piece of samples that is scored at once.
    """

    recal: int
    score: int


def pool_calls(plan: Plan, pool: Sequence[Arch]) -> PoolCalls:
    """Count the calls by a walk in which nothing runs."""
    uses = schedule(plan, pool)
    recal, score = _Counted(), _Counted()
    walk = Walk(_Weightless(plan, recal, {}), None, uses.recal, uses.wanted)
    for arch in uses.archs:
        walk.recalibrate(arch)
    model = _Weightless(plan, score, {})
    walk = Walk(model, None, uses.score, uses.wanted, given=lambda _: (), stay=True)
    for arch in uses.archs:
        walk.compute_outputs(arch)
    return PoolCalls(recal.calls, score.calls)


class _Weightless(Model):
    """A model of whose weights nothing is asked."""

    def arguments(self, node: Node) -> list[Any]:  # noqa: ARG002
        """Return nothing."""
        return []


class _Counted(Layers):
    """Counts calls and runs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def run(
        self, parts: tuple[Part, ...], inputs: Sequence[Any], weights: Sequence[Any],  # noqa: ARG002
        stats: Sequence[Any] | None, batches: int = 1,  # noqa: ARG002
    ) -> tuple[list[Any], list[Any]]:  # fmt: skip
        """Return as many values and statistics as there would be."""
        self.calls += 1
        found = sum({"layer": 2, "block": 4, "output": 0}[part.kind] for part in parts)
        return [()] * sum(part.returned for part in parts), [()] * (
            0 if stats is not None else found
        )
