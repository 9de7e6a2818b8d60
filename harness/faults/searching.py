"""Faults of the supernet: which subnet runs, and how fairly."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from harness.evaluation.ranking import build_pool
from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.streams import integer
from harness.training.fairness import fair_cycle

__all__ = [
    "ArchIgnoredInEval", "ArchIgnoredInTraining", "CodesShifted", "CountsFabricated",
    "CyclesIgnoreEpoch", "CyclesIgnoreSeed", "DrawsUnfair", "LastOptionClamped",
    "OneCycleForever", "PoolIgnoresSeed",
]  # fmt: skip


def _evaluating(system: Any, code: Callable[[Any], Any]) -> Any:
    """Return a system that evaluates ``code(arch)`` where `arch` is asked for."""

    def change(inner: Any) -> None:
        evaluator = inner.session.evaluator
        recalibrate, predict, outputs = (
            evaluator.recalibrate, evaluator.predict, evaluator.outputs,
        )  # fmt: skip
        evaluator.recalibrate = lambda w, arch, *rest: recalibrate(w, code(arch), *rest)
        evaluator.predict = lambda w, arch, *rest: predict(w, code(arch), *rest)
        evaluator.outputs = lambda w, arch, *rest: outputs(w, code(arch), *rest)

    return after_open(system, change)


class ArchIgnoredInEval(Fault):
    """The subnet that is activated is not the one that is evaluated."""

    id, family = "arch-ignored-in-eval", "NAS"
    citation = "IntelLabs/Hardware-Aware-Automated-Machine-Learning#21; MCUFlowNet commit bd23c3a"
    expected = ("metric-alive", "arch-executed")
    touches = ("response",)

    def wrap(self, system: Any) -> Any:
        """Evaluate all-0 always."""
        return _evaluating(system, lambda arch: (0,) * len(arch))


class LastOptionClamped(Fault):
    """The largest option is clamped to the one below."""

    id, family = "last-option-clamped", "NAS"
    slow = True
    citation = "tf.switch_case takes an index out of range for the last branch (TensorFlow docs)"
    expected = ("arch-executed", "metric-alive")
    touches = ("response",)

    def wrap(self, system: Any) -> Any:
        """Evaluate option 1 for option 2."""
        return _evaluating(system, lambda arch: tuple(min(c, 1) for c in arch))


class CodesShifted(Fault):
    """Codes are read one block off."""

    id, family = "codes-shifted", "NAS"
    slow = True
    citation = "open-mmlab/mmrazor commit 5495accd (#202) (another fixed subnet than configured)"
    expected = ("arch-executed",)
    touches = ("response",)

    def wrap(self, system: Any) -> Any:
        """Rotate the code."""
        return _evaluating(system, lambda arch: (*arch[1:], arch[0]))


class ArchIgnoredInTraining(Fault):
    """All three archs of a step train the first one's options."""

    id, family = "one-arch-trains", "NAS"
    citation = "open-mmlab/mmrazor commit 1abad087 (#193) (masks shared between subnets)"
    expected = ("gradient-everywhere", "loss-recomputed")
    touches = ("loss", "update", "micro_batches")

    def wrap(self, system: Any) -> Any:
        """Run all-0 in training."""

        def change(inner: Any) -> None:
            functions = inner.trainer._step._functions
            zeros = tf.zeros([9], tf.int32)
            inner.trainer._step._functions = overriding(
                functions, gradient=lambda _, code, *rest: functions.gradient(zeros, *rest)
            )

        return after_open(system, change)


class PoolIgnoresSeed(Fault):
    """The pool is drawn by a default seed, whatever is configured."""

    id, family = "pool-ignores-seed", "NAS"
    citation = "tensorflow/tensorflow#22871 (a seed that is not consumed on this path)"
    expected = ("pool-as-declared",)

    def wrap(self, system: Any) -> Any:
        """Draw with seed 0."""

        def change(inner: Any) -> None:
            fixed, size = inner.session.fixed, inner.session.config.eval.eval_pool_size
            protocol = fixed.protocol
            fixed.protocol = lambda epoch, pool=None: protocol(
                epoch, pool=pool or build_pool(seed=0, size=size)
            )

        return after_open(system, change)


class _Fairness(Fault):
    family = "NAS"
    touches = ("epoch_log",)


class DrawsUnfair(_Fairness):
    """Archs are drawn independently: options are trained unevenly."""

    id = "archs-drawn-unfairly"
    citation = "Chu et al., FairNAS (ICCV 2021): what uniform sampling does"
    expected = ("fair-archs", "ledger-fairness")

    def apply(self, parts: Parts) -> Parts:
        """Draw three random codes."""
        return replaced(
            parts, "train",
            fair_cycle=lambda *, seed, epoch, step: [
                tuple(integer(seed, f"unfair/{i}", epoch, step, below=[3] * 9)) for i in range(3)
            ],
        )  # fmt: skip


class CountsFabricated(_Fairness):
    """Fairness counters are made from the epoch number."""

    id = "counts-fabricated"
    citation = "linenmin/MCUFlowNet commit d7260f2"
    expected = ("fair-archs", "ledger-fairness")

    def apply(self, parts: Parts) -> Parts:
        """Draw unfairly and report even counts."""
        broken = DrawsUnfair().apply(parts)
        return replaced(
            broken, "train",
            count=lambda counts, archs: tuple(tuple(o + 1 for o in row) for row in counts),
        )  # fmt: skip


class CyclesIgnoreEpoch(_Fairness):
    """Each epoch trains the same fair cycles."""

    id, family = "cycles-same-each-epoch", "DETERM"
    citation = "Project-MONAI/MONAI#1068; tensorflow/tensorflow#29101"
    expected = ("fair-archs", "ledger-fairness")

    def apply(self, parts: Parts) -> Parts:
        """Draw the first epoch's."""
        return replaced(
            parts, "train",
            fair_cycle=lambda *, seed, epoch, step: fair_cycle(seed=seed, epoch=1, step=step),
        )  # fmt: skip


class CyclesIgnoreSeed(_Fairness):
    """The seed never reaches the fair cycles."""

    id, family = "cycles-ignore-seed", "DETERM"
    citation = "lmcinnes/umap#1081 (a seed set, and not used)"
    expected = ("seeds-matter",)

    def apply(self, parts: Parts) -> Parts:
        """Draw with seed 0."""
        return replaced(
            parts, "train",
            fair_cycle=lambda *, seed, epoch, step: fair_cycle(seed=0, epoch=epoch, step=step),
        )  # fmt: skip


class OneCycleForever(_Fairness):
    """One fair cycle is drawn and used for every step."""

    id = "one-cycle-forever"
    citation = "linenmin/MCUFlowNet commit bd23c3a (all architectures were one model)"
    expected = ("fair-archs", "ledger-fairness")

    def apply(self, parts: Parts) -> Parts:
        """Draw the first."""
        return replaced(
            parts, "train",
            fair_cycle=lambda *, seed, epoch, step: fair_cycle(seed=seed, epoch=1, step=0),
        )  # fmt: skip
