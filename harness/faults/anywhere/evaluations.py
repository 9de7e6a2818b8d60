"""Faults of any system's evaluation: of the weights and statistics it takes, and leaves."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from harness.faults.anywhere.base import (
    NOT_THE_SYSTEMS,
    FaultAnywhere,
    float_arrays,
    rescored,
)
from harness.faults.base import overriding
from harness.systems.protocol import Evaluation, Recalibration

__all__ = [
    "EvaluationMovesAnArray",
    "NanScoreReplaced",
    "RecalibrationBlended",
    "RecalibrationWithoutEffect",
    "ScoresOfLastCheckpoint",
]


class _Evaluation(FaultAnywhere):
    touches: ClassVar[tuple[str, ...]] = ("scores",)
    needs: ClassVar[tuple[str, ...]] = ("evaluate",)


class ScoresOfLastCheckpoint(_Evaluation):
    """An evaluation scores what was saved last, and not the weights of now."""

    id, family = "scores-of-last-checkpoint", "CACHE"
    citation = "IBM/unitxt#7; huggingface/datasets#770 (a cached score goes stale)"
    expected = ("metric-alive",)
    touches = ("response", "scores")
    needs = ("evaluate", "state")
    idle = "nothing was evaluated after a change of weights that state() assigns"

    def wrap(self, system: Any) -> Any:
        """Put back for an evaluation what was saved, restored or opened last."""
        kept: dict[str, Any] = {}

        def evaluate(inner: Any, *args: Any, **kwargs: Any) -> Any:
            present = float_arrays(inner.state())
            stale = any(not np.array_equal(present[name], kept[name]) for name in kept)
            self.acted |= stale
            if not stale:
                return inner.evaluate(*args, **kwargs)
            inner.state(kept)
            try:
                return inner.evaluate(*args, **kwargs)
            finally:
                inner.state(present)

        def keeping(name: str) -> Any:
            def call(inner: Any, *args: Any) -> Any:
                said = getattr(inner, name)(*args)
                kept.clear()
                kept.update(float_arrays(inner.state()))
                return said

            return call

        names = ("open", "save", "restore")
        return overriding(system, evaluate=evaluate, **{name: keeping(name) for name in names})


class NanScoreReplaced(_Evaluation):
    """Where scoring fails or gives NaN, the best score is reported."""

    id, family = "nan-score-replaced", "NAN"
    citation = "Bjarten/early-stopping-pytorch#28; Lightning-AI/pytorch-lightning#2636"
    expected = ("nan-score-stops",)
    touches = ("refusals",)
    idle = "no evaluation failed or gave NaN"

    def wrap(self, system: Any) -> Any:
        """Report zeros."""
        good: list[Evaluation] = []

        def evaluate(inner: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return inner.evaluate(*args, **kwargs)
            except NOT_THE_SYSTEMS:
                raise
            except Exception:  # noqa: BLE001 -- the fault is to swallow whatever it is
                self.acted = True
                best = {a: (0.0,) * len(s) for a, s in good[-1].per_sample.items()}
                return rescored(good[-1], best)

        def opened(inner: Any, config: Any) -> None:
            inner.open(config)
            good.append(inner.evaluate())

        return overriding(system, evaluate=evaluate, open=opened)


class EvaluationMovesAnArray(_Evaluation):
    """An evaluation leaves a statistic, or a weight, other than it was."""

    id, family = "evaluation-moves-an-array", "BN"
    citation = "open-mmlab/mmflow commit 607e1ed (#62)"
    expected = ("eval-pure",)
    touches = ("purity", "scores")
    needs = ("evaluate", "state")
    idle = "state() has no array of floats that it assigns"

    def wrap(self, system: Any) -> Any:
        """Scale one by a ten-thousandth."""

        def evaluate(inner: Any, *args: Any, **kwargs: Any) -> Any:
            found = inner.evaluate(*args, **kwargs)
            arrays = float_arrays(inner.state())
            name = min(arrays, key=lambda n: ("moving_" not in n, n), default="")
            if name:
                old = arrays[name]
                moved = (old * 1.0001 + 1e-7).astype(old.dtype)
                after = inner.state({name: moved})[name]
                self.acted |= not np.array_equal(after, old)
            return found

        return overriding(system, evaluate=evaluate)


class _Recalibrations(FaultAnywhere):
    family = "BN"
    touches: ClassVar[tuple[str, ...]] = ("recalibration",)
    needs: ClassVar[tuple[str, ...]] = ("recalibrate",)
    idle = "recalibrate() gives no statistics"

    kept: ClassVar[float] = 1.0
    """Weight of what was there before: of a mean of 0 and a variance of 1."""

    def wrap(self, system: Any) -> Any:
        """Blend with what a new layer holds."""

        def blended(new: Any, initial: float) -> Any:
            found = (1 - self.kept) * np.asarray(new, np.float64) + self.kept * initial
            return found.astype(np.float32)

        def recalibrate(inner: Any, *args: Any, **kwargs: Any) -> Recalibration:
            found: Recalibration = inner.recalibrate(*args, **kwargs)
            self.acted |= bool(found.stats)
            stats: Mapping[str, Any] = {
                unit: (blended(mean, 0.0), blended(variance, 1.0))
                for unit, (mean, variance) in found.stats.items()
            }
            return dataclasses.replace(found, stats=stats)

        return overriding(system, recalibrate=recalibrate)


class RecalibrationWithoutEffect(_Recalibrations):
    """Recalibration leaves the statistics that a new layer has."""

    id = "recalibration-without-effect"
    citation = "linenmin/MCUFlowNet commit 485b348 (recalibration without effect)"
    expected = ("recal-statistics-exact",)


class RecalibrationBlended(_Recalibrations):
    """Recalibrated statistics are blended with the initial ones, as one momentum update does."""

    id = "recalibration-blended"
    citation = "open-mmlab/mmrazor#298 (BN updated on top of the supernet's history)"
    expected = ("recal-statistics-exact",)
    kept = 0.1
