"""Faults of the update and of its learning rate."""

from typing import Any

from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_open
from harness.runs.parts import Parts
from harness.training.adam import adam_step
from harness.training.schedule import cosine_lr

__all__ = [
    "BetaPowersFixed", "ExtraStep", "LastLayerFrozen", "RateFixedInGraph",
    "ScheduleByMicroSteps", "ScheduleNeverEnds", "UpdateNotApplied", "UpdateWithoutMoments",
]  # fmt: skip


class ExtraStep(Fault):
    """An epoch makes one step more than planned."""

    id, family = "extra-step", "CONFIG"
    citation = "PaddlePaddle/PaddleNLP#144 (max_steps ignored)"
    expected = (
        "clip-checks-planned-update",
        "ledger-steps-planned",
        "clip-checks-planned-micro-step",
    )
    touches = ("clip_checks",)

    def wrap(self, system: Any) -> Any:
        """Serve the first batch again at the end."""

        def change(inner: Any) -> None:
            provider = inner.session.provider

            def stream(_: Any, epoch: int, **kwargs: Any) -> Any:
                batches = list(provider.stream(epoch, **kwargs))
                yield from [*batches, batches[0]]

            inner.trainer.provider = overriding(provider, stream=stream)
            inner.trainer.total_steps += 10

        return after_open(system, change)


def _unapplied(*_: Any) -> None:
    return None


class UpdateNotApplied(Fault):
    """The optimizer holds other parameter objects than the model: its step changes nothing."""

    id, family = "update-not-applied", "TRAINCHECK"
    citation = "huggingface/accelerate#2665"
    expected = ("training-moves", "update-is-adam")
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Apply nothing."""
        return replaced(parts, "train", apply=_unapplied)


def _all_but_first(
    variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
) -> None:
    adam_step(variables[1:], first[1:], second[1:], powers, gradients[1:], lr)


class LastLayerFrozen(Fault):
    """A wrong name filter freezes a layer."""

    id, family = "layer-frozen", "TRAINCHECK"
    citation = "PyTorch forum 84911; open-mmlab/mmpretrain#702"
    expected = ("training-moves", "update-is-adam")
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Leave the first variable out."""
        return replaced(parts, "train", apply=_all_but_first)


def _descent(variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any) -> None:
    for variable, m, v, g in zip(variables, first, second, gradients, strict=True):
        m.assign(0.9 * m + 0.1 * g)
        v.assign(0.999 * v + 0.001 * g * g)
        variable.assign_sub(lr * m)
    powers[0].assign(powers[0] * 0.9)
    powers[1].assign(powers[1] * 0.999)


class UpdateWithoutMoments(Fault):
    """The second moment is kept and never used."""

    id, family = "update-without-second-moment", "TRAINCHECK"
    citation = "huggingface/accelerate#2665 (what is stepped is not what is held)"
    expected = ("update-is-adam",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Descend along the first moment."""
        return replaced(parts, "train", apply=_descent)


def _fixed_powers(
    variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
) -> None:
    adam_step(variables, first, second, powers, gradients, lr)
    powers[0].assign(0.9)
    powers[1].assign(0.999)


class BetaPowersFixed(Fault):
    """The bias correction is always that of the first step."""

    id, family = "beta-powers-fixed", "GRAD"
    citation = "OpenNMT/OpenNMT-py#617 (a constructor erases the optimizer's state)"
    expected = ("update-is-adam",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Reset both powers after each step."""
        return replaced(parts, "train", apply=_fixed_powers)


def _fixed_rate(
    variables: Any, first: Any, second: Any, powers: Any, gradients: Any, lr: Any
) -> None:
    adam_step(variables, first, second, powers, gradients, 0.0 * lr + 1e-3)


class RateFixedInGraph(Fault):
    """The learning rate was traced as a constant; the log shows the scheduled one."""

    id, family = "rate-fixed-in-graph", "CONFIG"
    citation = "ACEsuit/mace#884; thtrieu/darkflow#204"
    expected = ("update-is-adam",)
    touches = ("loss", "update", "micro_batches")

    def apply(self, parts: Parts) -> Parts:
        """Step with 1e-3 always."""
        return replaced(parts, "train", apply=_fixed_rate)


class ScheduleByMicroSteps(Fault):
    """The schedule advances per micro-batch."""

    id, family = "schedule-by-micro-steps", "GRAD"
    citation = "starVLA/starVLA#210; hmorimitsu/ptlflow commit 25295e8"
    expected = ("epoch-rows-add-up", "ledger-learning-rate", "update-is-adam")
    touches = ("update",)

    def apply(self, parts: Parts) -> Parts:
        """Advance three times as fast."""
        return replaced(
            parts, "train",
            schedule=lambda lr, step, total: cosine_lr(lr, min(3 * step, total - 1), total),
        )  # fmt: skip


class ScheduleNeverEnds(Fault):
    """The schedule counts on more steps than are planned."""

    id, family = "schedule-too-long", "CONFIG"
    citation = "LAION-AI/Open-Assistant#1991; hmorimitsu/ptlflow commit 25295e8"
    expected = ("epoch-rows-add-up", "ledger-learning-rate", "update-is-adam")
    touches = ("update",)

    def apply(self, parts: Parts) -> Parts:
        """Plan for twice the steps."""
        return replaced(parts, "train", schedule=lambda lr, s, total: cosine_lr(lr, s, 2 * total))
