"""EdgeFlowNAS's evaluation outside of training, by which it searches, in place of the trainer's."""

from __future__ import annotations

from typing import Any

from .adapter import EdgeFlowNAS
from .providers import WatchedProvider
from .serving import new_provider
from .variables import set_and_get

__all__ = ["StandaloneEvaluation"]

_OFFSETS = {"train": 0, "val": 999}
"""Added to the seed by ``nas.supernet_eval.main``."""


class StandaloneEvaluation(EdgeFlowNAS):
    """A checkout whose scores are those of ``nas.supernet_eval``; it trains as the other does.

    Each evaluation begins with what a checkpoint of the present weights would hold and with new
    providers, as the process does in which EdgeFlowNAS evaluates; the weights are left as they
    are.
    """

    def describe(self) -> dict[str, Any]:
        """Return what this version is, can and cannot vary."""
        return dict(super().describe(), name="EdgeFlowNAS, nas.supernet_eval")

    def _score_pool(self, **arguments: Any) -> Any:
        handles, run = arguments["graph_obj"], self.run
        graph = dict(
            handles, pred_tensor=handles["preds"][-1],
            bn_update_ops=run.facts.graph.get_collection(
                self.checkout.tf.compat.v1.GraphKeys.UPDATE_OPS
            ),
        )  # fmt: skip
        moving = {n: v for n, v in run.facts.variables.items() if "/moving_" in n}
        kept = arguments["sess"].run(moving)
        try:
            return self.checkout.standalone._run_eval_pool(**dict(arguments, graph_obj=graph))
        finally:
            # Its process ends here, and leaves the checkpoint as it was.
            set_and_get(run, kept)

    def _providers(self) -> dict[str, WatchedProvider]:
        return {
            split: new_provider(self.checkout, self.run, split=split, mode="eval", offset=offset)
            for split, offset in _OFFSETS.items()
        }
