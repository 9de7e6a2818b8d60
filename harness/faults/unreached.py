"""Faults that two epochs do not reach by themselves: bounds, maxima, seeds, figures that agree."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.evaluation.recalibration import pool_statistics
from harness.faults.base import Fault, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.supernet.epe import sample_epe
from harness.training.adam import BETA_1, BETA_2, EPSILON, adam_step
from harness.training.clipping import clip as sound_clip
from harness.training.epochlog import epoch_row

__all__ = [
    "BestByBestArch", "GradientValuesCutOff", "LargestSecondMoment", "RecalVarianceFloored",
    "SecondMomentNeverFalls", "SeedOfEightBits", "SeedZeroIsNone", "WeightsClamped",
    "ZeroFlowCountsUnknown",
]  # fmt: skip

_MOST = 3.0
"""Weights are clamped to this, and to its negative."""

_MOST_VALUE = 100.0
"""So are values of a gradient."""

_LEAST_VARIANCE = 1e-3

_DEFAULT_SEED = 42


class WeightsClamped(Fault):
    """After each update every weight is clamped to 3, which a short run never meets."""

    id, family = "weights-clamped", "GRAD"
    citation = "martinarjovsky/WassersteinGAN#32; k2-fsa/icefall#550 (norms, scalars are clamped)"
    expected = ("far-updates-follow",)
    touches = ("edge_steps", "far_updates")

    def apply(self, parts: Parts) -> Parts:
        """Clamp after Adam."""

        def apply(variables: Sequence[Any], *others: Any) -> None:
            adam_step(variables, *others)
            for variable in variables:
                variable.assign(tf.clip_by_value(variable, -_MOST, _MOST))

        return replaced(parts, "train", apply=apply)


class _Amsgrad(Fault):
    family = "GRAD"
    citation = "mir-group/nequip#322; keras-team/keras#8693 (Adam and AMSGrad, by a default)"
    expected = ("far-updates-follow",)
    touches = ("edge_steps", "far_updates")


def _moved(variable: Any, first: Any, divisor: Any, powers: Any, lr: Any) -> None:
    rate = lr * tf.sqrt(1 - powers[1]) / (1 - powers[0])
    variable.assign_sub(rate * first / (tf.sqrt(divisor) + EPSILON))


class SecondMomentNeverFalls(_Amsgrad):
    """The second moment is the largest so far, in the slot itself."""

    id = "second-moment-never-falls"

    def apply(self, parts: Parts) -> Parts:
        """Take the maximum in Adam's place."""

        def apply(
            variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
        ) -> None:
            for w, m, v, g in zip(variables, first, second, gradients, strict=True):
                m.assign(BETA_1 * m + (1 - BETA_1) * g)
                v.assign(tf.maximum(v, BETA_2 * v + (1 - BETA_2) * g * g))
                _moved(w, m, v, powers, lr)
            for power, beta in zip(powers, (BETA_1, BETA_2), strict=True):
                power.assign(power * beta)

        return replaced(parts, "train", apply=apply)


class LargestSecondMoment(_Amsgrad):
    """A step divides by the largest second moment so far, which is kept beside the slots."""

    id = "largest-second-moment"

    def apply(self, parts: Parts) -> Parts:
        """Keep the maximum of each."""
        largest: dict[int, Any] = {}

        def apply(
            variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
        ) -> None:
            for place, v in enumerate(second):
                if place not in largest:
                    with tf.init_scope():
                        largest[place] = tf.Variable(tf.zeros(v.shape), trainable=False)
            rows = zip(variables, first, second, gradients, strict=True)
            for place, (w, m, v, g) in enumerate(rows):
                m.assign(BETA_1 * m + (1 - BETA_1) * g)
                v.assign(BETA_2 * v + (1 - BETA_2) * g * g)
                largest[place].assign(tf.maximum(largest[place], v))
                _moved(w, m, largest[place], powers, lr)
            for power, beta in zip(powers, (BETA_1, BETA_2), strict=True):
                power.assign(power * beta)

        return replaced(parts, "train", apply=apply)


class GradientValuesCutOff(Fault):
    """Values of a gradient beyond 100 are cut off before its norm is taken."""

    id, family = "gradient-values-cut-off", "GRAD"
    citation = "Happy-Algorithms-League/hal-cgp#210; neuroailab/tfutils#115 (clipped by value)"
    expected = ("decay-alone",)
    touches = ("edge_steps", "far_updates")

    def apply(self, parts: Parts) -> Parts:
        """Cut them off in front of the clip."""

        def clip(gradients: Sequence[Any], threshold: Any) -> tuple[list[Any], Any, Any]:
            cut = [tf.clip_by_value(g, -_MOST_VALUE, _MOST_VALUE) for g in gradients]
            return sound_clip(cut, threshold)

        return replaced(parts, "train", clip=clip)


class RecalVarianceFloored(Fault):
    """A recalibrated variance is 0.001 at the least."""

    id, family = "recal-variance-floored", "BN"
    citation = "fastai/fastai_dev#83 (variances of few batches are clamped from below)"
    expected = ("recal-statistics-exact",)
    touches = ("recalibration",)

    def apply(self, parts: Parts) -> Parts:
        """Hold it there."""

        def pooled(*args: Any) -> dict[str, Any]:
            least = np.float32(_LEAST_VARIANCE)
            return {u: (m, np.maximum(v, least)) for u, (m, v) in pool_statistics(*args).items()}

        return replaced(parts, "evaluation", pool_statistics=pooled)


class SeedZeroIsNone(Fault):
    """A seed of 0 is taken for none, and 42 stands for it."""

    id, family = "seed-zero-is-none", "DETERM"
    citation = "huggingface/diffusers#10964; InternLM/lmdeploy#4526"
    expected = ("orders-independent",)
    touches = ("drawn_together",)

    def apply(self, parts: Parts) -> Parts:
        """Draw orders by another seed."""
        sound = parts.data.train_order

        def order(count: int, *, seed: int, **others: Any) -> list[int]:
            return sound(count, seed=seed or _DEFAULT_SEED, **others)

        return replaced(parts, "data", train_order=order)


class SeedOfEightBits(Fault):
    """Fair cycles are drawn by the last eight bits of the seed."""

    id, family = "seed-of-eight-bits", "DETERM"
    citation = "aws-neuron/aws-neuron-sdk#724; tc39/proposal-seeded-random#36 (seeds of 0 to 255)"
    expected = ("cycles-independent",)
    touches = ("drawn_together",)

    def apply(self, parts: Parts) -> Parts:
        """Drop the others."""
        sound = parts.train.fair_cycle

        def cycle(*, seed: int, **others: Any) -> list[tuple[int, ...]]:
            return sound(seed=seed % 256, **others)

        return replaced(parts, "train", fair_cycle=cycle)


class BestByBestArch(Fault):
    """The best checkpoint is that of the best arch, and not that of the lowest mean."""

    id, family = "best-by-best-arch", "RESUME"
    citation = "allenai/deep_qa#199 (the checkpoint is the best by another metric)"
    expected = ("ledger-best-checkpoint",)
    touches = ("kept",)

    def apply(self, parts: Parts) -> Parts:
        """Remember the scores of the row that is made just before."""
        now: Mapping[str, list[float]] = {"lowest": [math.inf], "best": [math.inf]}

        def row(progress: Any, scores: Any, **others: Any) -> Any:
            if scores is not None:
                now["lowest"][0] = min(scores.per_arch_epe)
            return epoch_row(progress, scores, **others)

        def is_best(_: float, best: float | None) -> bool:
            if best is not None and not now["lowest"][0] < now["best"][0]:
                return False
            now["best"][0] = now["lowest"][0]
            return True

        return replaced(parts, "train", row=row, is_best=is_best)


class ZeroFlowCountsUnknown(Fault):
    """The zero-flow EPE of the log averages over unknown pixels too, as a flow of 0."""

    id, family = "zero-flow-counts-unknown", "METRIC"
    citation = "ClementPinard/FlowNetTorch#16 (an EPE over values that are not valid)"
    expected = ("zero-flow-logged",)
    touches = ("logged_zero_flow",)

    def wrap(self, system: Any) -> Any:
        """Put it into the record of each evaluation of training."""

        def change(inner: Any) -> None:
            trainer, sound = inner.trainer, inner.trainer.surround

            def surround(options: Any, evaluate: Any) -> None:
                def scored(*args: Any, **others: Any) -> Any:
                    found = [
                        epe
                        for batch in inner.session.fixed.eval_batches()
                        for epe in sample_epe(
                            np.zeros_like(batch.flow), batch.flow, np.ones_like(batch.valid)
                        )
                    ]
                    mean = math.fsum(found) / len(found)
                    return dataclasses.replace(evaluate(*args, **others), zero_flow_epe=mean)

                sound(options, evaluate and scored)

            trainer.surround = surround

        return after_open(system, change)
