"""Faults of augmentation whose generators start over."""

import dataclasses
from typing import Any

from harness.faults.base import Fault, overriding, replaced
from harness.fc2.crop import Window, random_window
from harness.runs.parts import Parts

__all__ = ["WorkersSeededByNumber", "WorkersShareAStream"]


class _Augmenting(Fault):
    """The random crop of a system that serves it as an augmentation."""

    family = "PARALLEL"
    touches = ("augmentation",)

    def wrap(self, system: Any) -> Any:
        """Declare an augmentation."""
        return overriding(
            system,
            describe=lambda inner: dataclasses.replace(inner.describe(), augmentation=True),
        )


class WorkersSeededByNumber(_Augmenting):
    """Workers are seeded with their number in each epoch: it draws what the one before drew."""

    id = "workers-seeded-by-number"
    citation = (
        "princeton-vl/RAFT#127 (asked of its core/datasets.py); pytorch/pytorch#41329; "
        "xingyizhou/CenterNet#233; Lightning-AI/pytorch-lightning#20412"
    )
    expected = ("augmentation-drawn-anew",)

    def apply(self, parts: Parts) -> Parts:
        """Draw whatever the seed and the epoch."""

        def window(frame: Any, crop: Any, *, index: int, **_: Any) -> Window:
            return random_window(frame, crop, seed=0, epoch=1, index=index)

        return replaced(parts, "data", random=window)


class WorkersShareAStream(_Augmenting):
    """Two workers inherit one generator state: the second draws for its batch what the first did.

    Each epoch and each seed has draws of its own.
    """

    id = "workers-share-a-stream"
    citation = "pytorch/pytorch#5059; xingyizhou/CenterNet#233; open-mmlab/OpenPCDet#886"
    expected = ("augmentation-drawn-anew",)

    def apply(self, parts: Parts) -> Parts:
        """Draw batches of three, as the setting of faults has them, in pairs."""

        def window(frame: Any, crop: Any, *, index: int, **k: Any) -> Window:
            batch, place = divmod(index, 3)
            return random_window(frame, crop, index=batch // 2 * 3 + place, **k)

        return replaced(parts, "data", random=window)
