"""Faults of any system's scores: of what an evaluation reports under which name."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from harness.faults.anywhere.base import FaultAnywhere, evaluating, rescored
from harness.faults.base import overriding
from harness.systems.protocol import Evaluation

__all__ = [
    "ArchUnderAnothersName",
    "LastSampleNotAveraged",
    "MeanOfAllEvaluations",
    "MetricHalved",
    "OneBatchScored",
    "ScoreDriftsAlongPool",
    "ScoreJitters",
    "ScoresBesideNames",
    "ScoresOfOneArch",
    "ZeroFlowScored",
]


class _Scores(FaultAnywhere):
    family = "METRIC"
    touches: ClassVar[tuple[str, ...]] = ("metric", "scores")
    needs: ClassVar[tuple[str, ...]] = ("evaluate",)


class ScoresOfOneArch(_Scores):
    """The first arch of a pool is scored under every name."""

    id, family = "scores-of-one-arch", "NAS"
    citation = "linenmin/MCUFlowNet commit bd23c3a (all architectures were one model)"
    expected = ("metric-alive",)
    touches = ("response", "scores")
    idle = "an evaluation has one arch alone"

    def wrap(self, system: Any) -> Any:
        """Give everybody the scores of the first."""

        def change(found: Evaluation) -> Evaluation:
            first = found.per_sample[found.archs[0]]
            return rescored(found, dict.fromkeys(found.archs, first))

        return evaluating(self, system, change)


class ScoresBesideNames(_Scores):
    """Names and scores of a pool are put together one place off."""

    id, family = "scores-beside-names", "NAS"
    citation = "open-mmlab/mmrazor commit 1abad087 (#193) (another subnet's figures)"
    expected = ("same-scores-subset",)
    idle = "an evaluation has one arch alone"

    def wrap(self, system: Any) -> Any:
        """Turn the scores by one place."""

        def change(found: Evaluation) -> Evaluation:
            turned = (*found.archs[1:], found.archs[0])
            pairs = zip(found.archs, turned, strict=True)
            return rescored(found, {arch: found.per_sample[other] for arch, other in pairs})

        return evaluating(self, system, change)


class ArchUnderAnothersName(_Scores):
    """Two archs are exchanged wherever they are scored, alike in every evaluation."""

    id, family = "arch-under-anothers-name", "NAS"
    citation = "IntelLabs/Hardware-Aware-Automated-Machine-Learning#21 (activated, not evaluated)"
    expected = ("metric-recomputed",)
    idle = "the pool has one arch alone"

    def wrap(self, system: Any) -> Any:
        """Exchange the first two of the pool."""
        names: dict[str, str] = {}

        def evaluate(inner: Any, archs: Sequence[str] | None = None, **kwargs: Any) -> Any:
            if not names:
                pool = sorted(set(inner.evaluate().archs))
                names.update(zip(pool[:2], pool[1::-1], strict=False))
            found = inner.evaluate(archs, **kwargs)
            asked = {names.get(arch, arch) for arch in found.archs}
            if asked == set(found.archs):
                others: Evaluation = found
            else:
                others = inner.evaluate([names.get(arch, arch) for arch in found.archs], **kwargs)
            scores = {a: others.per_sample[names.get(a, a)] for a in found.archs}
            self.acted |= scores != dict(found.per_sample)
            return rescored(found, scores)

        return overriding(system, evaluate=evaluate)


class OneBatchScored(_Scores):
    """However many batches were asked for, the first one alone is scored."""

    id = "one-batch-scored"
    citation = "linenmin/MCUFlowNet commits 72eba3c, 74bf8f7 (a setting logged but unused)"
    expected = ("metric-recomputed",)
    touches = ("metric", "scores", "epoch_log")
    idle = "an evaluation has one batch alone"

    def wrap(self, system: Any) -> Any:
        """Ask for one batch."""

        def evaluate(inner: Any, archs: Any = None, **_: Any) -> Any:
            found = inner.evaluate(archs, batches_per_arch=1)
            if not self.acted:
                self.acted = inner.evaluate(archs).per_sample != found.per_sample
            return found

        return overriding(system, evaluate=evaluate)


class LastSampleNotAveraged(_Scores):
    """The mean leaves out the last sample."""

    id = "last-sample-not-averaged"
    citation = "tensorflow/tensorflow#38596; NVIDIA/DeepLearningExamples#299"
    expected = ("metric-recomputed", "epe-adds-up")
    idle = "an evaluation has one sample alone"

    def wrap(self, system: Any) -> Any:
        """Average all but the last, and report every sample."""

        def change(found: Evaluation) -> Evaluation:
            fewer = {arch: epe[:-1] or epe for arch, epe in found.per_sample.items()}
            return dataclasses.replace(rescored(found, fewer), per_sample=found.per_sample)

        return evaluating(self, system, change)


class MeanOfAllEvaluations(_Scores):
    """The meter of the mean is not reset: it averages over every evaluation so far."""

    id = "mean-of-all-evaluations"
    citation = "ludwig-ai/ludwig#1659 (a reset that keeps the running average)"
    expected = ("epe-adds-up",)
    touches = ("score_means",)

    def __init__(self) -> None:
        super().__init__()
        self._means = list[float]()

    def wrap(self, system: Any) -> Any:
        """Report the mean over all means, and every score as it is."""

        def change(found: Evaluation) -> Evaluation:
            self._means.append(found.mean_epe)
            return dataclasses.replace(found, mean_epe=sum(self._means) / len(self._means))

        return evaluating(self, system, change)


class MetricHalved(_Scores):
    """The metric has another unit, everywhere alike."""

    id = "metric-halved"
    citation = "linenmin/MCUFlowNet commit a221118 (the unit of the EPE)"
    expected = ("metric-recomputed", "metric-oracle")

    def wrap(self, system: Any) -> Any:
        """Halve every score, and that of the zero flow."""

        def change(found: Evaluation) -> Evaluation:
            half = {a: tuple(0.5 * epe for epe in scores) for a, scores in found.per_sample.items()}
            zero = 0.5 * found.zero_flow_epe
            return dataclasses.replace(rescored(found, half), zero_flow_epe=zero)

        def score(inner: Any, *arrays: Any) -> Any:
            return 0.5 * inner.score(*arrays)

        return overriding(evaluating(self, system, change), score=score)


class ZeroFlowScored(_Scores):
    """What is scored is the all-zero flow, nearly: the metric is dead."""

    id = "zero-flow-scored"
    citation = "linenmin/MCUFlowNet commit 5f197cd (EPE stayed near that of an all-zero flow)"
    expected = ("metric-alive",)
    touches = ("metric", "response")

    def wrap(self, system: Any) -> Any:
        """Report the zero flow's score for every arch."""

        def change(found: Evaluation) -> Evaluation:
            dead = {a: (found.zero_flow_epe,) * len(s) for a, s in found.per_sample.items()}
            return rescored(found, dead)

        return evaluating(self, system, change)


class ScoreDriftsAlongPool(_Scores):
    """An arch's score depends on how many were scored before it."""

    id, family = "score-drifts-along-pool", "BN"
    citation = "open-mmlab/mmrazor#298 (statistics of one arch are left to the next)"
    expected = ("same-scores-subset",)
    idle = "an evaluation has one arch alone"

    def wrap(self, system: Any) -> Any:
        """Scale by the place in the pool."""

        def change(found: Evaluation) -> Evaluation:
            return rescored(
                found,
                {
                    arch: tuple((1 + 1e-4 * place) * epe for epe in found.per_sample[arch])
                    for place, arch in enumerate(found.archs)
                },
            )

        return evaluating(self, system, change)


class ScoreJitters(_Scores):
    """The same checkpoint scores a little otherwise each time."""

    id, family = "score-jitters", "DETERM"
    citation = "CanyonWind/Single-Path-One-Shot-NAS-MXNet#4"
    expected = ("same-scores-again",)

    def wrap(self, system: Any) -> Any:
        """Scale by a counter of evaluations."""
        made = [0]

        def change(found: Evaluation) -> Evaluation:
            made[0] += 1
            factor = 1 + 1e-6 * made[0]
            scaled = {a: tuple(factor * e for e in s) for a, s in found.per_sample.items()}
            return rescored(found, scaled)

        return evaluating(self, system, change)
