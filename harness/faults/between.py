"""Faults of what comes last, or second: a partial batch, a later epoch, another run."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from harness.faults.base import Fault, overriding
from harness.faults.hooks import after_open

__all__ = [
    "ClippedWithEachMicroBatch", "CutEpochDrawnAsTheFirst", "PartialEvalBatchUnmasked",
    "PartialMicroBatchUnclipped", "StatisticsOfTheRunBefore",
]  # fmt: skip


class ClippedWithEachMicroBatch(Fault):
    """The sum is clipped behind each micro-batch, and before the last one of an arch is added."""

    id, family = "clipped-with-each-micro-batch", "GRAD"
    citation = (
        "huggingface/transformers#1563; tenstorrent/tt-metal#17568; swathikirans/GSM#22 "
        "(clip(clip(g1) + g2))"
    )
    expected = ("clip-applied",)
    touches = ("micro_batches",)

    def wrap(self, system: Any) -> Any:
        """Clip what is there wherever another micro-batch of the arch is to come."""

        def change(inner: Any) -> None:
            step, train = inner.trainer._step, inner.session.config.train
            functions, seen = step._functions, list[Any]()

            def gradient(_: Any, code: Any, *arrays: Any) -> Any:
                if seen and train.clip_position == "update" and tf.reduce_all(seen[-1] == code):
                    functions.clip(tf.constant(train.grad_clip_global_norm, tf.float32))
                seen[:] = [code]
                return functions.gradient(code, *arrays)

            def zero(_: Any) -> None:
                seen.clear()
                functions.zero()

            step._functions = overriding(functions, gradient=gradient, zero=zero)

        return after_open(system, change)


class PartialMicroBatchUnclipped(Fault):
    """A clip per micro-batch leaves out the one that is not full, and reports it all the same."""

    id, family = "partial-micro-batch-unclipped", "GRAD"
    citation = (
        "simchowitzlabpublic/nano-world-model#22 (micro-batches that come last are added unclipped)"
    )
    expected = ("clip-applied",)
    touches = ("micro_batches",)

    def wrap(self, system: Any) -> Any:
        """Put back what the sum had been, and add the gradient as it is."""

        def change(inner: Any) -> None:
            step, size = inner.trainer._step, [0]
            functions, full = step._functions, inner.session.config.train.micro_batch

            def gradient(_: Any, code: Any, frames: Any, *others: Any) -> Any:
                size[0] = len(frames)
                return functions.gradient(code, frames, *others)

            def accumulate(_: Any, threshold: Any, weight: Any) -> Any:
                old = [tf.identity(total) for total in functions._sums]
                norms = functions.accumulate_clipped(threshold, weight)
                if size[0] < full:
                    for total, before in zip(functions._sums, old, strict=True):
                        total.assign(before)
                    functions.accumulate(weight)
                return norms

            step._functions = overriding(
                functions, gradient=gradient, accumulate_clipped=accumulate
            )

        return after_open(system, change)


class StatisticsOfTheRunBefore(Fault):
    """A run begins with the moving statistics of the last one that its process closed."""

    id, family = "statistics-of-the-run-before", "BN"
    citation = (
        "kkraoj/lfmc_from_sar#5; BMEII-AI/RadImageNet#5 (a model is not initialised anew for the "
        "next run)"
    )
    expected = ("seeds-matter",)
    touches = ("elsewhere",)
    _kept: ClassVar[dict[tuple[str, int], Any]] = {}  # of all systems of a process

    def wrap(self, system: Any) -> Any:
        """Keep them at the end of a session, and begin the next one with them."""
        kept = self._kept

        def change(inner: Any) -> None:
            for unit, pair in inner.session.model.moving.items():
                for place, variable in enumerate(pair):
                    variable.assign(kept.get((unit, place), variable))

        def close(inner: Any) -> None:
            if inner._session is not None:
                for unit, pair in inner.session.model.moving.items():
                    kept.update({(unit, i): v.numpy() for i, v in enumerate(pair)})
            inner.close()

        return overriding(after_open(system, change), close=close)


class CutEpochDrawnAsTheFirst(Fault):
    """What is left of an epoch that was cut is drawn as of epoch 1: right where it was that."""

    id, family = "cut-epoch-drawn-as-the-first", "RESUME"
    citation = (
        "huggingface/accelerate#4071; modelscope/ms-swift#9658 (the loader that skips batches "
        "begins with the sampler's epoch 0)"
    )
    expected = ("resume-mid-epoch",)
    touches = ("resume",)

    def wrap(self, system: Any) -> Any:
        """Stream the first epoch's batches in the place of those that a restore left over."""
        cut: list[int] = []

        def restore(inner: Any, path: str) -> None:
            inner.restore(path)
            progress = inner.trainer.progress
            cut[:] = [progress.epoch + 1] if progress.step else []

        def change(inner: Any) -> None:
            provider, sound = inner.session.provider, type(inner.session.provider).stream
            cut.clear()

            def stream(epoch: int, **others: Any) -> Any:
                return sound(provider, 1 if epoch in cut else epoch, **others)

            object.__setattr__(provider, "stream", stream)

        return overriding(after_open(system, change), restore=restore)


class PartialEvalBatchUnmasked(Fault):
    """The last batch of an evaluation is padded where it is not full, and its mask with ones."""

    id, family = "partial-eval-batch-unmasked", "METRIC"
    citation = (
        "apache/mxnet#6769; mlcommons/algorithmic-efficiency#233 (the remainder batch of an "
        "evaluation, and its mask)"
    )
    expected = ("unknown-flow-masked", "unknown-flow-unscored")
    touches = ("served", "metric")

    def wrap(self, system: Any) -> Any:
        """Take every pixel of a smaller batch for known."""

        def change(inner: Any) -> None:
            fixed = inner.session.fixed
            sound = fixed.eval_batches

            def batches() -> Any:
                *others, last = sound()
                if others and last.size < others[0].size:
                    last = dataclasses.replace(last, valid=np.ones_like(last.valid))
                return (*others, last)

            fixed.eval_batches = batches

        return after_open(system, change)
