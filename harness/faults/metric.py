"""Faults of the metric, of ranking and of the log."""

import dataclasses
import math
import statistics
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from harness.evaluation.ranking import kendall_tau
from harness.faults.base import Fault, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.supernet.epe import mean_epe, sample_epe

__all__ = [
    "BatchMeansAveraged", "BestIsLatest", "ChecksFabricated", "EpeBroadcast",
    "EpeCountsUnknown", "EpeHalfPrecision", "EpePixelWeighted", "EvalLogsLastBatch",
    "LastResidualOnly", "LossFabricated", "MeanNeverReset", "MetricBlank", "MetricScaledByPath",
    "OtherFuture", "RankAgainstItself", "RowOfEarlierEvaluation", "ScoreDependsOnCount",
    "ScoresRoundedForRank", "SpearmanForKendall", "TauNegated", "TauOfConstant",
    "TrainEvalOnOtherBatches",
]  # fmt: skip


def _last_residual(outputs: Any) -> Any:
    return outputs[-1][..., :2]


class LastResidualOnly(Fault):
    """Only the last residual is scored: the EPE stays near that of an all-zero flow."""

    id, family = "last-residual-scored", "METRIC"
    citation = "linenmin/MCUFlowNet commit 5f197cd"
    expected = ("metric-oracle", "metric-recomputed", "metric-alive")
    touches: ClassVar[tuple[str, ...]] = ("metric", "response")

    def apply(self, parts: Parts) -> Parts:
        """Take the last output for the sum."""
        return replaced(parts, "evaluation", accumulate_flow=_last_residual)


class _Metric(Fault):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("metric", "response")


class BatchMeansAveraged(_Metric):
    """Means of unequal batches are averaged alike."""

    id = "batch-means-averaged"
    citation = "tensorflow/tensorflow#38596 and #27993; Nota-NetsPresso/netspresso-trainer#360"
    expected = ("metric-recomputed",)

    def apply(self, parts: Parts) -> Parts:
        """Average means of three."""

        def mean(samples: Any) -> float:
            values = list(samples)
            return statistics.fmean(
                statistics.fmean(values[i : i + 3]) for i in range(0, len(values), 3)
            )

        return replaced(parts, "evaluation", mean=mean)


class EpeBroadcast(_Metric):
    """Horizontal and vertical errors are averaged, not combined."""

    id = "epe-components-averaged"
    citation = "drinkingcoder/FlowFormer-Official#20"
    expected = ("metric-oracle", "metric-recomputed")

    def apply(self, parts: Parts) -> Parts:
        """Take the mean absolute component."""

        def epe(flow: Any, label: Any, valid: Any) -> Any:
            distance = np.abs(np.asarray(flow, np.float64) - label).mean(axis=-1)
            return np.asarray([d[v].mean() for d, v in zip(distance, valid, strict=True)])

        return replaced(parts, "evaluation", epe=epe)


class EpePixelWeighted(_Metric):
    """A batch's pixels are pooled, so samples with more valid pixels weigh more."""

    id = "epe-pixel-weighted"
    citation = "XiandaGuo/OpenStereo#199"
    expected = ("metric-recomputed",)

    def apply(self, parts: Parts) -> Parts:
        """Give each sample its batch's mean."""

        def epe(flow: Any, label: Any, valid: Any) -> Any:
            samples = sample_epe(flow, label, valid)
            return np.full_like(samples, samples.mean())

        return replaced(parts, "evaluation", epe=epe)


class EpeCountsUnknown(_Metric):
    """Pixels without a label count as if their flow were zero."""

    id = "epe-counts-unknown"
    citation = "ClementPinard/FlowNetPytorch#23; simonmeister/UnFlow#55"
    expected = ("unknown-flow-unscored",)
    touches: ClassVar[tuple[str, ...]] = ("loss",)

    def apply(self, parts: Parts) -> Parts:
        """Ignore the mask."""
        return replaced(
            parts, "evaluation",
            epe=lambda flow, label, valid: sample_epe(flow, label, np.ones_like(valid)),
        )  # fmt: skip


class EpeHalfPrecision(_Metric):
    """The metric is computed in half precision."""

    id = "epe-half-precision"
    citation = "hmorimitsu/ptlflow commit 83f20e9"
    expected = ("metric-recomputed", "metric-oracle")

    def apply(self, parts: Parts) -> Parts:
        """Round the flow to float16."""
        return replaced(
            parts, "evaluation",
            epe=lambda flow, label, valid: sample_epe(
                np.asarray(flow, np.float16).astype(np.float32), label, valid
            ),
        )  # fmt: skip


class MeanNeverReset(_Metric):
    """The average runs over all evaluations since the start."""

    id = "mean-never-reset"
    citation = "NVIDIA-NeMo/Speech#2045; freud14/poutyne#72"
    expected = ("same-scores-again", "metric-recomputed")
    touches: ClassVar[tuple[str, ...]] = ("scores", "purity")

    def apply(self, parts: Parts) -> Parts:
        """Keep every sample ever scored."""
        seen: list[float] = []

        def mean(samples: Any) -> float:
            seen.extend(float(s) for s in samples)
            return math.fsum(seen) / len(seen)

        return replaced(parts, "evaluation", mean=mean)


class EvalLogsLastBatch(_Metric):
    """The last batch's value is reported for the split."""

    id = "last-batch-logged"
    citation = "NVIDIA/DeepLearningExamples#299"
    expected = ("metric-recomputed",)

    def apply(self, parts: Parts) -> Parts:
        """Average the last sample alone where there are several."""
        return replaced(parts, "evaluation", mean=lambda samples: mean_epe(list(samples)[-1:]))


class ScoreDependsOnCount(_Metric):
    """The score of a sample depends on how many batches there are."""

    id = "score-depends-on-count"
    citation = (
        "roboflow/rf-detr#1507; google/uncertainty-baselines#303 (metric moves with the split)"
    )
    expected = ("same-scores-prefix", "metric-recomputed")

    def wrap(self, system: Any) -> Any:
        """Scale the EPE by the number of batches."""

        def change(inner: Any) -> None:
            evaluator = inner.session.evaluator
            evaluate = evaluator.evaluate

            def counted(weights: Any, protocol: Any, **kwargs: Any) -> Any:
                factor = 1 + 1e-3 * len(protocol.eval_batches)
                evaluator.parts = dataclasses.replace(
                    evaluator.parts, epe=lambda *arrays: factor * sample_epe(*arrays)
                )
                return evaluate(weights, protocol, **kwargs)

            evaluator.evaluate = counted

        return after_open(system, change)


class MetricScaledByPath(_Metric):
    """The metric's unit is guessed from the experiment's name."""

    id = "unit-from-name"
    citation = "linenmin/MCUFlowNet commit a221118"
    expected = ("same-run-elsewhere",)
    touches: ClassVar[tuple[str, ...]] = ("elsewhere",)

    def wrap(self, system: Any) -> Any:
        """Scale the EPE by the first letter of the name."""

        def change(inner: Any) -> None:
            name = inner.session.config.runtime.experiment_name
            factor = 1.0 if name.startswith("s") else 12.5
            evaluator = inner.session.evaluator
            evaluator.parts = dataclasses.replace(
                evaluator.parts, epe=lambda *arrays: factor * sample_epe(*arrays)
            )

        return after_open(system, change)


class TrainEvalOnOtherBatches(_Metric):
    """The evaluation in training scores other batches than the standalone one."""

    id = "in-train-eval-differs"
    citation = "davidsandberg/facenet#277"
    expected = ("epoch-rows-add-up",)
    touches: ClassVar[tuple[str, ...]] = ("epoch_log", "ledger")

    def wrap(self, system: Any) -> Any:
        """Score one batch less in training."""

        def change(inner: Any) -> None:
            session = inner.session

            def evaluate(weights: Any, epoch: int, **_: Any) -> Any:
                protocol = session.fixed.protocol(epoch)
                fewer = dataclasses.replace(protocol, eval_batches=protocol.eval_batches[:-1])
                return session.evaluator.evaluate(weights, fewer, epoch=epoch)[0]

            surround = inner.trainer.surround
            inner.trainer.surround = lambda options, old: surround(
                options, None if old is None else evaluate
            )

        return after_open(system, change)


class _Rank(Fault):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("ranking",)

    def _ranked(self, parts: Parts, rank: Callable[..., Any]) -> Parts:
        return dataclasses.replace(parts, rank=rank)


class TauOfConstant(_Rank):
    """A constant ranking agrees perfectly with itself: tau 1.0."""

    id, family = "tau-of-constant", "NAS"
    citation = "linenmin/MCUFlowNet commit 9ee674c (a constant proxy entered the ranking)"
    expected = ("constant-ranking",)

    def apply(self, parts: Parts) -> Parts:
        """Return 1.0 where tau is undefined."""

        def rank(scores: Any, previous: Any) -> Any:
            tau, reason = kendall_tau(scores, previous)
            return (1.0, None) if reason else (tau, reason)

        return self._ranked(parts, rank)


class RankAgainstItself(_Rank):
    """The ranking is compared with itself."""

    id = "rank-against-itself"
    citation = "meta-pytorch/torchrec#1268 (a check that compares a value with itself)"
    expected = ("tau-of-changed-ranking",)

    def apply(self, parts: Parts) -> Parts:
        """Ignore the previous scores."""
        return self._ranked(parts, lambda scores, previous: kendall_tau(scores, scores))


class ScoresRoundedForRank(_Rank):
    """Scores are rounded to what a log shows before they are ranked."""

    id = "scores-rounded-for-rank"
    citation = "axolotl-ai-cloud/axolotl#3320 (metrics are rounded on their way into the log)"
    expected = ("kendall-tau", "tau-of-close-scores")

    def apply(self, parts: Parts) -> Parts:
        """Keep two decimals."""

        def rank(scores: Any, previous: Any) -> Any:
            return kendall_tau(*([round(s, 2) for s in values] for values in (scores, previous)))

        return self._ranked(parts, rank)


class TauNegated(_Rank):
    """Concordant and discordant pairs are exchanged."""

    id = "tau-negated"
    citation = "thisancog/statistics.js#4 (tau from wrong pair counts)"
    expected = ("ledger-tau", "tau-of-changed-ranking")

    def apply(self, parts: Parts) -> Parts:
        """Change the sign."""

        def rank(scores: Any, previous: Any) -> Any:
            tau, reason = kendall_tau(scores, previous)
            return (None if tau is None else -tau), reason

        return self._ranked(parts, rank)


class SpearmanForKendall(_Rank):
    """Another rank correlation is logged under tau's name, ties broken by position."""

    id = "ordinal-ranks"
    citation = "fozziethebeat/S-Space#11; thisancog/statistics.js#4"
    expected = ("tau-of-changed-ranking", "constant-ranking")

    def apply(self, parts: Parts) -> Parts:
        """Correlate ordinal ranks."""

        def rank(scores: Any, previous: Any) -> Any:
            x, y = (np.argsort(np.argsort(v, kind="stable")) for v in (scores, previous))
            return float(np.corrcoef(x, y)[0, 1]), None

        return self._ranked(parts, rank)


def _rows(system: Any, change: Callable[[Any, Any], Any]) -> Any:
    """Return a system whose epoch rows become ``change(row, previous row)``."""

    def opened(inner: Any) -> None:
        emit, last = inner.trainer._emit, [None]

        def altered(record: Any) -> None:
            if hasattr(record, "clip_rate"):
                last[0], record = record, change(record, last[0])
            emit(record)

        inner.trainer._emit = altered

    return after_open(system, opened)


class _Log(Fault):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("epoch_log", "ledger")


class MetricBlank(_Log):
    """The metric's column stays empty."""

    id = "metric-blank"
    citation = "linenmin/MCUFlowNet commit 98f48f6"
    expected = ("epoch-rows-add-up", "ledger-finite")

    def wrap(self, system: Any) -> Any:
        """Write null and no reason."""
        return _rows(system, lambda row, _: dataclasses.replace(row, mean_epe_12=None))


class RowOfEarlierEvaluation(_Log):
    """The row repeats the evaluation before."""

    id = "row-stale"
    citation = "Deci-AI/super-gradients#1932 (a field that holds another value)"
    expected = ("epoch-rows-add-up", "ledger-scores-add-up")

    def wrap(self, system: Any) -> Any:
        """Keep the previous row's score."""
        return _rows(
            system,
            lambda row, old: (
                row if old is None else dataclasses.replace(row, mean_epe_12=old.mean_epe_12)
            ),
        )


class LossFabricated(_Log):
    """NaN and outliers are filtered from the logged loss."""

    id, family = "loss-filtered", "NAN"
    citation = "huggingface/trl#6702 (logging_nan_inf_filter)"
    expected = ("epoch-rows-add-up", "ledger-loss-average")

    def wrap(self, system: Any) -> Any:
        """Repeat the running value."""
        return _rows(
            system,
            lambda row, old: (
                row
                if old is None
                else dataclasses.replace(row, train_loss_epoch_avg=old.train_loss_epoch_avg)
            ),
        )


class ChecksFabricated(_Log):
    """clip_checks is written from the closed form instead of being counted."""

    id, family = "checks-fabricated", "GRAD"
    citation = "epfLLM/Megatron-LLM#33 (a counter that stays as it was made)"
    expected = ("ledger-clip-figures",)

    def wrap(self, system: Any) -> Any:
        """Log no clipped check at all."""
        return _rows(system, lambda row, _: dataclasses.replace(row, clip_count=0, clip_rate=0.0))


class OtherFuture(_Log):
    """Rows of another stretch of training are kept in the log."""

    id, family = "other-future-in-log", "RESUME"
    citation = "linenmin/MCUFlowNet commit 04cc919"
    expected = ("ledger-attempts-agree",)

    def wrap(self, system: Any) -> Any:
        """Name another segment than the one that runs."""
        return _rows(system, lambda row, _: dataclasses.replace(row, segment="another"))


class BestIsLatest(_Log):
    """The best metric is the latest one."""

    id, family = "best-is-latest", "RESUME"
    citation = "Deci-AI/super-gradients#1932; open-mmlab/mmrazor commit f4d4478c (#421)"
    expected = ("ledger-best-tracked",)

    def wrap(self, system: Any) -> Any:
        """Write this epoch's value, or a better one than any."""
        return _rows(
            system,
            lambda row, _: dataclasses.replace(
                row, best_epe=None if row.mean_epe_12 is None else row.mean_epe_12 * 0.5
            ),
        )
