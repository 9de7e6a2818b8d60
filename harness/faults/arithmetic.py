"""Faults of arithmetic that one configuration may never show: sizes, counts, ends of ranges."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.evaluation.ranking import build_pool, kendall_tau
from harness.evaluation.recalibration import pool_statistics
from harness.faults.base import Fault, replaced
from harness.fc2.crop import Window, center_window, random_window
from harness.fc2.order import train_order
from harness.runs.parts import Parts
from harness.training.schedule import cosine_lr, micro_batches

__all__ = [
    "AddIsLost", "CropClamped", "GradientNormalised", "LastPlaceMissed", "MeanInFloat32",
    "NanRanksLast", "PlanRoundsDown", "PoolPadded", "RemainderDropped", "ScheduleAStepLong",
    "TailDropped", "VariancesAveraged",
]  # fmt: skip


class CropClamped(Fault):
    """A crop that does not fit into the frame is made smaller in silence."""

    id, family = "crop-clamped", "GEOM"
    citation = "open-mmlab/mmflow commit 3d064bf (#65), a size that does not fit is accepted"
    expected = ("centre-window",)

    def apply(self, parts: Parts) -> Parts:
        """Cut the crop down to the frame."""

        def center(frame: tuple[int, int], crop: tuple[int, int]) -> Window:
            return center_window(frame, (min(crop[0], frame[0]), min(crop[1], frame[1])))

        return replaced(parts, "data", center=center)


class LastPlaceMissed(Fault):
    """The last row and column of places are never cropped."""

    id, family = "last-place-missed", "GEOM"
    citation = "numpy.random.Generator.integers leaves out its upper end (NumPy docs)"
    expected = ("random-window",)

    def apply(self, parts: Parts) -> Parts:
        """Draw in a frame that is a row and a column smaller."""

        def random(frame: tuple[int, int], crop: tuple[int, int], **draw: Any) -> Window:
            smaller = (max(crop[0], frame[0] - 1), max(crop[1], frame[1] - 1))
            return random_window(smaller, crop, **draw)

        return replaced(parts, "data", random=random)


class TailDropped(Fault):
    """A full pass leaves out the samples that do not fill a batch."""

    id, family = "tail-dropped", "DATA"
    citation = "thuml/Autoformer#104; google/uncertainty-baselines#303"
    expected = ("orders",)

    def apply(self, parts: Parts) -> Parts:
        """Keep whole batches alone, unless there is none."""

        def order(count: int, *, batch_size: int, steps: int | None, **draw: Any) -> list[int]:
            found = train_order(count, batch_size=batch_size, steps=steps, **draw)
            whole = len(found) // batch_size * batch_size
            return found[: whole or len(found)]

        return replaced(parts, "data", train_order=order)


class PlanRoundsDown(Fault):
    """The planned number of clip checks leaves out partial micro-batches."""

    id, family = "plan-rounds-down", "GRAD"
    citation = "NVIDIA-NeMo/Automodel#2257 (a schedule sized by floor division)"
    expected = ("clip-plan",)

    def apply(self, parts: Parts) -> Parts:
        """Divide without the remainder."""

        def expected_checks(sizes: Sequence[int], micro: int, *, position: str) -> int:
            if position not in ("micro_step", "update"):
                msg = f"clip position {position!r}: expected micro_step or update"
                raise ValueError(msg)
            return len(sizes) if position == "update" else 3 * sum(s // micro for s in sizes)

        return replaced(parts, "train", expected_checks=expected_checks)


class RemainderDropped(Fault):
    """A batch's last, partial micro-batch is not trained on."""

    id, family = "remainder-dropped", "GRAD"
    citation = "tracel-ai/burn#5695; NVIDIA-NeMo/Automodel#2257"
    expected = ("accumulation",)

    def apply(self, parts: Parts) -> Parts:
        """Keep whole micro-batches alone, unless there is none."""

        def pieces(batch: int, micro: int) -> list[slice]:
            found = micro_batches(batch, micro)
            return found[: batch // micro] or found

        return replaced(parts, "train", micro_batches=pieces)


class AddIsLost(Fault):
    """The accumulator holds the last micro-batch alone."""

    id, family = "add-is-lost", "GRAD"
    citation = "tensorflow/addons#2525 (the add is pruned from the graph)"
    expected = ("accumulated-gradient", "accumulation")

    def apply(self, parts: Parts) -> Parts:
        """Replace instead of adding."""

        def accumulate(_: Any, gradients: Any, weight: Any) -> list[Any]:
            return [gradient * weight for gradient in gradients]

        return replaced(parts, "train", accumulate=accumulate)


class GradientNormalised(Fault):
    """Gradients below the threshold are scaled up to it."""

    id, family = "gradient-normalised", "GRAD"
    citation = "tensorflow/tensorflow#29108; keras-team/keras#13575 (two clips under one name)"
    expected = ("clipping",)

    def apply(self, parts: Parts) -> Parts:
        """Scale always."""

        def clip(gradients: Any, threshold: Any) -> tuple[list[Any], Any, Any]:
            norm = tf.linalg.global_norm(list(gradients))
            return [g * (threshold / norm) for g in gradients], norm, threshold

        return replaced(parts, "train", clip=clip)


class ScheduleAStepLong(Fault):
    """The schedule is laid out over a step more than is planned."""

    id, family = "schedule-a-step-long", "CONFIG"
    citation = "LAION-AI/Open-Assistant#1991; hmorimitsu/ptlflow commit 25295e8"
    expected = ("learning-rate",)

    def apply(self, parts: Parts) -> Parts:
        """Add a step to the total."""
        return replaced(
            parts, "train", schedule=lambda base, step, total: cosine_lr(base, step, total + 1)
        )


class MeanInFloat32(Fault):
    """The mean over samples is summed in float32, one after another."""

    id, family = "mean-in-float32", "METRIC"
    citation = "hmorimitsu/ptlflow commit 83f20e9 (metrics in reduced precision)"
    expected = ("sample-weights",)

    def apply(self, parts: Parts) -> Parts:
        """Sum in order, and refuse an empty list as before."""

        def mean(scores: Sequence[float]) -> float:
            if not len(scores):
                msg = "mean of no samples"
                raise ValueError(msg)
            return float(np.cumsum(np.asarray(scores, np.float32))[-1]) / len(scores)

        return replaced(parts, "evaluation", mean=mean)


class VariancesAveraged(Fault):
    """Recalibration averages the variances of batches: how their means differ is left out."""

    id, family = "variances-averaged", "BN"
    citation = "Lightning-AI/pytorch-lightning#15113; keras-team/keras#8794"
    expected = ("recal-pooling",)

    def apply(self, parts: Parts) -> Parts:
        """Average by samples."""

        def pool(batches: Sequence[Any], sizes: Sequence[int]) -> Any:
            right = pool_statistics(batches, sizes)
            return {
                unit: (mean, np.average([b[unit][1] for b in batches], axis=0, weights=sizes))
                for unit, (mean, _) in right.items()
            }

        return replaced(parts, "evaluation", pool_statistics=pool)


class NanRanksLast(Fault):
    """An arch whose score is NaN is ranked as if it were the worst."""

    id, family = "nan-ranks-last", "NAN"
    citation = "opencv/opencv#9183; linenmin/MCUFlowNet commit 9ee674c (a proxy that is no number)"
    expected = ("kendall-tau",)

    def apply(self, parts: Parts) -> Parts:
        """Replace NaN by a large number."""

        def rank(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, str | None]:
            def filled(scores: Sequence[float]) -> list[float]:
                return [1e30 if math.isnan(score) else score for score in scores]

            return kendall_tau(filled(one), filled(other))

        return Parts(parts.data, parts.train, parts.evaluation, rank, parts.pool)


class PoolPadded(Fault):
    """A pool is filled up with an arch that it already has."""

    id, family = "pool-padded", "NAS"
    citation = "pytorch/pytorch#25162; mosaicml/composer#2218 (padded duplicates are scored)"
    expected = ("pool-size",)

    def apply(self, parts: Parts) -> Parts:
        """Repeat the first arch in the last place of a large pool."""

        def pool(*, seed: int, size: int) -> tuple[tuple[int, ...], ...]:
            found = build_pool(seed=seed, size=size)
            return (*found[:-1], found[0]) if size > 10 else found

        return Parts(parts.data, parts.train, parts.evaluation, parts.rank, pool)
