"""Faults of fair cycles: replayed, never in place, trained late."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from harness.faults.base import Fault, replaced
from harness.runs.parts import Parts
from harness.streams import integer
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS
from harness.training.fairness import fair_cycle
from harness.training.train_parts import StepOutcome, run_step

__all__ = ["CyclesOneStepLater", "LastBlockLags", "NoOptionInItsPlace"]


class CyclesOneStepLater(Fault):
    """The fair cycle is drawn by epoch + step: an epoch replays the one before, a step earlier."""

    id, family = "cycles-one-step-later", "NAS"
    citation = "facebookresearch/metaseq#65 (seed + epoch here, seed + updates there: offsets meet)"
    touches = ("drawn_together", "draws", "own_draws", "epoch_log")
    expected = ("cycles-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Add the epoch to the step."""

        def draw(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
            return fair_cycle(seed=seed, epoch=0, step=epoch + step)

        return replaced(parts, "train", fair_cycle=draw)


class NoOptionInItsPlace(Fault):
    """The shuffle leaves out its own place: no option stays, 92 % of the archs never train."""

    id, family = "no-option-in-its-place", "NAS"
    citation = "dtao/lazy.js#142; proptest-rs/proptest#217 (swapped with j < i and not j <= i)"
    touches = ("drawn_together", "own_draws", "epoch_log")
    expected = ("cycles-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Shuffle by Sattolo's algorithm, which looks like that of Fisher and Yates."""

        def shuffled(seed: int, block: int, epoch: int, step: int) -> list[int]:
            order = list(range(NUM_OPTIONS))
            places = range(NUM_OPTIONS - 1, 0, -1)
            # Below i, where it must be below i + 1: every permutation is one cycle.
            drawn = integer(seed, f"train/cycle/{block}", epoch, step, below=tuple(places))
            for i, j in zip(places, drawn, strict=True):
                order[i], order[j] = order[j], order[i]
            return order

        def draw(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
            orders = [shuffled(seed, block, epoch, step) for block in range(NUM_BLOCKS)]
            return [tuple(order[i] for order in orders) for i in range(NUM_OPTIONS)]

        return replaced(parts, "train", fair_cycle=draw)


class _StaleLastBlock:
    """A step's functions, of which the gradient's last block switches one call late."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions
        self._last: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._functions, name)

    def gradient(self, code: Any, *arrays: Any) -> Any:
        """Run with the last block's option of the call before."""
        ran = code if self._last is None else tf.concat([code[:-1], self._last], 0)
        self._last = code[-1:]
        return self._functions.gradient(ran, *arrays)


class LastBlockLags(Fault):
    """An arch's first micro-batch still runs the last block's option of the step's arch before."""

    id, family = "last-block-lags", "NAS"
    citation = "open-mmlab/mmflow commit 607e1ed (#62) (a setting left from the call before)"
    touches = ("own_draws", "every_step", "update", "epoch_log", "loss")
    expected = ("loss-recomputed",)

    def apply(self, parts: Parts) -> Parts:
        """Switch the last block once the first micro-batch has run; a step starts as it should."""

        def step(
            step: Any, archs: Sequence[Sequence[int]], batch: Any, lr: float, taken: Any = None
        ) -> StepOutcome:
            functions = step._functions
            step._functions = _StaleLastBlock(functions)
            try:
                return run_step(step, archs, batch, lr, taken)
            finally:
                step._functions = functions

        return replaced(parts, "train", step=step)
