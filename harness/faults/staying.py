"""Faults of what stays as it was: some draws of each epoch, a list of samples, a plan."""

from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf

from harness.config import parse_config
from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.fc2.layout import Triplet
from harness.runs.lineage import refuse_another_plan
from harness.runs.parts import Parts
from harness.training.checkpoint import CheckpointStore

__all__ = [
    "AnotherSeedInSilence", "BestStaysForLittle", "EvaluatedEverySecondEpochAtLeast",
    "FewerBatchesStay", "FirstCropOfEveryEpoch", "FirstSampleStays", "ListingKept",
    "NamedArchsMoveStatistics", "NoStatisticsWhereClipped", "StatisticsKeptByFirstKernel",
    "TailNotShuffled",
]  # fmt: skip


class TailNotShuffled(Fault):
    """The samples that fill no batch are put aside before a pass is shuffled: always the same."""

    id, family = "tail-not-shuffled", "DATA"
    citation = "NVlabs/VILA#123 (the same samples of each epoch are left over, before the shuffle)"
    expected = ("orders-independent",)
    touches = ("drawn_together", "windows")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Move them behind all others."""
        sound = parts.data.train_order

        def order(count: int, *, batch_size: int, **others: Any) -> list[int]:
            drawn, whole = sound(count, batch_size=batch_size, **others), count // batch_size
            return sorted(drawn, key=lambda sample: sample >= whole * batch_size)

        return replaced(parts, "data", train_order=order)


class FirstSampleStays(Fault):
    """A shuffle that swaps one element too few: one sample never leaves its place."""

    id, family = "first-sample-stays", "DATA"
    citation = "Marak/faker.js#614 (Fisher-Yates whose last element is never swapped)"
    expected = ("orders-independent",)
    touches = ("drawn_together", "windows")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Move it to the front."""
        sound = parts.data.train_order

        def order(count: int, **others: Any) -> list[int]:
            return sorted(sound(count, **others), key=bool)

        return replaced(parts, "data", train_order=order)


class FirstCropOfEveryEpoch(Fault):
    """Generators start anew with each epoch, and the first crop is drawn before they are told."""

    id, family = "first-crop-of-every-epoch", "DATA"
    citation = "xingyizhou/CenterNet#233; albumentations-team/AlbumentationsX#272"
    expected = ("windows-independent",)
    touches = ("drawn_together", "windows")

    def apply(self, parts: Parts) -> Parts:
        """Draw an epoch's first window as epoch 1 does."""
        sound = parts.data.random

        def window(*sizes: Any, epoch: int, index: int, **others: Any) -> Any:
            return sound(*sizes, epoch=epoch if index else 1, index=index, **others)

        return replaced(parts, "data", random=window)


class NoStatisticsWhereClipped(Fault):
    """Update ops hang on the branch without a clip: where one fires, no statistic moves."""

    id, family = "no-statistics-where-clipped", "BN"
    citation = "tensorflow/tensorflow#14699 (update ops in a branch of tf.cond)"
    expected = ("micro-batches-followed",)
    touches = ("micro_statistics",)

    def wrap(self, system: Any) -> Any:
        """Put the statistics back that were there before."""

        def change(inner: Any) -> None:
            step, model = inner.trainer._step, inner.session.model
            functions, train = step._functions, inner.session.config.train

            def gradient(_: Any, *args: Any) -> Any:
                before = {unit: [v.numpy() for v in pair] for unit, pair in model.moving.items()}
                found = functions.gradient(*args)
                norm = float(tf.linalg.global_norm(functions.gradient.gradients))
                if norm > train.grad_clip_global_norm:
                    for unit, pair in model.moving.items():
                        for variable, old in zip(pair, before[unit], strict=True):
                            variable.assign(old)
                return found

            step._functions = overriding(functions, gradient=gradient)

        return after_open(system, change)


class NamedArchsMoveStatistics(Fault):
    """Archs that are asked for by name leave their statistics behind; the pool's are put back."""

    id, family = "named-archs-move-statistics", "BN"
    citation = "open-mmlab/mmrazor#298 (statistics of subnets that were searched stay)"
    expected = ("eval-pure",)
    touches = ("purity",)

    def wrap(self, system: Any) -> Any:
        """Let the moving statistics be others once some archs were named."""

        def evaluate(inner: Any, archs: Any = None, **options: Any) -> Any:
            found = inner.evaluate(archs, **options)
            if archs is not None:
                for mean, _ in inner.session.model.moving.values():
                    mean.assign(0.5 * mean + 1.0)
            return found

        return overriding(system, evaluate=evaluate)


class BestStaysForLittle(Fault):
    """The best checkpoint stays where a better one is not better by a part in a thousand."""

    id, family = "best-stays-for-little", "RESUME"
    citation = "RasaHQ/rasa#7286 (a better model is not kept as the best one)"
    expected = ("checkpoints-kept",)
    touches = ("kept",)

    def apply(self, parts: Parts) -> Parts:
        """Ask for more than any improvement."""

        def best(metric: float, lowest: float | None) -> bool:
            return lowest is None or metric < 0.999 * lowest

        return replaced(parts, "train", is_best=best)


class StatisticsKeptByFirstKernel(Fault):
    """Recalibrated statistics are kept by a digest of the model, and that is of its first part."""

    id, family = "statistics-kept-by-first-kernel", "CACHE"
    citation = "d8ahazard/sd_dreambooth_extension#134; aidotse/LeakPro#415 (stale results)"
    expected = ("metric-recomputed",)
    touches = ("metric",)

    def wrap(self, system: Any) -> Any:
        """Compute them once for each first kernel."""

        def change(inner: Any) -> None:
            evaluator, model = inner.session.evaluator, inner.session.model
            sound, kept = evaluator._statistics, dict[Any, Any]()

            def statistics(shared: Any, *others: Any) -> Any:
                found = sound(shared, *others)
                first = next(iter(model.weights.values())).numpy().tobytes()
                return {arch: kept.setdefault((arch, first), own) for arch, own in found.items()}

            evaluator._statistics = statistics

        return after_open(system, change)


class FewerBatchesStay(Fault):
    """A number of batches that one evaluation was asked for holds for all that follow it."""

    id, family = "fewer-batches-stay", "CONFIG"
    citation = "Lightning-AI/pytorch-lightning#18834 (a call limits validation from then on)"
    expected = ("same-scores-prefix",)
    touches = ("scores",)

    def wrap(self, system: Any) -> Any:
        """Take the number of the last call that named one."""
        asked: list[int] = []

        def evaluate(inner: Any, archs: Any = None, *, batches_per_arch: Any = None) -> Any:
            asked.extend([batches_per_arch] if batches_per_arch else ())
            return inner.evaluate(archs, batches_per_arch=asked[-1] if asked else None)

        return overriding(after_open(system, lambda _: asked.clear()), evaluate=evaluate)


class ListingKept(Fault):
    """The list of a folder's samples is kept by its path: what is added later is not found."""

    id, family = "listing-kept", "CACHE"
    citation = "ultralytics/yolov5#2121; Lightning-AI/litData#292 (appended data are not seen)"
    expected = ("cache-never-stale",)
    touches = ("cache",)
    _kept: ClassVar[dict[Path, tuple[Triplet, ...]]] = {}  # of all systems of a process

    def apply(self, parts: Parts) -> Parts:
        """List each folder once."""
        sound, kept = parts.data.list_samples, self._kept

        def listed(folder: Path) -> tuple[Triplet, ...]:
            if folder not in kept:
                kept[folder] = sound(folder)
            return kept[folder]

        return replaced(parts, "data", list_samples=listed)


class EvaluatedEverySecondEpochAtLeast(Fault):
    """An evaluation is made every second epoch at least, however few are asked for."""

    id, family = "evaluated-every-second-epoch", "CONFIG"
    citation = "weecology/DeepForest#1019 (evaluated, although the period is longer than the run)"
    expected = ("evaluations-due",)
    touches = ("evaluations_due",)

    def wrap(self, system: Any) -> Any:
        """Open with a smaller period."""

        def opened(inner: Any, config: Any) -> None:
            evaluation = config["eval"]
            every = min(2, evaluation.get("eval_every_epoch", 1))
            inner.open({**config, "eval": {**evaluation, "eval_every_epoch": every}})

        return overriding(system, open=opened)


class AnotherSeedInSilence(Fault):
    """A checkpoint is continued under another seed, decay or micro-batch, and nothing is said."""

    id, family = "another-seed-in-silence", "RESUME"
    citation = "talmolab/sleap-nn#600 (a seed that differs on a resume is not told)"
    expected = ("changed-plan-told",)
    touches = ("plans",)

    def wrap(self, system: Any) -> Any:
        """Hold the rest of the plan against the checkpoint's."""

        def restore(inner: Any, path: str) -> Any:
            folder, session = Path(path), inner.session
            checkpoint = CheckpointStore(folder.parent).load(str(folder))
            tree, old = session.config.model_dump(mode="json", by_alias=True), checkpoint.meta
            for section, name in _UNTOLD:
                tree[section][name] = old["config"][section][name]
            refuse_another_plan(checkpoint, parse_config(tree), session.data)
            return inner.continue_from(checkpoint)

        return overriding(system, restore=restore)


_UNTOLD = (("runtime", "seed"), ("train", "weight_decay"), ("train", "micro_batch_size"))
