"""Faults at the edge: of gradients that no loss is in, of outputs and labels that are far off."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.faults.base import Fault, replaced
from harness.faults.hooks import after_gradient
from harness.fc2.batch import Batch
from harness.fc2.decode import UNKNOWN_FLOW, Decoded, decode_triplet, read_flow
from harness.fc2.layout import Triplet
from harness.fc2.provider import assemble
from harness.runs.parts import Parts
from harness.supernet.epe import sample_epe
from harness.supernet.loss import accumulate_flow, multiscale_loss, running_sums
from harness.supernet.network import resize_bilinear
from harness.training.clipping import clip as sound_clip

__all__ = [
    "ClippedFromAboveAlone", "DecayLeavesOutALayer", "DecayOfNorms", "DecayTwice", "ErrorsCapped",
    "FastPixelsUnscored", "GradientEndsWithFirstEpoch", "LargeStepsPassedOver",
    "PredictionClamped", "UnknownByOneComponent",
]  # fmt: skip

_MOST = 400.0
"""px: what RAFT leaves out as extremely large."""


class _Decay(Fault):
    """A decay that is added once more, or taken away, from weights of some names."""

    family = "GRAD"
    expected = ("decay-alone",)
    touches = ("edge_steps",)
    times = 1.0

    def has(self, name: str) -> bool:
        """Return whether a weight is one of those."""
        raise NotImplementedError

    def wrap(self, system: Any) -> Any:
        """Add the decay's own gradient to those of the loss."""

        def change(gradients: Mapping[str, Any], inner: Any) -> None:
            share = self.times * inner.session.config.train.weight_decay
            for name, gradient in gradients.items():
                if self.has(name):
                    gradient.assign_add(share * inner.session.model.weights[name])

        return after_gradient(system, change)


class DecayTwice(_Decay):
    """The decay is a term of the loss, and the optimizer adds it once more."""

    id = "decay-twice"
    citation = "rutgerswiselab/NCR#2; nntrainer/nntrainer#218"

    def has(self, name: str) -> bool:
        """Return whether it is a kernel."""
        return name.endswith("/kernel")


class DecayOfNorms(_Decay):
    """The optimizer's decay reaches gamma and beta, which the loss's does not."""

    id = "decay-of-norms"
    citation = "tensorflow/models#2755; Eric-mingjie/rethinking-network-pruning#27"

    def has(self, name: str) -> bool:
        """Return whether it is no kernel."""
        return not name.endswith("/kernel")


class DecayLeavesOutALayer(_Decay):
    """One layer has no decay; the loss that is logged says that it has."""

    id = "decay-leaves-out-a-layer"
    citation = "google-research/google-research#95 (decay of the first layer alone)"
    times = -1.0

    def has(self, name: str) -> bool:
        """Return whether it is that layer's kernel."""
        return name == "E1/kernel"


class GradientEndsWithFirstEpoch(Fault):
    """After the first evaluation one layer's kernel has no gradient but its decay."""

    id, family = "gradient-ends-with-first-epoch", "GRAD"
    citation = "yunxiaoshi/Neural-IMage-Assessment#41 (requires_grad is to be set back)"
    expected = ("gradients-go-on",)
    touches = ("every_step",)

    def wrap(self, system: Any) -> Any:
        """Put the decay in the gradient's place."""

        def change(gradients: Mapping[str, Any], inner: Any) -> None:
            if inner.trainer.progress.epoch:
                decay = inner.session.config.train.weight_decay
                gradients["E1/kernel"].assign(decay * inner.session.model.weights["E1/kernel"])

        return after_gradient(system, change)


class LargeStepsPassedOver(Fault):
    """A gradient whose norm is above 1000 is not applied, whatever the log says."""

    id, family = "large-steps-passed-over", "GRAD"
    citation = "apple/axlearn#297; NVIDIA/Megatron-LM#3460 (a step of a large norm is skipped)"
    expected = ("far-outputs-trained",)
    touches = ("edge_steps",)

    def apply(self, parts: Parts) -> Parts:
        """Apply zeros in its place."""

        def clip(gradients: Sequence[Any], threshold: Any) -> tuple[list[Any], Any, Any]:
            clipped, before, after = sound_clip(gradients, threshold)
            kept = tf.where(before < 1e3, 1.0, 0.0)
            return [kept * gradient for gradient in clipped], before, after

        return replaced(parts, "train", clip=clip)


def _capped(outputs: Sequence[Any], label: Any, valid: Any) -> Any:
    """Move each output to where its error is at most 100 px, beyond which no gradient goes."""
    capped, before = list[Any](), None
    for running, output in zip(running_sums(outputs), outputs, strict=True):
        target = resize_bilinear(label, tf.shape(output)[1:3])
        flow = target + tf.clip_by_value(running[..., :2] - target, -100.0, 100.0)
        now = tf.concat([flow, running[..., 2:]], axis=-1)
        coarse = 0.0 if before is None else resize_bilinear(before, tf.shape(output)[1:3])
        capped.append(now - coarse)
        before = now
    return multiscale_loss(capped, label, valid)


class ErrorsCapped(Fault):
    """An error of more than 100 px counts as 100 px in the loss, and has no gradient."""

    id, family = "errors-capped", "GRAD"
    citation = "spragunr/deep_q_rl#46 (gradients vanish when they should be largest)"
    expected = ("far-outputs-trained",)
    touches = ("edge_steps", "loss")

    def apply(self, parts: Parts) -> Parts:
        """Cap what the loss is of."""
        return replaced(parts, "train", loss=_capped)


class FastPixelsUnscored(Fault):
    """Pixels that move further than 400 px are left out of the EPE."""

    id, family = "fast-pixels-unscored", "METRIC"
    citation = "princeton-vl/RAFT train.py, sequence_loss (its EPE leaves out 400 px and more)"
    expected = ("metric-oracle",)
    touches = ("metric", "response")

    def apply(self, parts: Parts) -> Parts:
        """Mask them."""

        def epe(flow: Any, label: Any, valid: Any) -> Any:
            return sample_epe(flow, label, valid & (np.linalg.norm(label, axis=-1) < _MOST))

        return replaced(parts, "evaluation", epe=epe)


def _clamped(outputs: Sequence[Any]) -> Any:
    return tf.clip_by_value(accumulate_flow(outputs), -200.0, 200.0)


class PredictionClamped(Fault):
    """A prediction is clamped to 200 px before it is scored."""

    id, family = "prediction-clamped", "METRIC"
    citation = "MisterMap/undeepvo#57 (clipped at a fixed value and not at the largest)"
    expected = ("metric-oracle",)
    touches = ("metric", "response")

    def apply(self, parts: Parts) -> Parts:
        """Clamp the accumulated flow."""
        return replaced(parts, "evaluation", accumulate_flow=_clamped)


class UnknownByOneComponent(Fault):
    """The horizontal component alone says whether a flow is unknown."""

    id, family = "unknown-by-one-component", "DATA"
    citation = "ClementPinard/FlowNetPytorch#23 (unknown is what either component says)"
    expected = ("unknown-flow-masked", "unknown-flow-unscored")
    touches = ("served", "metric")

    def apply(self, parts: Parts) -> Parts:
        """Mask by u."""

        def decode(triplet: Triplet) -> Decoded:
            whole, raw = decode_triplet(triplet), read_flow(triplet.flow)
            valid = np.asarray(np.abs(raw[..., 0]) <= UNKNOWN_FLOW, np.bool_)
            raw[~valid] = 0.0
            return Decoded(whole.frames, raw, valid, whole.content)

        return replaced(parts, "data", decode=decode)


class ClippedFromAboveAlone(Fault):
    """Labels are clipped at data.flow_clip, and not at its negative."""

    id, family = "clipped-from-above-alone", "DATA"
    citation = "pytorch/xla#511 (what is negative, where an upper bound alone is given)"
    expected = ("loss-recomputed",)
    touches = ("loss",)

    def apply(self, parts: Parts) -> Parts:
        """Put batches together with an upper bound alone."""

        def put(*args: Any, flow_clip: float | None, role: Any) -> Batch:
            batch = assemble(*args, flow_clip=None, role=role)
            if flow_clip is None:
                return batch
            flow = np.minimum(batch.flow, np.float32(flow_clip))
            return dataclasses.replace(batch, flow=flow, flow_clip=flow_clip)

        return replaced(parts, "data", assemble=put)
