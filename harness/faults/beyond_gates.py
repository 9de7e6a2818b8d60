"""Faults of what a gate of two short epochs, few batches and one setting does not do by itself."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from harness.evaluation.recalibration import PooledStatistics, pool_statistics
from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.fc2.loader import in_order
from harness.runs.parts import Parts

__all__ = [
    "EvaluationDueAnEpochEarly", "FirstEvaluationOfInitialWeights", "NoThreadsNoOrder",
    "OneOptionRecalibratedOnLastBatch", "OneUnitLeftInEvaluation", "RecalPoolsEightBatches",
    "RecalWithoutPartialBatch",
]  # fmt: skip


class FirstEvaluationOfInitialWeights(Fault):
    """The first evaluation of a run scores a copy of the weights that is not yet updated."""

    id, family = "first-evaluation-of-initial-weights", "METRIC"
    citation = "Lightning-AI/pytorch-lightning#21724 (averages are scored before there are any)"
    expected = ("epoch-rows-add-up",)
    touches = ("epoch_log",)

    def wrap(self, system: Any) -> Any:
        """Hand the initial weights to the evaluation after epoch 1."""

        def change(inner: Any) -> None:
            trainer, surround = inner.trainer, inner.trainer.surround
            tensors = inner.session.model.weight_tensors()
            first = {name: tf.identity(tensor) for name, tensor in tensors.items()}

            def surrounded(options: Any, evaluate: Any) -> None:
                def scored(weights: Any, epoch: int, **more: Any) -> Any:
                    return evaluate(first if epoch == 1 else weights, epoch, **more)

                surround(options, evaluate and scored)

            trainer.surround = surrounded

        return after_open(system, change)


class EvaluationDueAnEpochEarly(Fault):
    """Epochs are counted from 0 where it is asked whether an evaluation is due."""

    id, family = "evaluation-due-an-epoch-early", "CONFIG"
    citation = "weecology/DeepForest#1136 (current_epoch counts from 0)"
    expected = ("evaluations-due",)
    touches = ("epoch_log", "evaluations_due")

    def wrap(self, system: Any) -> Any:
        """Evaluate after the epoch before the one that is due."""

        def change(inner: Any) -> None:
            trainer, scores = inner.trainer, inner.trainer._scores
            every = inner.session.config.eval.eval_every_epoch

            def early(epoch: int) -> Any:
                if (epoch - 1) % every or trainer._evaluate is None:
                    return None
                # As of an epoch that is due: nothing else of an evaluation is changed.
                held = trainer._evaluate
                trainer._evaluate = lambda weights, _, **more: held(weights, epoch, **more)
                try:
                    return scores(every)
                finally:
                    trainer._evaluate = held

            trainer._scores = early

        return after_open(system, change)


class NoThreadsNoOrder(Fault):
    """Without loader threads another path serves the batches, the last one first."""

    id, family = "no-threads-no-order", "PARALLEL"
    citation = "dmlc/dgl#5068 (order with and without workers)"
    expected = ("loader-threads-unseen",)
    touches = ("loader_threads", "draws", "own_draws")

    def apply(self, parts: Parts) -> Parts:
        """Reverse what is loaded in the caller's thread."""

        def ahead(
            function: Callable[[Any], Any], items: Iterable[Any], *, workers: int, depth: int
        ) -> Generator[Any, None, None]:
            asked = items if workers else reversed(list(items))
            return in_order(function, asked, workers=workers, depth=depth)

        return replaced(parts, "data", ahead=ahead)


class OneUnitLeftInEvaluation(Fault):
    """After the first evaluation one layer's statistics follow no batch any more."""

    id, family = "one-unit-left-in-evaluation", "BN"
    citation = "HuiZeng/Grid-Anchor-based-Image-Cropping-Pytorch#2 (eval() and no train() after it)"
    expected = ("training-moves",)
    touches = ("training", "micro_statistics", "update")

    def wrap(self, system: Any) -> Any:
        """Undo what a micro-batch moves of them."""

        def change(inner: Any) -> None:
            step, moving = inner.trainer._step, inner.session.model.moving["E1"]
            functions = step._functions

            def gradient(_: Any, *args: Any) -> Any:
                held = [variable.numpy() for variable in moving]
                found = functions.gradient(*args)
                if inner.trainer.progress.epoch:
                    for variable, old in zip(moving, held, strict=True):
                        variable.assign(old)
                return found

            step._functions = overriding(functions, gradient=gradient)

        return after_open(system, change)


class OneOptionRecalibratedOnLastBatch(Fault):
    """The deepest option's statistics are those of the last batch; all others are pooled."""

    id, family = "one-option-recalibrated-on-last-batch", "BN"
    citation = "open-mmlab/mmdetection#560 (layers of some stages are in another mode)"
    expected = ("recal-statistics-exact",)
    touches = ("recalibration", "metric")

    def apply(self, parts: Parts) -> Parts:
        """Pool one batch for the units of that option."""

        def pool(
            batches: Sequence[Mapping[str, Any]], sizes: Sequence[int]
        ) -> PooledStatistics:  # fmt: skip
            found, last = pool_statistics(batches, sizes), pool_statistics(batches[-1:], sizes[-1:])
            return {unit: (last if unit.startswith("EB0/deep3/") else found)[unit]
                    for unit in found}  # fmt: skip

        return replaced(parts, "evaluation", pool_statistics=pool)


class RecalPoolsEightBatches(Fault):
    """However many batches recalibration is given, it pools the first eight."""

    id, family = "recal-pools-eight-batches", "BN"
    citation = "alexgkendall/caffe-segnet#116 (statistics of half of the images)"
    expected = ("recal-pooling",)
    touches = ("recalibration", "score_arithmetic")

    def apply(self, parts: Parts) -> Parts:
        """Leave out the ninth and all after it."""

        def pool(
            batches: Sequence[Mapping[str, Any]], sizes: Sequence[int]
        ) -> PooledStatistics:  # fmt: skip
            if len(batches) != len(sizes):
                return pool_statistics(batches, sizes)
            return pool_statistics(batches[:8], sizes[:8])

        return replaced(parts, "evaluation", pool_statistics=pool)


class RecalWithoutPartialBatch(Fault):
    """Recalibration leaves out a split's last batch, which is not full."""

    id, family = "recal-without-partial-batch", "BN"
    citation = "openvinotoolkit/nncf#829 (the last data point of every loader was dropped)"
    expected = ("recal-batches-first",)
    touches = ("served", "recalibration")

    def wrap(self, system: Any) -> Any:
        """Serve full batches alone, if there is one."""

        def change(inner: Any) -> None:
            fixed, size = inner.session.fixed, inner.session.config.eval_batch_size
            recal_batches = fixed.recal_batches

            def full(epoch: int) -> Any:
                found = recal_batches(epoch)
                return tuple(batch for batch in found if batch.size == size) or found

            fixed.recal_batches = full

        return after_open(system, change)
