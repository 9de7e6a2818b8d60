"""Faults of what an evaluation normalises by, mixes and logs, and of branches nobody runs."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from harness.faults.base import Fault
from harness.faults.hooks import after_open, gradient_hook
from harness.fc2.batch import Batch

__all__ = [
    "EvalCountLoggedOnly", "EverythingByBatchStatistics", "LaterPieceFromFirstFrames",
    "LoneSampleByItsOwnStatistics", "OptionsMixedByZeros", "RecalCountLoggedOnly",
    "UnrunStatisticsMove",
]  # fmt: skip


class EverythingByBatchStatistics(Fault):
    """Whatever is predicted is normalised by the batch that it is predicted for."""

    id, family = "predict-in-training-mode", "BN"
    citation = "linenmin/MCUFlowNet commit 5f197cd (is_training_ph True in every evaluation)"
    expected = ("batch-mates-unseen",)
    touches: ClassVar[tuple[str, ...]] = ("batch_mates",)

    def wrap(self, system: Any) -> Any:
        """Recalibrate on the batch that is scored or predicted for."""

        def opened(inner: Any) -> None:
            evaluator = inner.session.evaluator
            predict, outputs = evaluator.predict, evaluator.outputs

            def own(weights: Any, arch: Any, batch: Any) -> Any:
                return evaluator.recalibrate(weights, arch, [batch])

            evaluator.predict = lambda weights, arch, _stats, batch: predict(
                weights, arch, own(weights, arch, batch), batch
            )

            def outputs_by_batch(weights: Any, arch: Any, _stats: Any, frames: Any) -> Any:
                shape = frames.shape[:3]
                batch = Batch(
                    ("",) * len(frames), (), np.array(frames),
                    np.zeros((*shape, 2), np.float32), np.ones(shape, np.bool_), None, "",
                )  # fmt: skip
                return outputs(weights, arch, own(weights, arch, batch), frames)

            evaluator.outputs = outputs_by_batch

        return after_open(system, opened)


class _CountLoggedOnly(Fault):
    """A number of batches is logged as configured, and one batch is used."""

    family = "CONFIG"
    touches: ClassVar[tuple[str, ...]] = ("epoch_log",)
    batches: ClassVar[str] = ""
    column: ClassVar[str] = ""
    setting: ClassVar[str] = ""

    def wrap(self, system: Any) -> Any:
        """Serve one batch, and log the configuration's number."""

        def opened(inner: Any) -> None:
            session = inner.session
            served, record = getattr(session.fixed, self.batches), session.evaluator._record
            setattr(session.fixed, self.batches, lambda *args: served(*args)[:1])
            asked = getattr(session.config.eval, self.setting)
            session.evaluator._record = lambda *args: dataclasses.replace(
                record(*args), **{self.column: asked}
            )

        return after_open(system, opened)


class RecalCountLoggedOnly(_CountLoggedOnly):
    """bn_recal_batches is logged, and recalibration takes one batch."""

    id = "recal-count-logged-only"
    citation = "linenmin/MCUFlowNet commit 5f197cd (bn_recal_batches logged, none recalibrated)"
    expected = ("logged-settings-used", "recal-batches-first")
    batches, column, setting = "recal_batches", "recal_batches", "bn_recal_batches"


class EvalCountLoggedOnly(_CountLoggedOnly):
    """eval_batches_per_arch is logged, and every arch is scored on one batch."""

    id = "eval-count-logged-only"
    citation = "linenmin/MCUFlowNet commits 72eba3c, 74bf8f7 (a setting logged but unused)"
    expected = ("logged-settings-used", "ledger-scores-add-up")
    batches, column, setting = "eval_batches", "batches", "eval_batches_per_arch"


class OptionsMixedByZeros(Fault):
    """Every option is computed, and all but one are multiplied by 0."""

    id, family = "options-mixed-by-zeros", "NAS"
    citation = "linenmin/MCUFlowNet commit 2ef204e (_select_by_index: a one-hot sum, 0 x NaN)"
    expected = ("unrun-options-unseen",)
    touches = ("unrun_options", "response")

    def wrap(self, system: Any) -> Any:
        """Add 0 times every kernel to the flow."""

        def opened(inner: Any) -> None:
            evaluator, model = inner.session.evaluator, inner.session.model
            predict = evaluator.predict

            def mixed(*args: Any) -> Any:
                with np.errstate(invalid="ignore", over="ignore"):
                    kernels = (np.asarray(w) for w in model.weights.values())
                    rest = sum(float(np.float32(0) * k.sum(dtype=np.float32)) for k in kernels)
                    return predict(*args) + np.float32(rest)

            evaluator.predict = mixed

        return after_open(system, opened)


class UnrunStatisticsMove(Fault):
    """The update ops of every branch run, whichever was chosen."""

    id, family = "unrun-statistics-move", "BN"
    citation = "linenmin/MCUFlowNet commit 5f197cd (UPDATE_OPS of all branches beside accum_op)"
    expected = ("unrun-statistics-still", "moving-statistics")
    touches = ("unrun_options", "update")

    def wrap(self, system: Any) -> Any:
        """Move statistics that a micro-batch left as they were."""
        return gradient_hook(
            system,
            lambda old, new: (
                (np.float32(0.9) * old + np.float32(0.05)) if np.array_equal(old, new) else new
            ),
        )


class _Pieces(Fault):
    """What a long split, or one of a single sample, meets and a few samples do not."""

    family = "METRIC"
    expected = ("split-size-unseen",)
    touches: ClassVar[tuple[str, ...]] = ("split_sizes", "metric")


class LaterPieceFromFirstFrames(_Pieces):
    """The buffer that frames are run from is filled once; a later piece of the split reads it.

    A split that is scored at once is right.
    """

    id = "later-piece-from-first-frames"
    citation = "ManifoldRG/MultiNet#774 (one batch alone enters the metric)"

    def wrap(self, system: Any) -> Any:
        """Predict every piece of an evaluation from the frames of the first."""

        def opened(inner: Any) -> None:
            evaluator, first = inner.session.evaluator, dict[str, Any]()
            predict = evaluator.predict

            def from_first(weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
                if first.get("weights") is not weights:
                    first.update(weights=weights, batch=batch)
                elif batch is not first["batch"] and batch.size <= first["batch"].size:
                    frames = first["batch"].frames[: batch.size]
                    batch = dataclasses.replace(batch, frames=frames)
                return predict(weights, arch, stats, batch)

            evaluator.predict = from_first

        return after_open(system, opened)


class LoneSampleByItsOwnStatistics(_Pieces):
    """A batch of one sample is normalised by itself, as PyTorch's InstanceNorm would."""

    id = "lone-sample-by-its-own-statistics"
    citation = "pytorch/pytorch#4534 (a last batch of one sample is normalised as no other is)"

    def wrap(self, system: Any) -> Any:
        """Recalibrate on a piece of one sample before it is predicted."""

        def opened(inner: Any) -> None:
            evaluator = inner.session.evaluator
            predict = evaluator.predict

            def by_itself(weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
                if batch.size == 1:
                    stats = evaluator.recalibrate(dict(weights), arch, [batch])
                return predict(weights, arch, stats, batch)

            evaluator.predict = by_itself

        return after_open(system, opened)
