"""Faults of how micro-batches add up."""

from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, replaced
from harness.runs.parts import Parts
from harness.training.schedule import micro_batches

__all__ = [
    "AccumulatorKept", "AccumulatorOverwritten", "AccumulatorUninitialised", "DivisorFixed",
    "LastPieceTwice", "MeanOfMeans", "PartialPieceDropped", "SumForMean",
]  # fmt: skip


class _Accumulation(Fault):
    family = "GRAD"
    expected = ("micro-batches-weighed",)
    touches = ()


class MeanOfMeans(_Accumulation):
    """Means of unequal micro-batches are averaged alike."""

    id = "mean-of-means"
    citation = "huggingface/transformers#34191"

    def apply(self, parts: Parts) -> Parts:
        """Weigh each of the (here: up to three) micro-batches alike."""

        def weight(samples: int, batch: int, archs: int = 3) -> float:
            # The promise compares the whole batch with micro-batches of 2; a part is told no more.
            pieces = 1 if samples == batch else -(-batch // 2)
            return 1 / (pieces * archs)

        return replaced(parts, "train", micro_weight=weight)


class SumForMean(_Accumulation):
    """The division by the number of micro-batches is missing."""

    id = "sum-for-mean"
    citation = "deepinsight/insightface#2258"

    def apply(self, parts: Parts) -> Parts:
        """Weigh each micro-batch by one third, for the archs."""
        return replaced(parts, "train", micro_weight=lambda samples, batch, archs=3: 1 / archs)


class DivisorFixed(_Accumulation):
    """The accumulated sum is divided by 3, whatever was accumulated."""

    id = "divisor-fixed"
    citation = "linenmin/MCUFlowNet commit 5391484; Lightning-AI/pytorch-lightning#19987"

    def apply(self, parts: Parts) -> Parts:
        """Divide by three micro-batches always."""
        return replaced(parts, "train", micro_weight=lambda samples, batch, archs=3: 1 / 9)


class LastPieceTwice(_Accumulation):
    """The apply depends on the accumulate: the last micro-batch counts twice."""

    id = "last-piece-twice"
    citation = "linenmin/MCUFlowNet commit 5391484; deepspeedai/DeepSpeed#7985"

    def apply(self, parts: Parts) -> Parts:
        """Double the weight of a partial micro-batch."""

        def weight(samples: int, batch: int, archs: int = 3) -> float:
            # A lone sample is what micro-batches of 2 leave of an odd batch.
            return (2 if samples == 1 else 1) * samples / (batch * archs)

        return replaced(parts, "train", micro_weight=weight)


def _overwrite(total: Any, gradients: Any, weight: Any) -> Any:
    return [0.0 * t + weight * g for t, g in zip(total, gradients, strict=True)]


class AccumulatorOverwritten(_Accumulation):
    """The add is pruned from the graph: updates use the last micro-batch alone."""

    id = "accumulator-overwritten"
    citation = "tensorflow/addons#2525; IndicoDataSolutions/finetune#243"

    def apply(self, parts: Parts) -> Parts:
        """Forget what was accumulated."""
        return replaced(parts, "train", accumulate=_overwrite)


class PartialPieceDropped(Fault):
    """The trailing partial micro-batch is dropped."""

    id, family = "partial-piece-dropped", "GRAD"
    citation = "NVIDIA-NeMo/Automodel#2257; tracel-ai/burn#5695"
    expected = ("micro-batches-weighed", "clip-checks-planned-micro-step")
    touches = ("clip_checks",)

    def apply(self, parts: Parts) -> Parts:
        """Keep full micro-batches, or the only one."""

        def pieces(size: int, micro: int) -> list[slice]:
            found = micro_batches(size, micro)
            whole = [p for p in found if p.stop - p.start == micro]
            return whole or found

        return replaced(parts, "train", micro_batches=pieces)


class AccumulatorKept(Fault):
    """Nobody zeroes the accumulator: each update holds all gradients before it."""

    id, family = "accumulator-never-zeroed", "GRAD"
    citation = "Stack Overflow 60335387; WalkingMeatAxolotl/AnimaLoraStudio#305"
    expected = ("gradient-of-loss",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Start each step from the last total."""
        return replaced(parts, "train", zeroed=lambda last: last)


class AccumulatorUninitialised(Fault):
    """The accumulator starts from whatever lay in memory."""

    id, family = "accumulator-uninitialised", "DETERM"
    citation = "pytorch/executorch#6478; meta-pytorch/torchrec#1268"
    expected = ("gradient-of-loss",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Start from ones."""
        return replaced(parts, "train", zeroed=lambda last: [tf.ones_like(t) for t in last])
