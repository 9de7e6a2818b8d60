"""Faults of numbers that are kept in too few bits."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, replaced
from harness.runs.parts import Parts
from harness.training.adam import adam_step

__all__ = ["AccumulatedInBfloat16", "RateInHalf"]


class AccumulatedInBfloat16(Fault):
    """The gradients of micro-batches are added up in bfloat16."""

    id, family = "accumulated-in-bfloat16", "GRAD"
    citation = "deepspeedai/DeepSpeed#1800 (gradient accumulation in bf16)"
    touches = (
        "micro_batches", "step_arithmetic", "update", "every_step", "loss",
    )  # fmt: skip
    expected = ("accumulated-gradient",)

    def apply(self, parts: Parts) -> Parts:
        """Round the sum and what is added to it; the optimizer gets float32 again."""

        def accumulate(total: Sequence[Any], gradients: Sequence[Any], weight: Any) -> list[Any]:
            half = tf.bfloat16
            return [
                tf.cast(tf.cast(t, half) + tf.cast(weight * g, half), tf.float32)
                for t, g in zip(total, gradients, strict=True)
            ]

        return replaced(parts, "train", accumulate=accumulate)


class RateInHalf(Fault):
    """The optimizer keeps its rate in half precision; schedule and log have it whole."""

    id, family = "rate-in-half", "GRAD"
    citation = "tinygrad/tinygrad#4297 (optim.lr in half, which float32 weights are stepped with)"
    touches = ("update", "every_step", "step_arithmetic")
    expected = ("every-update-is-adam",)

    def apply(self, parts: Parts) -> Parts:
        """Round on the way into Adam: up to 0.05 % off, and in steps of 6e-8 at a cosine's end."""

        def apply(
            variables: Sequence[Any], first: Sequence[Any], second: Sequence[Any],
            powers: tuple[Any, Any], gradients: Sequence[Any], lr: Any,
        ) -> None:  # fmt: skip
            kept = tf.cast(tf.cast(lr, tf.float16), tf.float32)
            adam_step(variables, first, second, powers, gradients, kept)

        return replaced(parts, "train", apply=apply)
