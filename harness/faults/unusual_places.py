"""Faults at unusual places: a name that is taken, a finished run, frames of another size."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.faults.base import Fault, overriding
from harness.faults.hooks import after_open
from harness.systems.protocol import Evaluation

__all__ = [
    "CountOfOfflineBatchesIgnored", "DueCountedFromResume", "EvaluationWrapsAround",
    "FinishedRunTrainsOn", "OfflineScoresKeptByPath", "SaveErrorsSwallowed", "SaveKeepsTheOld",
    "StatisticsKeptByStep", "StepSinceResumeSaved", "WindowsOfFirstFrameSize",
]  # fmt: skip


class SaveErrorsSwallowed(Fault):
    """A checkpoint that cannot be written is logged at most, and training goes on."""

    id, family = "save-errors-swallowed", "RESUME"
    citation = "facebookresearch/ClassyVision#528; axolotl-ai-cloud/axolotl#3614 (in review)"
    expected = ("checkpoint-complete",)
    touches = ("checkpoint",)

    def wrap(self, system: Any) -> Any:
        """Save, whatever comes of it."""

        def save(inner: Any, path: str) -> None:
            with suppress(Exception):
                inner.save(path)

        return overriding(system, save=save)


class SaveKeepsTheOld(Fault):
    """Where a checkpoint of that name is there already, nothing is saved and nothing said."""

    id, family = "save-keeps-the-old", "RESUME"
    citation = "google/flax#1120 (what a save does where a checkpoint is there was ill-defined)"
    expected = ("checkpoint-complete",)
    touches = ("checkpoint",)

    def wrap(self, system: Any) -> Any:
        """Save under new names alone."""

        def save(inner: Any, path: str) -> None:
            if not Path(path).exists():
                inner.save(path)

        return overriding(system, save=save)


class FinishedRunTrainsOn(Fault):
    """A finished run that is resumed trains its last epoch once more."""

    id, family = "finished-run-trains-on", "RESUME"
    citation = "ultralytics/ultralytics#24386; sparticlesteve/cosmoflow-benchmark#48"
    expected = ("checkpoint-complete",)
    touches = ("checkpoint",)

    def wrap(self, system: Any) -> Any:
        """Train at least one epoch after a restore."""
        restored: list[str] = []

        def restore(inner: Any, path: str) -> Any:
            restored.append(path)
            return inner.restore(path)

        def train(inner: Any, epochs: int, **options: Any) -> Any:
            done = inner.trainer.progress.epoch
            more = bool(restored) and done >= epochs
            restored.clear()
            return inner.train(done + 1 if more else epochs, **options)

        return overriding(system, restore=restore, train=train)


class StepSinceResumeSaved(Fault):
    """A run that was resumed within an epoch saves how many steps it has made since then."""

    id, family = "step-since-resume-saved", "RESUME"
    citation = "NguyenJus/custom-sam-peft#308 (a count that drifts with each further resume)"
    expected = ("resume-mid-epoch",)
    touches = ("resume",)

    def wrap(self, system: Any) -> Any:
        """Leave out of a saved place what was there when the run was resumed."""
        start = [(0, 0)]

        def restore(inner: Any, path: str) -> Any:
            found = inner.restore(path)
            start[0] = inner.trainer.progress.epoch, inner.trainer.progress.step
            return found

        def save(inner: Any, path: str) -> None:
            trainer, now = inner.trainer, inner.trainer.progress
            epoch, step = start[0]
            since = now.step - step if (now.epoch, now.step > step) == (epoch, True) else now.step
            trainer.progress = dataclasses.replace(now, step=since)
            inner.save(path)
            trainer.progress = now

        def change(_: Any) -> None:
            start[0] = 0, 0

        return overriding(after_open(system, change), restore=restore, save=save)


class DueCountedFromResume(Fault):
    """After a resume the epochs to the next evaluation are counted from there."""

    id, family = "due-counted-from-resume", "RESUME"
    citation = "PrimeIntellect-ai/prime-rl#3123 (evaluations that are due are skipped on resume)"
    expected = ("evaluations-due",)
    touches = ("evaluations_due",)

    def wrap(self, system: Any) -> Any:
        """Ask of the epochs since the restore whether an evaluation is due."""
        start = [0]

        def restore(inner: Any, path: str) -> Any:
            found = inner.restore(path)
            start[0] = inner.trainer.progress.epoch
            return found

        def change(inner: Any) -> None:
            start[0] = 0
            trainer, scores = inner.trainer, inner.trainer._scores
            every = inner.session.config.eval.eval_every_epoch

            def since(epoch: int) -> Any:
                if (epoch - start[0]) % every or trainer._evaluate is None:
                    return None
                # As of an epoch that is due: nothing else of an evaluation is changed.
                held = trainer._evaluate
                trainer._evaluate = lambda weights, _, **more: held(weights, epoch, **more)
                try:
                    return scores(every)
                finally:
                    trainer._evaluate = held

            trainer._scores = since

        return overriding(after_open(system, change), restore=restore)


class WindowsOfFirstFrameSize(Fault):
    """Crops lie as they would in the frame that was decoded first, whatever each one's size."""

    id, family = "windows-of-first-frame-size", "GEOM"
    citation = "scanner-research/scanner#81 (all frames are taken to be of one size)"
    expected = ("unknown-flow-masked",)
    touches = ("served",)

    def wrap(self, system: Any) -> Any:
        """Give each provider one frame size."""

        def change(inner: Any) -> None:
            session = inner.session
            fixed = [session.fixed._provider(split) for split in ("train", "val")]
            for provider in (session.provider, *fixed):
                first = list[tuple[int, int]]()

                def window(
                    _: Any, sample: Any, epoch: int, index: int, own: Any = provider,
                    size: list[tuple[int, int]] = first,
                ) -> Any:  # fmt: skip
                    size.append(sample.flow.shape[:2])
                    return own.window(size[0], epoch=epoch, index=index)

                object.__setattr__(provider, "_window", window)  # it is frozen

        return after_open(system, change)


class StatisticsKeptByStep(Fault):
    """Recalibrated statistics are kept for the step that they were computed at."""

    id, family = "statistics-kept-by-step", "CACHE"
    citation = "huggingface/datasets#770; ludwig-ai/ludwig#3069 (incomplete cache keys)"
    expected = ("metric-recomputed",)
    touches = ("metric", "response", "recalibration")

    def wrap(self, system: Any) -> Any:
        """Take those of the same arch and step, whatever the weights."""

        def change(inner: Any) -> None:
            evaluator, sound = inner.session.evaluator, inner.session.evaluator._statistics
            kept: dict[Any, Any] = {}

            def statistics(*args: Any) -> dict[Any, Any]:
                step = inner.trainer.progress.global_step
                return {a: kept.setdefault((step, a), s) for a, s in sound(*args).items()}

            evaluator._statistics = statistics

        return after_open(system, change)


class EvaluationWrapsAround(Fault):
    """An evaluation of more batches than the split has begins again at its start."""

    id, family = "evaluation-wraps-around", "DATA"
    citation = "mlcommons/algorithmic-efficiency#860 (a validation set that is repeated, in review)"
    expected = ("eval-order-fixed",)
    touches = ("served",)

    def wrap(self, system: Any) -> Any:
        """Repeat the batches until there are as many as asked for."""

        def change(inner: Any) -> None:
            fixed, asked = inner.session.fixed, inner.session.config.eval.eval_batches_per_arch
            sound = fixed.eval_batches

            def repeated() -> tuple[Any, ...]:
                batches = sound()
                count = len(batches) if isinstance(asked, str) else asked
                return tuple(batches[number % len(batches)] for number in range(count))

            fixed.eval_batches = repeated

        return after_open(system, change)


class OfflineScoresKeptByPath(Fault):
    """A checkpoint whose path has a result already is not evaluated again."""

    id, family = "offline-scores-kept-by-path", "CACHE"
    citation = "IBM/unitxt#7; huggingface/datasets#770 (a result that is kept goes stale)"
    expected = ("offline-alone",)
    touches = ("offline",)

    def wrap(self, system: Any) -> Any:
        """Keep what was found by all that was asked, the path for the checkpoint."""
        kept: dict[Any, Evaluation] = {}

        def evaluate(inner: Any, path: str, archs: Any = None, **options: Any) -> Evaluation:
            key = path, None if archs is None else tuple(archs), *sorted(options.items())
            if key not in kept:
                kept[key] = inner.evaluate_offline(path, archs, **options)
            return kept[key]

        return overriding(system, evaluate_offline=evaluate)


class CountOfOfflineBatchesIgnored(Fault):
    """However few batches are asked for, the offline evaluator takes all of them."""

    id, family = "count-of-offline-batches-ignored", "CONFIG"
    citation = "tensorflow/models#6553 (num_eval_steps is ignored, the whole set is evaluated)"
    expected = ("offline-as-in-training",)
    touches = ("offline",)

    def wrap(self, system: Any) -> Any:
        """Leave out the number."""

        def evaluate(
            inner: Any, path: str, archs: Sequence[str] | None = None, *,
            batches_per_arch: int | None = None, workers: int = 1,
        ) -> Evaluation:  # fmt: skip
            del batches_per_arch
            found: Evaluation = inner.evaluate_offline(path, archs, workers=workers)
            return found

        return overriding(system, evaluate_offline=evaluate)
