"""Faults of determinism, finite numbers, caches and configuration."""

import contextlib
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.fc2.frozen import read_frozen
from harness.runs.parts import Parts
from harness.supernet.epe import mean_epe, sample_epe
from harness.supernet.space import SKELETONS
from harness.training.fairness import fair_cycle
from harness.training.finite import NonFiniteError

__all__ = [
    "CycleByHashSeed", "EvalClipIgnored", "EverySkeletonByClock", "FlowClipIgnored",
    "FrozenByPath", "FrozenFirstBatchOnly", "InitialWeightsByClock", "IterationsKeptAfterEval",
    "NanCountsAsZero", "NanIgnored", "NanInStatistics", "NanStopsUnnamed", "NoiseInMetric",
    "ObserverSteersTraining", "OrderOfPoolMatters", "ScoreByClock", ]  # fmt: skip


class NoiseInMetric(Fault):
    """A reduction whose order varies: the last bits differ from run to run."""

    id, family = "noise-in-metric", "DETERM"
    citation = "tensorflow/tensorflow#3103; huggingface/transformers#33844 (dropout active)"
    expected = ("same-scores-again", "same-scores-fresh")
    touches = ("scores", "purity")

    def apply(self, parts: Parts) -> Parts:
        """Sum with entropy of the machine."""
        generator = np.random.default_rng()
        return replaced(
            parts, "evaluation",
            epe=lambda *a: sample_epe(*a) * (1 + 1e-12 * generator.standard_normal()),
        )  # fmt: skip


class ScoreByClock(Fault):
    """Something in the score depends on when the process started."""

    id, family = "score-by-process", "DETERM"
    citation = "tensorflow/tensorflow#53771 and #53792 (runs of one process agree, others differ)"
    expected = ("same-scores-fresh",)
    touches = ("scores", "purity")

    def apply(self, parts: Parts) -> Parts:
        """Scale by the time of this process."""
        factor = 1 + 1e-9 * (time.time_ns() % 1000 + 1)
        return replaced(parts, "evaluation", epe=lambda *a: sample_epe(*a) * factor)


class CycleByHashSeed(Fault):
    """The order of a set of strings decides what is trained."""

    id, family = "order-by-hash-seed", "DETERM"
    citation = "pytorch/pytorch#6351 (equal in one process, not in the next); PEP 456"
    expected = ("resume-exact",)
    touches = ("checkpoint", "resume")

    def apply(self, parts: Parts) -> Parts:
        """Draw the cycles by the hash of a name."""
        return replaced(
            parts, "train",
            fair_cycle=lambda *, seed, epoch, step: fair_cycle(
                seed=hash("cycles") % 1000, epoch=epoch, step=step
            ),
        )  # fmt: skip


class InitialWeightsByClock(Fault):
    """Initial weights are seeded by the clock."""

    id, family = "weights-by-clock", "DETERM"
    citation = "tensorflow/tensorflow#29101; tensorflow/tensorflow#9230"
    expected: ClassVar[tuple[str, ...]] = ("seeds-matter", "same-run-elsewhere")
    touches: ClassVar[tuple[str, ...]] = ("scores", "purity")

    def wrap(self, system: Any) -> Any:
        """Nudge the first kernel."""

        def change(inner: Any) -> None:
            kernel = next(iter(inner.session.model.weights.values()))
            kernel.assign(kernel * (1 + 1e-6 * (time.perf_counter_ns() % 997)))

        return after_open(system, change)


class EverySkeletonByClock(InitialWeightsByClock):
    """The same, seen in each skeleton."""

    id = "weights-by-clock-everywhere"
    expected = tuple(f"same-scores-{skeleton}" for skeleton in SKELETONS)
    touches, slow = (), True
    modes = ("full_pass",)


class OrderOfPoolMatters(Fault):
    """An arch's score depends on how many were scored before it."""

    id, family = "pool-order-matters", "BN"
    citation = "open-mmlab/mmrazor#298"
    expected = ("same-scores-permuted", "same-scores-subset")
    touches = ("scores", "purity")

    def wrap(self, system: Any) -> Any:
        """Let each prediction of a pool drift."""

        def change(inner: Any) -> None:
            evaluator = inner.session.evaluator
            evaluate, predict, position = evaluator.evaluate, evaluator.predict, [0]

            def counted(*args: Any, **kwargs: Any) -> Any:
                position[0] = 0
                return evaluate(*args, **kwargs)

            def drifting(*args: Any) -> Any:
                position[0] += 1
                return predict(*args) * np.float32(1 + 1e-3 * position[0])

            evaluator.evaluate, evaluator.predict = counted, drifting

        return after_open(system, change)


class ObserverSteersTraining(Fault):
    """A diagnostic draws from the stream of training."""

    id, family = "observer-steers", "DETERM"
    citation = "Lightning-AI/pytorch-lightning#6988; fartashf/vsepp#4"
    expected = ("train-unobserved",)
    touches = ("epoch_log", "ledger")

    def wrap(self, system: Any) -> Any:
        """Skip a permutation for each record that somebody sees."""

        def change(inner: Any) -> None:
            emit, cycle, seen = inner.trainer._emit, inner.trainer._parts.fair_cycle, [0]

            def watched(record: Any) -> None:
                seen[0] += len(inner.trainer._options.observers)
                emit(record)

            def drawn(*, seed: int, epoch: int, step: int) -> Any:
                return cycle(seed=seed + seen[0], epoch=epoch, step=step)

            inner.trainer._emit = watched
            parts = inner.trainer._parts
            inner.trainer._parts = overriding(parts, fair_cycle=lambda _, **kwargs: drawn(**kwargs))

        return after_open(system, change)


class IterationsKeptAfterEval(Fault):
    """Evaluation sets an attribute of the model that training goes on with."""

    id, family = "attribute-kept-after-eval", "BN"
    citation = "open-mmlab/mmflow commit 607e1ed (#62)"
    expected = ("train-unobserved",)
    touches = ("scores", "purity")

    def __init__(self) -> None:
        self.evaluated = False

    def apply(self, parts: Parts) -> Parts:
        """Step half as far once an evaluation was made."""
        schedule = parts.train.schedule
        return replaced(
            parts, "train",
            schedule=lambda *a: schedule(*a) * (0.5 if self.evaluated else 1.0),
        )  # fmt: skip

    def wrap(self, system: Any) -> Any:
        """Set the flag in evaluations; a newly opened system has it unset."""

        def change(inner: Any) -> None:
            self.evaluated = False
            evaluate = inner.session.evaluator.evaluate

            def flagged(*args: Any, **kwargs: Any) -> Any:
                self.evaluated = True
                return evaluate(*args, **kwargs)

            inner.session.evaluator.evaluate = flagged
            # A promise gets its system by a restore, and must not find the flag of the one before.
            restore = inner.restore

            def restored(path: str) -> None:
                self.evaluated = False
                restore(path)

            inner.restore = restored

        return after_open(system, change)


class _Nan(Fault):
    family = "NAN"
    touches = ("training",)


class NanIgnored(_Nan):
    """Training goes on after a NaN."""

    id = "nan-ignored"
    citation = "epfLLM/Megatron-LLM#33"
    expected = ("nan-stops",)

    def wrap(self, system: Any) -> Any:
        """Swallow the error."""

        def train(inner: Any, *args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(NonFiniteError):
                return inner.train(*args, **kwargs)

        return overriding(system, train=train)


class NanStopsUnnamed(_Nan):
    """A NaN stops the run and nobody learns where it was."""

    id = "nan-unnamed"
    citation = "epfLLM/Megatron-LLM#33; open-mmlab/mmflow commit b736b79 (#94)"
    expected = ("nan-stops",)

    def wrap(self, system: Any) -> Any:
        """Raise without the name."""

        def train(inner: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return inner.train(*args, **kwargs)
            except NonFiniteError:
                raise FloatingPointError("loss is nan") from None

        return overriding(system, train=train)


class NanCountsAsZero(_Nan):
    """A NaN score counts as a perfect one."""

    id = "nan-is-best"
    citation = "Bjarten/early-stopping-pytorch#28; Lightning-AI/pytorch-lightning#2636"
    expected = ("nan-score-stops",)

    def apply(self, parts: Parts) -> Parts:
        """Replace NaN by 0."""
        return replaced(parts, "evaluation", mean=lambda s: mean_epe(np.nan_to_num(list(s))))

    def wrap(self, system: Any) -> Any:
        """Let statistics that are not finite pass."""

        def change(inner: Any) -> None:
            evaluator = inner.session.evaluator
            recalibrate = evaluator.recalibrate

            def quiet(weights: Any, arch: Any, batches: Any) -> Any:
                try:
                    return recalibrate(weights, arch, batches)
                except FloatingPointError:
                    return {}

            evaluator.recalibrate = quiet

        return after_open(system, change)


class NanInStatistics(_Nan):
    """A moving statistic becomes NaN where no guard looks."""

    id = "nan-in-statistics"
    citation = "epfLLM/Megatron-LLM#33 (a detector that is active elsewhere)"
    expected = ("all-finite",)

    def wrap(self, system: Any) -> Any:
        """Spoil a statistic once training has ended."""

        def train(inner: Any, *args: Any, **kwargs: Any) -> Any:
            found = inner.train(*args, **kwargs)
            if inner.trainer.progress.epoch < 2:
                return found
            mean, _ = next(iter(inner.session.model.moving.values()))
            mean.assign(mean * float("nan"))
            return found

        return overriding(system, train=train)


class FrozenByPath(Fault):
    """A frozen artifact is cached by its path and goes stale."""

    id, family = "frozen-stale", "CACHE"
    citation = "IBM/unitxt#7; huggingface/datasets#770"
    expected = ("frozen-same",)
    touches = ("cache",)

    def wrap(self, system: Any) -> Any:
        """Keep what was read first."""
        kept = self._kept

        def change(inner: Any) -> None:
            path = inner.session.config.eval.frozen
            if path:
                if path not in kept:
                    kept[path] = read_frozen(Path(path))
                inner.session.fixed._frozen = kept[path]

        return after_open(system, change)

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}


class FrozenFirstBatchOnly(Fault):
    """Of a frozen artifact, one batch is scored."""

    id, family = "frozen-partly-read", "CACHE"
    citation = "deepset-ai/FARM#222 (a cache made for other parameters)"
    expected = ("frozen-same",)
    touches = ("cache",)

    def wrap(self, system: Any) -> Any:
        """Cut the evaluation batches."""

        def change(inner: Any) -> None:
            fixed = inner.session.fixed
            if inner.session.config.eval.frozen:
                batches = fixed.eval_batches()
                fixed.eval_batches = lambda: batches[:1]

        return after_open(system, change)


class FlowClipIgnored(Fault):
    """data.flow_clip is read and never used."""

    id, family = "flow-clip-ignored", "CONFIG"
    citation = "catalyst-team/catalyst#1319; thtrieu/darkflow#204"
    expected = ("loss-recomputed",)
    touches = ("elsewhere",)

    def wrap(self, system: Any) -> Any:
        """Open without it."""

        def opened(inner: Any, config: Any) -> None:
            inner.open({**config, "data": {**config["data"], "flow_clip": None}})

        return overriding(system, open=opened)


class EvalClipIgnored(Fault):
    """eval.flow_clip is a knob that changes nothing."""

    id, family = "eval-clip-ignored", "CONFIG"
    citation = "thtrieu/darkflow#204 (a key of the configuration without effect)"
    expected = ("knobs-alive",)
    slow = True
    modes = ("full_pass",)

    def wrap(self, system: Any) -> Any:
        """Open without it."""

        def opened(inner: Any, config: Any) -> None:
            inner.open({**config, "eval": {**config["eval"], "flow_clip": None}})

        return overriding(system, open=opened)
