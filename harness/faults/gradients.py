"""Faults of accumulation, clipping, the update and the schedule."""

from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.supernet.loss import multiscale_loss
from harness.training.adam import adam_step
from harness.training.clipping import clip
from harness.training.schedule import cosine_lr, expected_clip_checks, micro_batches

__all__ = [
    "AccumulatorKept", "AccumulatorOverwritten", "AccumulatorUninitialised", "BetaPowersFixed",
    "ChecksCountFloor", "ChecksOfOldPosition", "ClipByValue", "ClipEachVariable",
    "ClipNeverApplied", "ClipOnScaled", "ClipReportedOnly", "DivisorFixed", "ExtraStep",
    "LastLayerFrozen", "LastPieceTwice", "LossDetached", "LossLastScaleOnly",
    "LossWithoutDecay", "MeanOfMeans", "NormOfNorms", "PartialPieceDropped", "PositionIgnored",
    "RateFixedInGraph", "ScheduleByMicroSteps", "ScheduleNeverEnds", "SumForMean",
    "UpdateNotApplied", "UpdateWithoutMoments",
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
        return replaced(parts, "train", zeroed=lambda zeros, last: zeros if last is None else last)


class AccumulatorUninitialised(Fault):
    """The accumulator starts from whatever lay in memory."""

    id, family = "accumulator-uninitialised", "DETERM"
    citation = "pytorch/executorch#6478; meta-pytorch/torchrec#1268"
    expected = ("gradient-of-loss",)
    touches = ("loss", "update", "micro_batches")

    def wrap(self, system: Any) -> Any:
        """Start from ones."""

        def change(inner: Any) -> None:
            functions = inner.trainer._step._functions
            dirty = overriding(functions)
            dirty.zeros = [tf.ones_like(z) for z in functions.zeros]
            inner.trainer._step._functions = dirty

        return after_open(system, change)


class _Clip(Fault):
    family = "GRAD"
    touches = ("clip_checks",)


def _clip_each(gradients: Any, threshold: Any) -> Any:
    clipped = [tf.clip_by_norm(g, threshold) for g in gradients]
    return clipped, tf.linalg.global_norm(gradients), tf.linalg.global_norm(clipped)


class ClipEachVariable(_Clip):
    """Each variable is clipped by itself: the direction changes."""

    id = "clip-each-variable"
    slow = True
    citation = "tensorflow/tensorflow#29108; keras-team/keras#13575"
    expected = ("clip-arithmetic-micro-step", "clip-arithmetic-update", "clip-applied")

    def apply(self, parts: Parts) -> Parts:
        """Clip variable by variable."""
        return replaced(parts, "train", clip=_clip_each)


def _clip_reported(gradients: Any, threshold: Any) -> Any:
    _, before, after = clip(gradients, threshold)
    return list(gradients), before, after


class ClipReportedOnly(_Clip):
    """The clip is computed and logged, but the unclipped gradient is applied."""

    id = "clip-reported-only"
    citation = "tensorflow/tensorflow#33929"
    expected = ("clip-applied",)

    def apply(self, parts: Parts) -> Parts:
        """Return what came in."""
        return replaced(parts, "train", clip=_clip_reported)


def _no_clip(gradients: Any, threshold: Any) -> Any:
    norm = tf.linalg.global_norm(gradients)
    return list(gradients), norm, norm


class ClipNeverApplied(_Clip):
    """The threshold has no effect on this code path."""

    id = "clip-disabled"
    citation = "tensorflow/tensorflow#33929 and #45146"
    expected = ("clip-arithmetic-micro-step", "clip-applied")

    def apply(self, parts: Parts) -> Parts:
        """Never clip."""
        return replaced(parts, "train", clip=_no_clip)


def _clip_value(gradients: Any, threshold: Any) -> Any:
    norm = tf.linalg.global_norm(gradients)
    limit = threshold / 8
    cut = [tf.clip_by_value(g, -limit, limit) for g in gradients]
    scale = tf.minimum(1.0, threshold / tf.linalg.global_norm(cut))
    clipped = [scale * g for g in cut]
    return clipped, norm, tf.minimum(norm, threshold)


class ClipByValue(_Clip):
    """Large entries are cut off before the norm is clipped: another direction."""

    id = "clip-by-value"
    slow = True
    citation = "tensorflow/tensorflow#29108 (two implementations with one name)"
    expected = ("clip-applied",)

    def apply(self, parts: Parts) -> Parts:
        """Clip entries, then the norm."""
        return replaced(parts, "train", clip=_clip_value)


def _clip_scaled(gradients: Any, threshold: Any) -> Any:
    scaled, before, after = clip([3.0 * g for g in gradients], threshold)
    return [g / 3.0 for g in scaled], before, after


class ClipOnScaled(_Clip):
    """The threshold is compared with a scaled gradient."""

    id = "clip-before-unscale"
    citation = "milesial/Pytorch-UNet#468; Deci-AI/super-gradients#653"
    expected = ("clip-applied", "update-is-adam")

    def apply(self, parts: Parts) -> Parts:
        """Clip three times the gradient."""
        return replaced(parts, "train", clip=_clip_scaled)


def _norm_of_norms(gradients: Any, threshold: Any) -> Any:
    before = tf.add_n([tf.norm(g) for g in gradients])
    scale = tf.minimum(1.0, threshold / before)
    return [scale * g for g in gradients], before, scale * before


class NormOfNorms(_Clip):
    """The global norm is reduced in the wrong way."""

    id = "norm-of-norms"
    slow = True
    citation = "deepspeedai/DeepSpeed#5259"
    expected = ("update-is-adam",)
    touches = ("clip_checks",)

    def apply(self, parts: Parts) -> Parts:
        """Add the variables' norms."""
        return replaced(parts, "train", clip=_norm_of_norms)


class PositionIgnored(_Clip):
    """Clipping stays at each micro-step although once per update is configured."""

    id = "clip-position-ignored"
    citation = "linenmin/MCUFlowNet commit 2ef204e; NVIDIA/DeepLearningExamples#713"
    expected = ("clip-checks-planned-update",)

    def wrap(self, system: Any) -> Any:
        """Open with the other position."""

        def opened(inner: Any, config: Any) -> None:
            inner.open({**config, "train": {**config["train"], "clip_position": "micro_step"}})

        return overriding(system, open=opened)


class ChecksOfOldPosition(_Clip):
    """The closed form was not changed when clipping moved to the update."""

    id = "closed-form-of-old-position"
    citation = "linenmin/MCUFlowNet commits 2ef204e and a8d2b29"
    expected = ("clip-checks-planned-update", "clip-checks-planned-update-other-mode")

    def apply(self, parts: Parts) -> Parts:
        """Plan micro-steps always."""
        return replaced(
            parts, "train",
            expected_checks=lambda sizes, micro, *, position: expected_clip_checks(
                sizes, micro, position="micro_step"
            ),
        )  # fmt: skip


class ChecksCountFloor(_Clip):
    """The plan divides without rounding up."""

    id = "closed-form-floors"
    citation = "NVIDIA-NeMo/Automodel#2257 (floor division)"
    expected = ("clip-checks-planned-micro-step", "clip-checks-planned-micro-step-other-mode")

    def apply(self, parts: Parts) -> Parts:
        """Floor."""
        return replaced(
            parts, "train",
            expected_checks=lambda sizes, micro, *, position: (
                len(sizes) if position == "update" else 3 * sum(s // micro for s in sizes)
            ),
        )  # fmt: skip


class ExtraStep(Fault):
    """An epoch makes one step more than planned."""

    id, family = "extra-step", "CONFIG"
    citation = "PaddlePaddle/PaddleNLP#144 (max_steps ignored)"
    expected = (
        "clip-checks-planned-update",
        "ledger-steps-planned",
        "clip-checks-planned-micro-step",
    )
    touches = ("clip_checks",)

    def wrap(self, system: Any) -> Any:
        """Serve the first batch again at the end."""

        def change(inner: Any) -> None:
            provider = inner.session.provider

            def stream(_: Any, epoch: int, **kwargs: Any) -> Any:
                batches = list(provider.stream(epoch, **kwargs))
                yield from [*batches, batches[0]]

            inner.trainer.provider = overriding(provider, stream=stream)
            inner.trainer.total_steps += 10

        return after_open(system, change)


def _unapplied(*_: Any) -> None:
    return None


class UpdateNotApplied(Fault):
    """The optimizer holds other parameter objects than the model: its step changes nothing."""

    id, family = "update-not-applied", "TRAINCHECK"
    citation = "huggingface/accelerate#2665"
    expected = ("training-moves", "update-is-adam")
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Apply nothing."""
        return replaced(parts, "train", apply=_unapplied)


def _all_but_first(
    variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
) -> None:
    adam_step(variables[1:], first[1:], second[1:], powers, gradients[1:], lr)


class LastLayerFrozen(Fault):
    """A wrong name filter freezes a layer."""

    id, family = "layer-frozen", "TRAINCHECK"
    citation = "PyTorch forum 84911; open-mmlab/mmpretrain#702"
    expected = ("training-moves", "update-is-adam")
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Leave the first variable out."""
        return replaced(parts, "train", apply=_all_but_first)


def _descent(variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any) -> None:
    for variable, m, v, g in zip(variables, first, second, gradients, strict=True):
        m.assign(0.9 * m + 0.1 * g)
        v.assign(0.999 * v + 0.001 * g * g)
        variable.assign_sub(lr * m)
    powers[0].assign(powers[0] * 0.9)
    powers[1].assign(powers[1] * 0.999)


class UpdateWithoutMoments(Fault):
    """The second moment is kept and never used."""

    id, family = "update-without-second-moment", "TRAINCHECK"
    citation = "huggingface/accelerate#2665 (what is stepped is not what is held)"
    expected = ("update-is-adam",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Descend along the first moment."""
        return replaced(parts, "train", apply=_descent)


def _fixed_powers(
    variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
) -> None:
    adam_step(variables, first, second, powers, gradients, lr)
    powers[0].assign(0.9)
    powers[1].assign(0.999)


class BetaPowersFixed(Fault):
    """The bias correction is always that of the first step."""

    id, family = "beta-powers-fixed", "GRAD"
    citation = "OpenNMT/OpenNMT-py#617 (a constructor erases the optimizer's state)"
    expected = ("update-is-adam",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Reset both powers after each step."""
        return replaced(parts, "train", apply=_fixed_powers)


def _fixed_rate(
    variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
) -> None:
    adam_step(variables, first, second, powers, gradients, 0.0 * lr + 1e-3)


class RateFixedInGraph(Fault):
    """The learning rate was traced as a constant; the log shows the scheduled one."""

    id, family = "rate-fixed-in-graph", "CONFIG"
    citation = "ACEsuit/mace#884; thtrieu/darkflow#204"
    expected = ("update-is-adam",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Step with 1e-3 always."""
        return replaced(parts, "train", apply=_fixed_rate)


class ScheduleByMicroSteps(Fault):
    """The schedule advances per micro-batch."""

    id, family = "schedule-by-micro-steps", "GRAD"
    citation = "starVLA/starVLA#210; hmorimitsu/ptlflow commit 25295e8"
    expected = ("epoch-rows-add-up", "ledger-learning-rate", "update-is-adam")
    touches = ("update",)

    def apply(self, parts: Parts) -> Parts:
        """Advance three times as fast."""
        return replaced(
            parts, "train",
            schedule=lambda lr, step, total: cosine_lr(lr, min(3 * step, total - 1), total),
        )  # fmt: skip


class ScheduleNeverEnds(Fault):
    """The schedule counts on more steps than are planned."""

    id, family = "schedule-too-long", "CONFIG"
    citation = "LAION-AI/Open-Assistant#1991; hmorimitsu/ptlflow commit 25295e8"
    expected = ("epoch-rows-add-up", "ledger-learning-rate", "update-is-adam")
    touches = ("update",)

    def apply(self, parts: Parts) -> Parts:
        """Plan for twice the steps."""
        return replaced(parts, "train", schedule=lambda lr, s, total: cosine_lr(lr, s, 2 * total))


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
