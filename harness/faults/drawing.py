"""Faults of draws that each look right alone: shared, short-sighted, or drawn before."""

import dataclasses
from typing import Any

import numpy as np

from harness.faults.base import Fault, overriding, replaced
from harness.fc2.crop import Window, random_window
from harness.fc2.order import train_order
from harness.runs.parts import Parts
from harness.streams import integer, permutation
from harness.training.fairness import fair_cycle
from harness.training.model import initial_weight

__all__ = [
    "BlocksShareOrder", "ChunksShuffled", "CropsOneDraw", "CropsSharedByPairs", "CyclesOfTenSteps",
    "DrawsSaidToBeOthers", "EpochAddedToSeed", "FiltersRepeated", "KernelsByShape",
    "KernelsOfWrongFans", "LastPlaceNeverCropped", "ShuffleBufferOfFour", "SignsByShape",
    "WorkersSeededAlike",
]  # fmt: skip


class _Drawing(Fault):
    family = "DATA"
    touches = ("drawn_together",)


class BlocksShareOrder(_Drawing):
    """One permutation of the options serves every block of a step: three archs in all."""

    id, family = "blocks-share-order", "NAS"
    citation = (
        "Chu et al., FairNAS (ICCV 2021), algorithm 1 draws one permutation per layer; "
        "open-mmlab/OpenPCDet#886 (generators seeded alike)"
    )
    expected = ("cycles-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Draw the first block's."""

        def cycle(*, seed: int, epoch: int, step: int) -> Any:
            archs = fair_cycle(seed=seed, epoch=epoch, step=step)
            return [(arch[0],) * len(arch) for arch in archs]

        return replaced(parts, "train", fair_cycle=cycle)


class CyclesOfTenSteps(_Drawing):
    """Ten fair cycles of an epoch are made beforehand, and gone through again and again."""

    id, family = "cycles-of-ten-steps", "NAS"
    citation = "wolny/pytorch-3dunet#32 (the same numbers come round every few batches)"
    expected = ("cycles-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Start over after ten."""
        return replaced(
            parts, "train",
            fair_cycle=lambda *, seed, epoch, step: fair_cycle(
                seed=seed, epoch=epoch, step=step % 10
            ),
        )  # fmt: skip


class CropsSharedByPairs(_Drawing):
    """Two samples after one another are cropped at one place."""

    id = "crops-shared-by-pairs"
    citation = "apple/turicreate#2892 (operations of one seed crop several samples alike)"
    expected = ("windows-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Draw by pair."""
        return replaced(
            parts, "data",
            random=lambda frame, crop, *, index, **k: random_window(
                frame, crop, index=index // 2, **k
            ),
        )  # fmt: skip


class WorkersSeededAlike(_Drawing):
    """Two loader workers inherit one generator state: every second batch has the crops before."""

    id, family = "workers-seeded-alike", "PARALLEL"
    citation = "pytorch/pytorch#5059; facebookresearch/fairseq#1383"
    expected = ("windows-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Draw batches of five in pairs, as two workers do that take turns."""

        def window(frame: Any, crop: Any, *, index: int, **k: Any) -> Window:
            batch, place = divmod(index, 5)
            return random_window(frame, crop, index=batch // 2 * 5 + place, **k)

        return replaced(parts, "data", random=window)


class CropsOneDraw(_Drawing):
    """One random number gives top and left: crops lie on the diagonal."""

    id = "crops-on-diagonal"
    citation = "apple/turicreate#2892 (operations of one seed draw the same number)"
    expected = ("windows-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Take for the left the share of the width that the top is of the height."""

        def window(frame: Any, crop: Any, **k: Any) -> Window:
            found = random_window(frame, crop, **k)
            rows, columns = frame[0] - crop[0] + 1, frame[1] - crop[1] + 1
            return dataclasses.replace(found, left=found.top * columns // rows)

        return replaced(parts, "data", random=window)


class LastPlaceNeverCropped(_Drawing):
    """The bounds of a crop leave out the last row and column."""

    id = "last-place-never-cropped"
    citation = "pytorch/tutorials#876; albumentations-team/albumentations#1075; BVLC/caffe#1591"
    expected = ("windows-independent", "random-window")

    def apply(self, parts: Parts) -> Parts:
        """Draw below the last place."""

        def window(frame: Any, crop: Any, **k: Any) -> Window:
            inner = tuple(max(side - 1, least) for side, least in zip(frame, crop, strict=True))
            return random_window(inner, crop, **k)

        return replaced(parts, "data", random=window)


class ShuffleBufferOfFour(_Drawing):
    """A shuffle buffer of four samples: each comes within a few places of where it lies."""

    id = "shuffle-buffer-of-four"
    citation = "tensorflow/tensorflow#36626; IBM/graph2tac#95 (a buffer smaller than the data)"
    expected = ("orders-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Draw each from the next four, as ``tf.data``'s ``shuffle(4)`` does."""

        def order(n: int, *, steps: Any, batch_size: int, seed: int, epoch: int) -> list[int]:
            size = n if steps is None else steps * batch_size
            picks = integer(seed, "buffer", epoch, 0, below=[4] * size)
            buffer, found = [i % n for i in range(min(4, size))], list[int]()
            for place, pick in enumerate(picks):
                found.append(buffer.pop(pick % len(buffer)))
                if place + 4 < size:
                    buffer.append((place + 4) % n)
            return found

        return replaced(parts, "data", train_order=order)


class ChunksShuffled(_Drawing):
    """Files of eight samples are shuffled, and the samples of each stay together."""

    id = "chunks-shuffled"
    citation = "tensorflow/tensorflow#36626 (shuffled in chunks); google/flax#1268"
    expected = ("orders-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Shuffle runs of eight."""

        def order(n: int, *, steps: Any, batch_size: int, seed: int, epoch: int) -> list[int]:
            size = n if steps is None else steps * batch_size
            found, turn = list[int](), 0
            while len(found) < size:
                chunks = permutation(seed, "chunks", epoch, turn, n=-(-n // 8))
                found += [i for c in chunks for i in range(8 * c, min(8 * c + 8, n))]
                turn += 1
            return found[:size]

        return replaced(parts, "data", train_order=order)


class EpochAddedToSeed(_Drawing):
    """The shuffle is seeded by seed + epoch: epoch 2 of a seed is epoch 1 of the next."""

    id = "epoch-added-to-seed"
    citation = (
        "pytorch/pytorch torch/utils/data/distributed.py (g.manual_seed(self.seed + self.epoch)); "
        "open-mmlab/mmagic#815"
    )
    expected = ("orders-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Add one to the other."""
        return replaced(
            parts, "data",
            train_order=lambda n, *, seed, epoch, **k: train_order(
                n, seed=seed + epoch, epoch=1, **k
            ),
        )  # fmt: skip


class KernelsByShape(_Drawing):
    """Kernels of one shape start alike: one initialiser object serves all of them."""

    id, family = "kernels-by-shape", "DETERM"
    citation = "keras-team/keras-hub#352; deel-ai/deel-lip#64; LeelaChessZero/lc0#1883"
    expected = ("kernels-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Draw by kind and shape, whatever the name."""
        return replaced(
            parts, "train",
            initial=lambda seed, name, shape: initial_weight(
                seed, f"any/{name.rsplit('/', 1)[-1]}", shape
            ),
        )  # fmt: skip


class SignsByShape(_Drawing):
    """Signs and sizes have generators of their own, and that of the signs knows shapes alone.

    No two kernels are equal, and each by itself is drawn as it should be.
    """

    id, family = "signs-by-shape", "DETERM"
    citation = "keras-team/keras-hub#352 (one initialiser serves several kernels)"
    expected = ("kernels-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Give kernels of one shape the signs of one draw."""

        def initial(seed: int, name: str, shape: tuple[int, ...]) -> Any:
            own = initial_weight(seed, name, shape)
            if not name.endswith("/kernel"):
                return own
            return np.abs(own) * np.sign(initial_weight(seed, "any/kernel", shape))

        return replaced(parts, "train", initial=initial)


class FiltersRepeated(_Drawing):
    """One filter is drawn, and repeated for every output channel: all learn the same."""

    id, family = "filters-repeated", "DETERM"
    citation = "davidmascharka/MyNN#70 (initial parameters that are constant)"
    expected = ("kernels-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Repeat the first one."""

        def initial(seed: int, name: str, shape: tuple[int, ...]) -> Any:
            drawn = initial_weight(seed, name, shape)
            return np.repeat(drawn[..., :1], shape[-1], axis=-1) if len(shape) == 4 else drawn

        return replaced(parts, "train", initial=initial)


class KernelsOfWrongFans(_Drawing):
    """Fan-in and fan-out are sums of a kernel's sides, not products: kernels start too large."""

    id, family = "kernels-of-wrong-fans", "CONFIG"
    citation = "LeelaChessZero/lczero-training#43 (3 + 3 + 256 + 256 under the root)"
    expected = ("kernels-independent",)

    def apply(self, parts: Parts) -> Parts:
        """Draw up to the root of 6 over the sum of all sides."""

        def initial(seed: int, name: str, shape: tuple[int, ...]) -> Any:
            drawn = initial_weight(seed, name, shape)
            if len(shape) != 4:
                return drawn
            right = shape[0] * shape[1] * (shape[2] + shape[3])
            return drawn * np.float32(np.sqrt(right / sum(shape)))

        return replaced(parts, "train", initial=initial)


class DrawsSaidToBeOthers(_Drawing):
    """What is told of draws is not what trains: it is another seed's."""

    # The others are as good as the draws of any seed.
    touches = ("own_draws",)

    id = "draws-said-to-be-others"
    citation = "tier4/Diffusion-Planner#389 (a test of draws passed that training did not make)"
    expected = ("draws-as-trained",)

    def wrap(self, system: Any) -> Any:
        """Answer for the next seed."""

        def draws(inner: Any, what: str, seed: int, epoch: int = 1, **k: Any) -> Any:
            return inner.draws(what, seed + 1, epoch, **k)

        return overriding(system, draws=draws)
