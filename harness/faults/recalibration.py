"""Faults of batch normalisation: recalibration, moving statistics, modes."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from harness.digest import digest_strings
from harness.evaluation.recalibration import pool_statistics
from harness.faults.base import Fault, replaced
from harness.faults.hooks import after_open, gradient_hook
from harness.runs.parts import Parts

__all__ = [
    "EvalByBatchStatistics", "EvalByMovingStatistics", "EvalUpdatesStatistics",
    "FlowCentredOverBatch", "MomentumInverted", "MovingNeverUpdated", "RecalBlendsPast",
    "RecalCarriesOver", "RecalCorrectsVariance", "RecalHashIgnoresPixels",
    "RecalKeepsLastBatch", "RecalNeverUpdates", "RecalOnRandomBatches", "RecalOnValidation",
    "RecalOneBatchOnly", "RecalWeighsBatchesAlike", "StatisticsUpdatedTwice",
]  # fmt: skip


class _Recal(Fault):
    family = "BN"
    touches: ClassVar[tuple[str, ...]] = ("recalibration",)


class RecalNeverUpdates(_Recal):
    """Recalibration runs its forward passes and never updates a statistic."""

    id = "recal-never-updates"
    citation = "linenmin/MCUFlowNet commit 485b348 (UPDATE_OPS never fetched)"
    expected = ("recal-statistics-exact", "recal-effective", "ledger-metric-alive")

    def apply(self, parts: Parts) -> Parts:
        """Give the initial statistics."""
        return replaced(
            parts, "evaluation",
            pool_statistics=lambda batches, sizes: {
                u: (np.zeros_like(m), np.ones_like(v)) for u, (m, v) in batches[0].items()
            },
        )  # fmt: skip


class RecalBlendsPast(_Recal):
    """Recalibration is blended with the moving statistics that were there before."""

    id = "recal-blends-past"
    citation = "open-mmlab/mmrazor#298 (BN updated on top of the supernet's history)"
    expected = ("recal-effective", "recal-statistics-exact")

    def wrap(self, system: Any) -> Any:
        """Weigh the moving statistic by 0.1, as one momentum update does."""

        def opened(inner: Any) -> None:
            evaluator, model = inner.session.evaluator, inner.session.model
            recalibrate = evaluator.recalibrate

            def blended(*args: Any) -> Any:
                return {
                    u: tuple(
                        (np.float32(0.9) * new + np.float32(0.1) * old.numpy()).astype(np.float32)
                        for new, old in zip(pair, model.moving[u], strict=True)
                    )
                    for u, pair in recalibrate(*args).items()
                }

            evaluator.recalibrate = blended

        return after_open(system, opened)


class RecalCarriesOver(_Recal):
    """A subnet's statistics start from those of the subnet before it."""

    id = "recal-carries-over"
    citation = "open-mmlab/mmrazor#298; CanyonWind/Single-Path-One-Shot-NAS-MXNet#4"
    expected = (
        "same-scores-permuted",
        "same-scores-subset",
        "recal-statistics-exact",
        "recal-effective",
    )

    def apply(self, parts: Parts) -> Parts:
        """Keep a share of what was pooled last."""
        kept: dict[str, Any] = {}

        def pool(batches: Any, sizes: Any) -> Any:
            found = pool_statistics(batches, sizes)
            for unit, (mean, variance) in found.items():
                m, v = kept.get(unit, (mean, variance))
                mixed = np.float32(0.99) * mean + np.float32(0.01) * m
                found[unit] = mixed, np.float32(0.99) * variance + np.float32(0.01) * v
            kept.update(found)
            return found

        return replaced(parts, "evaluation", pool_statistics=pool)


class RecalKeepsLastBatch(_Recal):
    """Only the last batch's statistics survive."""

    id = "recal-last-batch"
    citation = "Jermmy/pytorch-quantization-demo#17 (momentum the wrong way round)"
    expected = ("recal-statistics-exact",)

    def apply(self, parts: Parts) -> Parts:
        """Return the last batch's."""
        return replaced(parts, "evaluation", pool_statistics=lambda b, sizes: dict(b[-1]))


class RecalWeighsBatchesAlike(_Recal):
    """The spread between batches' means is left out of the variance."""

    id = "recal-averages-variances"
    citation = "Lightning-AI/pytorch-lightning#15113 (SWA's BN update)"
    expected = ("recal-statistics-exact",)

    def apply(self, parts: Parts) -> Parts:
        """Average means and variances over batches."""

        def pool(batches: Any, sizes: Any) -> Any:
            return {
                u: tuple(np.mean([b[u][i] for b in batches], axis=0) for i in (0, 1))
                for u in batches[0]
            }

        return replaced(parts, "evaluation", pool_statistics=pool)


class RecalCorrectsVariance(_Recal):
    """The variance is divided by N - 1 instead of N."""

    id = "recal-corrected-variance"
    citation = "keras-team/keras#8794 (moving variance computed wrongly)"
    expected = ("recal-statistics-exact",)

    def apply(self, parts: Parts) -> Parts:
        """Correct by the fewest inputs that a unit has in a small setting."""

        def pool(batches: Any, sizes: Any) -> Any:
            n = 576  # 8 x 12 px of 6 samples, in the deepest layer of the embedded setting
            found = pool_statistics(batches, sizes)
            return {u: (m, (v * n / (n - 1)).astype(np.float32)) for u, (m, v) in found.items()}

        return replaced(parts, "evaluation", pool_statistics=pool)


class RecalOneBatchOnly(_Recal):
    """bn_recal_batches is read, logged and ignored."""

    id = "recal-count-ignored"
    citation = "linenmin/MCUFlowNet commits 72eba3c, 74bf8f7 (bn_recal_batches logged but unused)"
    expected = ("recal-batches-first",)

    def wrap(self, system: Any) -> Any:
        """Serve one batch."""

        def opened(inner: Any) -> None:
            recal = inner.session.fixed.recal_batches
            inner.session.fixed.recal_batches = lambda epoch: recal(epoch)[:1]

        return after_open(system, opened)


class RecalOnRandomBatches(_Recal):
    """Recalibration draws other batches in each evaluation."""

    id = "recal-random-batches"
    citation = "CanyonWind/Single-Path-One-Shot-NAS-MXNet#4"
    expected = ("recal-batches-fixed", "ledger-eval-batches-fixed")

    def wrap(self, system: Any) -> Any:
        """Draw by a counter."""
        draws = [0]

        def opened(inner: Any) -> None:
            fixed = inner.session.fixed

            def draw(epoch: int) -> Any:
                draws[0] += 1
                return fixed._draw(fixed._provider("train"), 2, draws[0])

            fixed.recal_batches = draw

        return after_open(system, opened)


class RecalOnValidation(_Recal):
    """Recalibration sees the validation split."""

    id = "recal-on-validation"
    citation = "qualcomm/aimet#1749 (re-estimation on the wrong data and mode)"
    expected = ("recal-batches-first",)

    def wrap(self, system: Any) -> Any:
        """Serve evaluation batches."""

        def opened(inner: Any) -> None:
            fixed = inner.session.fixed
            fixed.recal_batches = lambda epoch: fixed.eval_batches()[:2]

        return after_open(system, opened)


class RecalHashIgnoresPixels(_Recal):
    """The hash of the recalibration batches covers names, not content."""

    id, family = "recal-hash-of-names", "CACHE"
    citation = "ludwig-ai/ludwig#3069; huggingface/datasets#770 (incomplete cache keys)"
    expected = ("recal-batches-fixed",)
    touches: ClassVar[tuple[str, ...]] = ("cache",)

    def wrap(self, system: Any) -> Any:
        """Hash ids alone."""

        def opened(inner: Any) -> None:
            recal = inner.session.fixed.recal_batches
            inner.session.fixed.recal_batches = lambda epoch: tuple(
                dataclasses.replace(b, digest=digest_strings(b.ids)) for b in recal(epoch)
            )

        return after_open(system, opened)


class EvalByMovingStatistics(_Recal):
    """Evaluation normalises with the moving statistics, whatever was recalibrated."""

    id = "eval-by-moving-statistics"
    citation = "linenmin/MCUFlowNet commit 485b348 (recalibration without effect)"
    expected = ("recal-effective", "metric-recomputed")

    def wrap(self, system: Any) -> Any:
        """Predict with what the model holds."""

        def opened(inner: Any) -> None:
            evaluator, model = inner.session.evaluator, inner.session.model
            predict = evaluator.predict

            def held(weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
                moving = {u: tuple(v.numpy() for v in model.moving[u]) for u in stats}
                return predict(weights, arch, moving, batch)

            evaluator.predict = held

        return after_open(system, opened)


class EvalByBatchStatistics(_Recal):
    """Evaluation runs in training mode: each batch is normalised by itself."""

    id = "eval-in-training-mode"
    citation = "linenmin/MCUFlowNet commit b3916a2; itayhubara/BinaryNet.tf#9"
    expected = ("metric-recomputed",)

    def wrap(self, system: Any) -> Any:
        """Recalibrate on the batch that is scored."""

        def opened(inner: Any) -> None:
            evaluator = inner.session.evaluator
            predict = evaluator.predict

            def own(weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
                return predict(weights, arch, evaluator.recalibrate(weights, arch, [batch]), batch)

            evaluator.predict = own

        return after_open(system, opened)


class FlowCentredOverBatch(_Recal):
    """A layer averages over the whole batch at inference."""

    id = "mean-over-batch"
    citation = "xuexingyu24/License_Plate_Detection_Pytorch#22"
    expected = ("metric-recomputed",)
    touches: ClassVar[tuple[str, ...]] = ("metric", "response")

    def wrap(self, system: Any) -> Any:
        """Subtract a share of the batch's mean flow."""

        def opened(inner: Any) -> None:
            predict = inner.session.evaluator.predict

            def centred(*args: Any) -> Any:
                flow = predict(*args)
                return flow - np.float32(0.01) * flow.mean(axis=0, keepdims=True)

            inner.session.evaluator.predict = centred

        return after_open(system, opened)


class EvalUpdatesStatistics(_Recal):
    """Evaluation leaves its statistics in the model that goes on training."""

    id = "eval-updates-statistics"
    citation = "qualcomm/aimet#2217; wkentaro/pytorch-fcn#57"
    expected = ("eval-pure", "train-unobserved")
    touches: ClassVar[tuple[str, ...]] = ("scores", "purity")

    def wrap(self, system: Any) -> Any:
        """Assign what was recalibrated last."""

        def opened(inner: Any) -> None:
            evaluator, model = inner.session.evaluator, inner.session.model
            recalibrate = evaluator.recalibrate

            def assigning(*args: Any) -> Any:
                found = recalibrate(*args)
                for unit, pair in found.items():
                    for variable, value in zip(model.moving[unit], pair, strict=True):
                        variable.assign(value)
                return found

            evaluator.recalibrate = assigning

        return after_open(system, opened)


class MovingNeverUpdated(Fault):
    """Training never runs the update ops: moving statistics stay at 0 and 1."""

    id, family = "moving-never-updated", "BN"
    citation = "tensorflow/tensorflow#11965; meetps/tf-3dgan#7"
    expected = ("training-moves", "moving-statistics")
    touches: ClassVar[tuple[str, ...]] = ("update",)

    def wrap(self, system: Any) -> Any:
        """Put the old statistics back after each micro-batch."""
        return gradient_hook(system, lambda old, new: old)


class MomentumInverted(Fault):
    """The momentum is applied the wrong way round."""

    id, family = "momentum-inverted", "BN"
    citation = "d2l-ai/d2l-en#2213; bonlime/pytorch-tools#97; pytorch/vision#8250"
    expected = ("moving-statistics", "statistics-kept-share")
    touches: ClassVar[tuple[str, ...]] = ("update",)

    def wrap(self, system: Any) -> Any:
        """Move nine times as far."""
        return gradient_hook(system, lambda old, new: old + 9 * (new - old))


class StatisticsUpdatedTwice(Fault):
    """Two update ops of one layer are applied in sequence."""

    id, family = "moving-updated-twice", "BN"
    citation = "keras-team/keras#8794; linenmin/MCUFlowNet commit d8fa94d"
    expected = ("moving-statistics",)
    touches: ClassVar[tuple[str, ...]] = ("update",)

    def wrap(self, system: Any) -> Any:
        """Move by 0.1 of the way twice: 0.19."""
        return gradient_hook(system, lambda old, new: old + 1.9 * (new - old))
