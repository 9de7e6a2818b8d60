"""Faults of draws that hang together: ends, repeated samples, crops and a seed."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.faults.base import Fault, replaced
from harness.fc2.crop import Window, random_window
from harness.fc2.order import train_order
from harness.runs.parts import Parts
from harness.streams import raw
from harness.training.model import initial_weight

__all__ = [
    "CropFollowsShuffle", "EndsDrawnHalfAsOften", "RepeatedDrawKeepsItsCrop", "StemIgnoresSeed",
]  # fmt: skip


class EndsDrawnHalfAsOften(Fault):
    """Of fixed steps, the first and the last sample are drawn half as often as any other.

    A uniform number is scaled to the last index and rounded, where it should be scaled to the
    count and cut off. Acts under ``train.epoch_mode: fixed_steps`` alone.
    """

    id, family = "ends-drawn-half-as-often", "DATA"
    citation = "UnofficialSF/LightningFlowComponents#1552 (Math.round(random * (size - 1)))"
    expected = ("orders-independent",)
    touches = ("draws", "drawn_together", "windows")
    modes = ("fixed_steps",)

    def apply(self, parts: Parts) -> Parts:
        """Round; a full pass is a permutation and stays sound."""

        def order(
            count: int, *, seed: int, epoch: int, batch_size: int, steps: int | None
        ) -> list[int]:
            if steps is None:
                return train_order(
                    count, seed=seed, epoch=epoch, batch_size=batch_size, steps=steps
                )
            bits = raw(seed, "train/draw", epoch, size=steps * batch_size) >> np.uint64(11)
            return [round(float(u) * 2.0**-53 * (count - 1)) for u in bits]

        return replaced(parts, "data", train_order=order)


class _Order:
    """The sound training order, which keeps something of each draw for the crop.

    Parameters
    ----------
    keep : callable
        Returns a value for each draw, of the order, seed, epoch, and steps or None.
    """

    def __init__(self, keep: Callable[[list[int], int, int, int | None], Sequence[int]]) -> None:
        self._keep, self._kept = keep, dict[tuple[int, int], Sequence[int]]()

    def __call__(
        self, count: int, *, seed: int, epoch: int, batch_size: int, steps: int | None
    ) -> list[int]:
        """Return the order of an epoch."""
        found = train_order(count, seed=seed, epoch=epoch, batch_size=batch_size, steps=steps)
        self._kept[seed, epoch] = self._keep(found, seed, epoch, steps)
        return found

    def of(self, seed: int, epoch: int, index: int) -> int | None:
        """Return what was kept of a draw; None of one that was never ordered."""
        kept = self._kept.get((seed, epoch), ())
        return int(kept[index]) if index < len(kept) else None


class RepeatedDrawKeepsItsCrop(Fault):
    """A sample that is drawn again in an epoch is found in a cache of crops: the same window.

    A full pass draws each sample once. Acts under ``train.epoch_mode: fixed_steps`` alone.
    """

    id, family = "repeated-draw-keeps-its-crop", "CACHE"
    citation = "tensorflow/tensorflow#47755 (samples are cached after their augmentation)"
    expected = ("windows-independent",)
    touches = ("draws", "drawn_together", "windows")
    modes = ("fixed_steps",)

    def apply(self, parts: Parts) -> Parts:
        """Use the number of the sample's first draw in the epoch."""

        def first_draws(found: list[int], *_: Any) -> list[int]:
            # Backwards, so that the first draw of a sample stays.
            first = {sample: index for index, sample in reversed(list(enumerate(found)))}
            return [first[sample] for sample in found]

        order = _Order(first_draws)

        def window(
            frame: tuple[int, int], crop: tuple[int, int], *, seed: int, epoch: int, index: int
        ) -> Window:
            first = order.of(seed, epoch, index)
            number = index if first is None else first
            return random_window(frame, crop, seed=seed, epoch=epoch, index=number)

        return replaced(parts, "data", train_order=order, random=window)


class CropFollowsShuffle(Fault):
    """A sample's place in the epoch and the height of its crop come from one random number.

    The epoch begins with crops at the top of the frames and ends with those at the bottom: each
    batch sees one strip. Over a whole epoch, rows are as evenly spread as ever.
    """

    id, family = "crop-follows-shuffle", "DETERM"
    citation = "kvablack/dlimp#5 (one seed for several operations: they are correlated)"
    expected = ("windows-independent",)
    touches = ("draws", "drawn_together", "windows")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Take the top from the number by which the shuffle has sorted the sample."""

        def sort_keys(found: list[int], seed: int, epoch: int, steps: int | None) -> Any:
            # Draws with replacement sort nothing.
            return () if steps else raw(seed, "train/order", epoch, size=len(found))[found]

        order = _Order(sort_keys)

        def window(
            frame: tuple[int, int], crop: tuple[int, int], *, seed: int, epoch: int, index: int
        ) -> Window:
            sound = random_window(frame, crop, seed=seed, epoch=epoch, index=index)
            key = order.of(seed, epoch, index)
            if key is None:
                return sound
            # The 64-bit number as a share of the places that there are.
            return dataclasses.replace(sound, top=(key * (frame[0] - crop[0] + 1)) >> 64)

        return replaced(parts, "data", train_order=order, random=window)


class StemIgnoresSeed(Fault):
    """The first layer's kernel starts alike whatever the seed: its initialiser has its own.

    Everything else follows the seed, so that runs of two seeds differ from the first step.
    """

    id, family = "stem-ignores-seed", "DETERM"
    citation = "lululxvi/deepxde#2086 (an initialiser that no seed of the run reaches)"
    expected = ("seeds-matter",)
    touches = ("drawn_together", "elsewhere")

    def apply(self, parts: Parts) -> Parts:
        """Draw one kernel by a default seed."""

        def initial(seed: int, name: str, shape: tuple[int, ...]) -> Any:
            return initial_weight(0 if name == "E0/kernel" else seed, name, shape)

        return replaced(parts, "train", initial=initial)
