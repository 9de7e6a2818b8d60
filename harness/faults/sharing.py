"""Faults of shared evaluation: a value or a statistic of another arch."""

import dataclasses
from typing import Any, ClassVar

from harness.faults.base import Fault, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.supernet.sharing.plan import Plan, plan_of

__all__ = ["SharedByShortKey", "StatisticsOfFirstArch"]


class _Sharing(Fault):
    touches = ("scores",)
    expected: ClassVar[tuple[str, ...]] = ("same-scores-alone",)


def _shortened(skeleton: str) -> Plan:
    plan = plan_of(skeleton)
    nodes = {
        name: dataclasses.replace(node, depends=node.depends[:-1])
        if node.source == "H1" or node.stage.name == "H1"
        else node
        for name, node in plan.nodes.items()
    }
    return dataclasses.replace(plan, nodes=nodes)


class SharedByShortKey(_Sharing):
    """A value's key leaves out the last code that the value depends on."""

    id, family = "shared-by-short-key", "CACHE"
    citation = "huggingface/datasets#770; ludwig-ai/ludwig#3069 (incomplete cache keys)"

    def apply(self, parts: Parts) -> Parts:
        """Forget the last code of H1 and of what takes it."""
        return replaced(parts, "evaluation", plan=_shortened)


class StatisticsOfFirstArch(_Sharing):
    """A layer is normalised by the statistics that the first arch of the pool had there."""

    id, family = "statistics-of-first-arch", "BN"
    citation = "open-mmlab/mmrazor#298 (a subnet scored with statistics of another)"
    expected = ("same-scores-alone", "same-scores-permuted")

    def wrap(self, system: Any) -> Any:
        """Keep statistics by the layer's name alone."""

        def opened(inner: Any) -> None:
            evaluator = inner.session.evaluator
            share = evaluator.share

            def sharing(*args: Any) -> Any:
                shared, kept = share(*args), dict[str, Any]()
                pairs = shared._pairs
                shared._pairs = lambda key: kept.setdefault(key[0], pairs(key))
                return shared

            evaluator.share = sharing

        return after_open(system, opened)
