"""Faults of what a step trains: other archs than it logs, other pixels than it serves."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.fc2.batch import Batch
from harness.fc2.provider import assemble
from harness.runs.parts import Parts

__all__ = [
    "LeavingPixelsUntrained", "PartialBatchTrainsArchsBefore", "RemainderOfPassUnstepped",
]  # fmt: skip


class PartialBatchTrainsArchsBefore(Fault):
    """A last batch that is not full trains the archs of the step before; its own are logged.

    The codes are put into a buffer together with a full batch, which a partial one passes by.
    """

    id, family = "partial-batch-trains-archs-before", "NAS"
    citation = "coxlab/prednet#67 (a last, smaller batch goes the way of a full one)"
    expected = ("logged-archs-trained",)
    touches = ("every_step", "own_draws", "epoch_log", "partial_batches")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Keep the codes of the last full batch, for each run's own step."""
        run = parts.train.step
        buffers: dict[int, tuple[int, Sequence[Sequence[int]]]] = {}

        def step(inner: Any, archs: Sequence[Sequence[int]], batch: Batch, *rest: Any) -> Any:
            size, codes = buffers.get(id(inner), (0, archs))
            if batch.size >= size:
                size, codes = buffers[id(inner)] = batch.size, archs
            return run(inner, codes, batch, *rest)

        return replaced(parts, "train", step=step)


class RemainderOfPassUnstepped(Fault):
    """What a pass has left for a last batch is computed on, and no step is made of it."""

    id, family = "remainder-of-pass-unstepped", "GRAD"
    citation = "timoschick/pet#36; tomhosking/torchseq#8; WalkingMeatAxolotl/AnimaLoraStudio#305"
    expected = ("passes-trained-whole",)
    touches = ("whole_passes", "consumed", "every_step")
    modes = ("full_pass",)

    def apply(self, parts: Parts) -> Parts:
        """Apply nothing of a batch that is smaller than the largest, and say that none was."""
        run, largest = parts.train.step, [0]

        def step(inner: Any, archs: Any, batch: Batch, lr: float, taken: Any = None) -> Any:
            largest[0] = max(largest[0], batch.size)
            if batch.size == largest[0]:
                return run(inner, archs, batch, lr, taken)
            functions = inner._functions
            inner._functions = overriding(functions, apply=lambda *_: True)
            try:
                return run(inner, archs, batch, lr, None)
            finally:
                inner._functions = functions

        return replaced(parts, "train", step=step)


class LeavingPixelsUntrained(Fault):
    """Pixels that move out of the crop count as unknown in training, and are scored all the same.

    The mask is one of occlusions: what cannot be seen in the second frame. FlyingChairs knows
    these vectors, and an evaluation counts them.
    """

    id, family = "leaving-pixels-untrained", "GEOM"
    citation = "jianfenglihg/UnOpticalFlow#4 (the mask of what stays visible, for all pixels)"
    expected = (
        "train-draws-declared",
        "loss-recomputed",
    )
    touches = ("draws", "consumed", "loss", "own_labels")

    def apply(self, parts: Parts) -> Parts:
        """Mask training batches once they are put together."""

        def masked(*args: Any, role: Any, **settings: Any) -> Batch:
            batch = assemble(*args, role=role, **settings)
            if role != "train":
                return batch
            height, width = batch.valid.shape[1:]
            rows, columns = np.mgrid[:height, :width]
            x, y = columns + batch.flow[..., 0], rows + batch.flow[..., 1]
            stays = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
            return dataclasses.replace(batch, valid=batch.valid & stays)

        return replaced(parts, "data", assemble=masked)
