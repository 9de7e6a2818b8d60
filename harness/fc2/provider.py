"""Samples on disk to batches, as pure functions of (epoch, index).

A provider has no cursor and no generator: asking for a batch twice, in another order or
from another thread gives the same batch.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from harness.config import Config
from harness.fc2.batch import Batch, batch_key, content_digest, identity_digest
from harness.fc2.crop import Window, center_window, cut, random_window
from harness.fc2.decode import Decoded, decode_triplet, fingerprint
from harness.fc2.errors import SampleError
from harness.fc2.layout import Triplet, list_triplets
from harness.fc2.loader import in_order
from harness.fc2.order import batch_sizes, eval_order, split_batches, train_order

__all__ = ["DataParts", "Provider", "assemble", "hand_over", "open_provider"]


def assemble(
    ids: Sequence[str], windows: Sequence[Window], samples: Sequence[Decoded], *,
    flow_clip: float | None, role: Literal["train", "eval"],
) -> Batch:  # fmt: skip
    """Put cropped samples into one batch.

    Parameters
    ----------
    ids, windows, samples : sequences of equal length
        Sample ids, crop windows, and what was cut out of the decoded samples.
    flow_clip : float or None
        Clip on each flow component, px.
    role : {"train", "eval"}
        The digest of an evaluation batch is of its pixels, that of a training batch of its files.
    """
    frames = np.stack([sample.frames for sample in samples])
    flow = np.stack([sample.flow for sample in samples])
    valid = np.stack([sample.valid for sample in samples])
    if flow_clip is not None:
        # Before the digest, which is of what is served.
        flow = np.clip(flow, -flow_clip, flow_clip)
    if role == "eval":
        digest = content_digest(ids, windows, frames, flow, valid)
    else:
        digest = identity_digest(ids, windows, [sample.content for sample in samples])
    return Batch(tuple(ids), tuple(windows), frames, flow, valid, flow_clip, digest)


def hand_over(
    batches: Generator[Batch, None, None], *, epoch: int, start: int
) -> Generator[Batch, None, None]:
    """Return an epoch's batches, from `start` on, as training is to see them: as they come."""
    del epoch, start  # of use to a replacement alone
    return batches


@dataclass(frozen=True)
class DataParts:
    """The functions that a provider is put together from."""

    list_samples: Callable[[Path], tuple[Triplet, ...]] = list_triplets
    decode: Callable[[Triplet], Decoded] = decode_triplet
    center: Callable[..., Window] = center_window
    random: Callable[..., Window] = random_window
    train_order: Callable[..., list[int]] = train_order
    eval_order: Callable[[int], list[int]] = eval_order
    ahead: Callable[..., Generator[Batch, None, None]] = in_order
    fingerprint: Callable[[Triplet], str] = fingerprint
    batch_sizes: Callable[..., list[int]] = batch_sizes
    assemble: Callable[..., Batch] = assemble
    hand_over: Callable[..., Generator[Batch, None, None]] = hand_over
    cache_key: Callable[..., str] = batch_key


@dataclass(frozen=True)
class Provider:
    """Serves the batches of one split in one role.

    Attributes
    ----------
    samples : tuple of Triplet
        The split.
    role : {"train", "eval"}
        ``train``: shuffled or drawn anew every epoch, random or centre crop.
        ``eval``: fixed order from the start, centre crop, the same in every epoch.
    crop : tuple of int
        (height, width) in px.
    batch_size : int
        Samples per batch; the last one of a pass may be smaller.
    flow_clip : float or None
        Clip on each flow component of the labels, px.
    seed : int
        Selects the training draws.
    steps : int or None
        Training steps per epoch drawn with replacement; None for full passes.
    random_crop : bool
        Whether training crops are random.
    workers, prefetch : int
        Loader threads, and batches decoded ahead of the one in use; see
        :func:`harness.fc2.loader.in_order`. Neither changes what is served.
    """

    samples: tuple[Triplet, ...]
    role: Literal["train", "eval"]
    crop: tuple[int, int]
    batch_size: int
    flow_clip: float | None
    seed: int = 0
    steps: int | None = None
    random_crop: bool = True
    workers: int = 2
    prefetch: int = 2
    parts: DataParts = field(default_factory=DataParts)

    @cached_property
    def planned_sizes(self) -> list[int]:
        """Planned size of each batch of one epoch."""
        return self.parts.batch_sizes(
            len(self.samples), batch_size=self.batch_size, steps=self.steps
        )

    def order(self, epoch: int) -> list[list[int]]:
        """Return the sample indices of every batch of an epoch (epochs count from 1)."""
        if self.role == "eval":
            indices = self.parts.eval_order(len(self.samples))
        else:
            indices = self.parts.train_order(
                len(self.samples),
                seed=self.seed,
                epoch=epoch,
                batch_size=self.batch_size,
                steps=self.steps,
            )
        return split_batches(indices, self.batch_size)

    def batch(self, epoch: int, index: int) -> Batch:
        """Return batch `index` (from 0) of an epoch.

        Raises
        ------
        IndexError
            If the epoch has fewer batches.
        SampleError
            If a file is bad or a frame is smaller than the crop.
        """
        order = self.order(epoch)
        if not 0 <= index < len(order):
            msg = f"{self.role} epoch {epoch} has {len(order)} batches, no batch {index}"
            raise IndexError(msg)
        first = index * self.batch_size
        return self.gather(order[index], epoch=epoch, first=first)

    def gather(self, indices: Sequence[int], *, epoch: int = 0, first: int = 0) -> Batch:
        """Decode and crop the named samples; `first` is the draw number of the first one."""
        pieces = [
            self._piece(self.samples[i], epoch, first + offset) for offset, i in enumerate(indices)
        ]
        return self.parts.assemble(
            tuple(self.samples[i].id for i in indices),
            tuple(window for _, window in pieces),
            [sample for sample, _ in pieces],
            flow_clip=self.flow_clip,
            role=self.role,
        )

    def _piece(self, triplet: Triplet, epoch: int, index: int) -> tuple[Decoded, Window]:
        """Decode a sample and return its crop; a view would keep the whole frames in memory."""
        whole = self.parts.decode(triplet)
        window = self._window(triplet, whole, epoch, index)
        frames, flow, valid = (
            cut(array, window).copy() for array in (whole.frames, whole.flow, whole.valid)
        )
        return Decoded(frames, flow, valid, whole.content), window

    def window(self, frame: tuple[int, int], *, epoch: int, index: int) -> Window:
        """Return the crop window of draw `index` (from 0) of an epoch, in a frame of a size in px.

        Raises
        ------
        ValueError
            If the crop does not fit the frame.
        """
        if self.role == "eval" or not self.random_crop:
            return self.parts.center(frame, self.crop)
        return self.parts.random(frame, self.crop, seed=self.seed, epoch=epoch, index=index)

    def _window(self, triplet: Triplet, sample: Decoded, epoch: int, index: int) -> Window:
        height, width = sample.flow.shape[:2]
        try:
            return self.window((height, width), epoch=epoch, index=index)
        except ValueError as error:
            found = str(error)
            if height < self.crop[0] or width < self.crop[1]:
                keys = "data.input_height and input_width"
                keys = f"eval.crop (null: {keys})" if self.role == "eval" else keys
                found = f"one of {height} x {width} (H x W): lower {keys}"
            raise SampleError(
                triplet.img_0, f"a frame of at least {self.crop[0]} x {self.crop[1]}", found
            ) from None

    def stream(
        self, epoch: int, *, start: int = 0, workers: int | None = None, prefetch: int | None = None
    ) -> Generator[Batch, None, None]:
        """Yield an epoch's batches from `start` on, in order, decoded ahead by threads.

        Parameters
        ----------
        workers, prefetch : int, optional
            Default: the provider's.
        """
        order = self.order(epoch)

        def load(index: int) -> Batch:
            return self.gather(order[index], epoch=epoch, first=index * self.batch_size)

        batches = self.parts.ahead(
            load, range(start, len(order)),
            workers=self.workers if workers is None else workers,
            depth=self.prefetch if prefetch is None else prefetch,
        )  # fmt: skip
        return self.parts.hand_over(batches, epoch=epoch, start=start)


def open_provider(
    config: Config,
    split: Literal["train", "val"],
    role: Literal["train", "eval"],
    *,
    parts: DataParts | None = None,
) -> Provider:
    """Open one split of the configured data set in one role.

    Raises
    ------
    FileNotFoundError
        If the folder is absent, empty or has incomplete samples.
    """
    parts = parts or DataParts()
    samples = parts.list_samples(config.data.split_dir(split))
    if role == "eval":
        return Provider(
            samples, "eval", config.eval_crop, config.eval_batch_size, config.eval.flow_clip,
            seed=config.runtime.seed, workers=config.data.num_workers, parts=parts,
        )  # fmt: skip
    fixed_steps = config.train.epoch_mode == "fixed_steps"
    return Provider(
        samples, "train", config.train_crop, config.train.batch_size, config.data.flow_clip,
        seed=config.runtime.seed,
        steps=config.train.steps_per_epoch if fixed_steps else None,
        random_crop=config.train.train_crop_mode == "random",
        workers=config.data.num_workers, prefetch=config.data.prefetch_batches, parts=parts,
    )  # fmt: skip
