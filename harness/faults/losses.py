"""Faults of the training loss."""

from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, overriding, replaced
from harness.runs.parts import Parts
from harness.supernet.loss import multiscale_loss

__all__ = ["LossDetached", "LossLastScaleOnly", "LossWithoutDecay"]


def _last_scale(outputs: Any, label: Any, valid: Any) -> Any:
    zeros = [tf.zeros_like(output) for output in outputs[:-1]]
    return multiscale_loss([*zeros, outputs[-1]], label, valid)


class LossLastScaleOnly(Fault):
    """The loss sees the last residual alone."""

    id, family = "loss-last-scale", "METRIC"
    citation = "linenmin/MCUFlowNet commit 5f197cd (only the last residual was read)"
    expected = ("loss-recomputed", "gradient-everywhere")
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Replace the coarse outputs by zeros."""
        return replaced(parts, "train", loss=_last_scale)


def _detached(outputs: Any, label: Any, valid: Any) -> Any:
    stopped = [tf.stop_gradient(output) for output in outputs[:-1]]
    return multiscale_loss([*stopped, outputs[-1]], label, valid)


class LossDetached(Fault):
    """Part of the loss is logged but detached from the graph."""

    id, family = "loss-detached", "GRAD"
    citation = "OpenNMT/OpenNMT-py#2209 (relative weight of a loss term wrong)"
    expected = ("gradient-of-loss", "gradient-everywhere")
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Stop the gradient of the coarse outputs."""
        return replaced(parts, "train", loss=_detached)


class LossWithoutDecay(Fault):
    """Weight decay is configured and never added."""

    id, family = "decay-ignored", "CONFIG"
    citation = "thtrieu/darkflow#204; KatherLab/MediSwarm#430 (weights lost)"
    expected = ("loss-recomputed",)
    touches = ("loss", "update", "micro_batches")

    def wrap(self, system: Any) -> Any:
        """Open with a decay of zero."""

        def opened(inner: Any, config: Any) -> None:
            inner.open({**config, "train": {**config["train"], "weight_decay": 0.0}})

        return overriding(system, open=opened)
