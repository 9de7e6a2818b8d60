"""Which batches an evaluation uses: fixed, frozen, random or the full split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from harness.config import Config
from harness.errors import InputError
from harness.evaluation.evaluator import Protocol
from harness.evaluation.ranking import build_pool
from harness.fc2.batch import Batch
from harness.fc2.batch_store import MIB, BatchStore
from harness.fc2.cache import BatchCache
from harness.fc2.frozen import FrozenBatches, read_frozen
from harness.fc2.layout import Triplet
from harness.fc2.order import split_batches
from harness.fc2.provider import DataParts, Provider, open_provider
from harness.streams import permutation

__all__ = ["FixedBatches", "UnscorableError", "require_scorable"]


class UnscorableError(InputError):
    """A sample that no evaluation can score; the message names it."""


def require_scorable(batches: Sequence[Batch]) -> None:
    """Require of each sample at least one pixel of known flow, without which it has no EPE.

    Raises
    ------
    UnscorableError
        Naming the first sample that has none, and its crop.
    """
    for batch in batches:
        known = batch.valid.reshape(batch.size, -1).any(axis=1)
        if not known.all():
            place = int(np.argmin(known))
            window = batch.windows[place]
            msg = (
                f"sample {batch.ids[place]}: expected flow that is known at one pixel at least of "
                f"its evaluation crop, {window.height} x {window.width} px from row {window.top}, "
                f"column {window.left}, found none: it has no EPE; take the sample out of the "
                "split, or configure another evaluation crop"
            )
            raise UnscorableError(msg)


class FixedBatches:
    """Decodes the batches of an evaluation once per process and hands them out.

    Up to ``runtime.cache_mib`` of them lie in memory, the rest in mapped files; with a
    ``runtime.cache_dir`` they are also found again by the next process. Arrays are read-only.

    Parameters
    ----------
    config : Config
        The ``eval`` section says which batches.
    parts : DataParts, optional
        What the providers are put together from.
    draw_pool : callable
        Returns the archs of a pool, from seed and size.

    Raises
    ------
    harness.fc2.frozen.FrozenError
        If frozen batches cannot be read.
    InputError
        If they are of another crop than is configured.
    """

    def __init__(
        self, config: Config, parts: DataParts | None = None, *,
        draw_pool: Callable[..., tuple[tuple[int, ...], ...]] = build_pool,
    ) -> None:  # fmt: skip
        self._config, self._parts, self._draw_pool = config, parts, draw_pool
        self._frozen: FrozenBatches | None = None
        folder = Path(config.runtime.cache_dir) if config.runtime.cache_dir else None
        # Where batches are kept at all, there is room for those that do not fit into memory.
        self._store = BatchStore(config.runtime.cache_mib * MIB, folder)
        self._cache = None if folder is None else BatchCache(folder)
        if config.eval.frozen:
            self._frozen = read_frozen(Path(config.eval.frozen), keep=self._store.keep)
            _require_crop(config, self._frozen)
        self._providers: dict[str, Provider] = {}
        self._eval: tuple[Batch, ...] = ()
        self._recal: dict[int, tuple[Batch, ...]] = {}

    def protocol(self, epoch: int, *, pool: tuple[tuple[int, ...], ...] | None = None) -> Protocol:
        """Return pool and batches of the evaluation after `epoch`."""
        config = self._config
        if pool is None:
            pool = self._draw_pool(seed=config.runtime.seed, size=config.eval.eval_pool_size)
        return Protocol(
            pool, self.eval_batches(), self.recal_batches(epoch), config.eval.eval_batches_per_arch
        )

    def checked_protocol(
        self, epoch: int, *, pool: tuple[tuple[int, ...], ...] | None = None
    ) -> Protocol:
        """Return the same, once every sample has been found fit to be scored.

        Raises
        ------
        harness.fc2.errors.SampleError
            If a file cannot be read, or a frame is smaller than the crop.
        UnscorableError
            If a sample has no pixel of known flow.
        """
        found = self.protocol(epoch, pool=pool)
        require_scorable(found.eval_batches)
        return found

    def eval_batches(self) -> tuple[Batch, ...]:
        """Return the first K validation batches; a split that ends earlier is used once."""
        asked = self._config.eval.eval_batches_per_arch
        if self._frozen is not None:
            return _first(self._frozen.eval_batches, asked)
        if not self._eval:
            self._eval = self._leading(self._provider("val"), asked)
        return self._eval

    def recal_batches(self, epoch: int) -> tuple[Batch, ...]:
        """Return the recalibration batches.

        ``fixed``: the first R of the train split in eval order and centre crop.
        ``random``: R batches drawn from (seed, "recal", epoch), one set for all archs.
        """
        count = self._config.eval.bn_recal_batches
        if self._frozen is not None:
            return _first(self._frozen.recal_batches, count)
        key = epoch if self._config.eval.recal_mode == "random" else 0
        if key not in self._recal:
            provider = self._provider("train")
            # First, so that two sets never count against runtime.cache_mib at once.
            for old in self._recal.values():
                self._store.release(old)
            self._recal = {}
            if self._config.eval.recal_mode == "random":
                self._recal = {key: self._draw(provider, count, epoch)}
            else:
                self._recal = {key: self._leading(provider, count)}
        return self._recal[key]

    def samples(self, split: Literal["train", "val"]) -> tuple[Triplet, ...]:
        """Return the samples of one split."""
        return self._provider(split).samples

    def _provider(self, split: Literal["train", "val"]) -> Provider:
        if split not in self._providers:
            self._providers[split] = open_provider(self._config, split, "eval", parts=self._parts)
        return self._providers[split]

    def _draw(self, provider: Provider, count: int, epoch: int) -> tuple[Batch, ...]:
        order = permutation(self._config.runtime.seed, "recal", epoch, n=len(provider.samples))
        chosen = split_batches(order, provider.batch_size)[:count]
        return self._kept(provider, provider.gather, chosen)  # no later epoch asks for these

    def _leading(self, provider: Provider, asked: int | str) -> tuple[Batch, ...]:
        order = provider.order(1)
        chosen = order if isinstance(asked, str) else order[:asked]
        cache = self._cache

        def load(indices: Sequence[int]) -> Batch:
            return provider.gather(indices) if cache is None else cache.batch(provider, indices)

        return self._kept(provider, load, chosen)

    def _kept(
        self, provider: Provider, load: Callable[[Sequence[int]], Batch],
        chosen: Sequence[Sequence[int]],
    ) -> tuple[Batch, ...]:  # fmt: skip
        workers = provider.workers
        # No deeper than there are threads: what is decoded and not yet kept takes memory beyond
        # runtime.cache_mib.
        loaded = provider.parts.ahead(load, chosen, workers=workers, depth=workers)
        return tuple(self._store.keep(batch) for batch in loaded)


def _require_crop(config: Config, frozen: FrozenBatches) -> None:
    """Require that frozen batches are of the configured crop: what they cost follows from it."""
    for batch in (*frozen.eval_batches, *frozen.recal_batches):
        height, width = batch.frames.shape[1:3]
        if (height, width) != config.eval_crop:
            due = " x ".join(map(str, config.eval_crop))
            msg = (
                f"eval.frozen {config.eval.frozen}: batches of {height} x {width} px (H x W), "
                f"expected the configured evaluation crop, {due} px; set eval.crop to "
                f"[{height}, {width}], or freeze with this configuration"
            )
            raise InputError(msg)


def _first(batches: tuple[Batch, ...], asked: int | str) -> tuple[Batch, ...]:
    return batches if isinstance(asked, str) else batches[:asked]
