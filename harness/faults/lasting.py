"""Faults that a first epoch or a few batches do not show: of what ends, or begins anew."""

from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, overriding, replaced
from harness.faults.hooks import after_gradient, after_open
from harness.fc2.batch import Batch
from harness.runs.parts import Parts

__all__ = [
    "ClipEndsWithFirstEpoch", "CropsBeginAgain", "CyclesBeginAgain", "DecayEndsWithFirstEpoch",
    "NoStatisticsOfPartialBatch", "OrdersBeginAgain", "RecalServedFourBatches",
]  # fmt: skip

_PERIOD = 16
"""Epochs after which draws begin again."""

_STEPS = 256
"""Steps after which fair cycles do, within an epoch."""


class OrdersBeginAgain(Fault):
    """Epoch 17 trains in the order of epoch 1, and so on."""

    id, family = "orders-begin-again", "DETERM"
    citation = "agentscope-ai/Trinity-RFT#593 (epochs that use a permutation once more)"
    expected = ("orders-independent",)
    touches = ("drawn_together",)

    def apply(self, parts: Parts) -> Parts:
        """Draw by the epoch's remainder."""
        sound = parts.data.train_order

        def order(count: int, *, epoch: int, **others: Any) -> list[int]:
            return sound(count, epoch=epoch % _PERIOD, **others)

        return replaced(parts, "data", train_order=order)


class CropsBeginAgain(Fault):
    """Epoch 17 crops at the places of epoch 1, and so on."""

    id, family = "crops-begin-again", "DETERM"
    citation = "agentscope-ai/Trinity-RFT#593 (epochs that use what was drawn once more)"
    expected = ("windows-independent",)
    touches = ("drawn_together",)

    def apply(self, parts: Parts) -> Parts:
        """Draw by the epoch's remainder."""
        sound = parts.data.random

        def window(*sizes: Any, epoch: int, **others: Any) -> Any:
            return sound(*sizes, epoch=epoch % _PERIOD, **others)

        return replaced(parts, "data", random=window)


class CyclesBeginAgain(Fault):
    """Step 257 of an epoch trains the fair cycle of step 1, and so on."""

    id, family = "cycles-begin-again", "NAS"
    citation = "agentscope-ai/Trinity-RFT#593 (what was drawn is used once more)"
    expected = ("cycles-independent",)
    touches = ("drawn_together",)

    def apply(self, parts: Parts) -> Parts:
        """Draw by the step's remainder."""
        sound = parts.train.fair_cycle

        def cycle(*, step: int, **others: Any) -> list[tuple[int, ...]]:
            return sound(step=step % _STEPS, **others)

        return replaced(parts, "train", fair_cycle=cycle)


class RecalServedFourBatches(Fault):
    """However many batches recalibration is to have, it is served four at most."""

    id, family = "recal-served-four-batches", "BN"
    citation = "Visual-Behavior/aloception-oss#216 (10 batches at most, whatever the set holds)"
    expected = ("recal-batches-first",)
    touches = ("served",)

    def wrap(self, system: Any) -> Any:
        """Cut off the rest."""

        def change(inner: Any) -> None:
            fixed, sound = inner.session.fixed, inner.session.fixed.recal_batches
            fixed.recal_batches = lambda epoch: sound(epoch)[:4]

        return after_open(system, change)


class DecayEndsWithFirstEpoch(Fault):
    """From the second epoch on no gradient holds the decay, which is still in the loss."""

    id, family = "decay-ends-with-first-epoch", "GRAD"
    citation = "NVIDIA/Megatron-LM#7468 (parameters that are left with another decay)"
    expected = ("decay-alone",)
    touches = ("edge_steps",)

    def wrap(self, system: Any) -> Any:
        """Take the decay's gradient away again."""

        def change(gradients: Any, inner: Any) -> None:
            if inner.trainer.progress.epoch:
                decay = inner.session.config.train.weight_decay
                for name, gradient in gradients.items():
                    if name.endswith("/kernel"):
                        gradient.assign_sub(decay * inner.session.model.weights[name])

        return after_gradient(system, change)


class ClipEndsWithFirstEpoch(Fault):
    """From the second epoch on clips are counted, and the unclipped gradient is applied."""

    id, family = "clip-ends-with-first-epoch", "GRAD"
    citation = "k2-fsa/icefall#1292 (the clip is reported, and hardly ever applied after epoch 1)"
    expected = ("clip-applied",)
    touches = ("clip_checks",)

    def wrap(self, system: Any) -> Any:
        """Put the sum back that was there before the clip."""

        def change(inner: Any) -> None:
            step, trainer = inner.trainer._step, inner.trainer
            functions = step._functions

            def unclipped(make: Any) -> Any:
                kept = [tf.identity(total) for total in functions._sums]
                found = make()
                for total, old in zip(functions._sums, kept, strict=True):
                    total.assign(old)
                return found

            def clip(_: Any, threshold: Any) -> Any:
                if not trainer.progress.epoch:
                    return functions.clip(threshold)
                return unclipped(lambda: functions.clip(threshold))

            def accumulate(_: Any, threshold: Any, weight: Any) -> Any:
                if not trainer.progress.epoch:
                    return functions.accumulate_clipped(threshold, weight)
                found = unclipped(lambda: functions.accumulate_clipped(threshold, weight))
                functions.accumulate(weight)
                return found

            step._functions = overriding(functions, clip=clip, accumulate_clipped=accumulate)

        return after_open(system, change)


class NoStatisticsOfPartialBatch(Fault):
    """A last batch that is not full is trained on, and no moving statistic takes it in."""

    id, family = "no-statistics-of-partial-batch", "BN"
    citation = "torch/nn#1271 (a last batch of one sample leaves running statistics as they are)"
    expected = ("gradients-go-on",)
    touches = ("every_step", "micro_statistics")
    modes = ("full_pass",)

    def wrap(self, system: Any) -> Any:
        """Undo what such a batch moved."""

        def change(inner: Any) -> None:
            model, full = inner.session.model, inner.session.config.train.batch_size
            trainer, run = inner.trainer, inner.trainer._parts.step

            def step(own: Any, archs: Any, batch: Batch, *rest: Any) -> Any:
                statistics = [value for pair in model.moving.values() for value in pair]
                kept = [value.numpy() for value in statistics]
                found = run(own, archs, batch, *rest)
                if batch.size < full:
                    for value, old in zip(statistics, kept, strict=True):
                        value.assign(old)
                return found

            trainer._parts = overriding(trainer._parts, step=lambda _, *args: step(*args))

        return after_open(system, change)
