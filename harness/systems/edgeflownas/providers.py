"""EdgeFlowNAS's batch provider, watched: what it serves, as ids, windows and digests."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .checkout import Checkout
from .errors import CheckoutError
from .frames import FrameFinder, digest_batch, read_order, sample_id

__all__ = ["FLOW_CLIP", "WatchedProvider", "watched_provider"]

FLOW_CLIP = 50.0
"""Clip on every label, px: ``np.clip(flow, -50, 50)`` in its ``data/fc2_dataset.py``."""


_SETTLED_AFTER, _ONE_MORE = 2.0, 0.2
"""How long is waited for a thread that draws ahead, s."""


class WatchedProvider:
    """A provider that tells a listener what each batch was.

    Everything else is the provider's own. Copies serve what the original would serve next.

    Parameters
    ----------
    provider : FC2BatchProvider
        The provider.
    split : str
        Folder below which sample ids are counted.
    finder : FrameFinder
        Finds served crops in the files.
    reads : list of str
        Paths that the provider reads are appended to it.
    """

    def __init__(self, provider: Any, split: str, finder: FrameFinder, reads: list[str]) -> None:
        self.provider, self._split = provider, split
        self._finder, self._reads = finder, reads
        self.listener: Callable[[dict[str, Any]], None] | None = None
        self.ahead: Any = None

    def __getattr__(self, name: str) -> Any:
        # Not self.provider: where there is none yet, this would call itself without end.
        ahead = self.__dict__.get("ahead")
        return getattr(self.__dict__["provider"] if ahead is None else ahead, name)

    def __len__(self) -> int:
        return len(self.provider)

    def next_batch(self, batch_size: int) -> Any:
        """Serve a batch, and describe it to the listener."""
        if self.ahead is not None:
            served, described = self.ahead.next_batch(batch_size=batch_size)
            if self.listener is not None:
                self.listener(described)
            return served
        # In place: the list is the one that the checkout's reads are appended to.
        del self._reads[:]
        served = self.provider.next_batch(batch_size=batch_size)
        if self.listener is not None:
            self.listener(self._described(served))
        return served

    def prefetched(self, prefetch: Any, batches: int) -> None:
        """Let the checkout's own prefetching serve, which draws ahead in a thread.

        What is drawn ahead is described where it is drawn, and told when it is served.
        """
        self.ahead = prefetch(_Described(self), prefetch_batches=batches)

    def settle(self) -> None:
        """Wait until what is drawn ahead is drawn; until then the generator still moves."""
        queue = getattr(self.ahead, "_queue", None)
        until = time.monotonic() + _SETTLED_AFTER
        while queue is not None and not queue.full() and time.monotonic() < until:
            time.sleep(0.01)
        if queue is not None:
            time.sleep(_ONE_MORE)  # the thread draws one more than the queue holds

    def described(self, batch_size: int) -> dict[str, Any]:
        """Serve a batch and return its description alone."""
        del self._reads[:]
        return self._described(self.provider.next_batch(batch_size=batch_size))

    def _described(self, served: Any) -> dict[str, Any]:
        """Return a served batch as the protocol's ``ServedBatch``.

        Raises
        ------
        CheckoutError
            If a served crop is in none of the split's files.
        """
        pair, label = served[0], np.asarray(served[3], np.float32)
        frames = np.asarray(pair)
        if frames.shape[-1] != 6 or not np.array_equal(frames, np.round(frames)):
            raise CheckoutError(
                f"the provider served frames of shape {frames.shape}, expected (B, H, W, 6) of "
                "whole numbers from 0 to 255"
            )
        frames = frames.astype(np.uint8)
        paths = read_order(self._reads, self.provider.samples)
        ids, windows = [], []
        for position, crop in enumerate(frames):
            found = self._finder.find(crop, paths)
            if found is None:
                raise CheckoutError(
                    f"sample {position} of a served batch is in none of the {len(paths)} samples "
                    f"below {self._split}: the provider alters pixels"
                )
            if found[0] in paths[: len(self._reads)]:
                paths.remove(found[0])  # equal files are told apart by the order of reading
            ids.append(sample_id(found[0], self._split))
            windows.append(found[1])
        return {
            "ids": tuple(ids),
            "windows": tuple(windows),
            "frames": frames,
            "flow": label,
            # EdgeFlowNAS knows no invalid pixels.
            "valid": np.ones(label.shape[:3], bool),
            "flow_clip": FLOW_CLIP,
            "digest": digest_batch(ids, windows, frames, label),
        }

    def copy(self) -> WatchedProvider:
        """Return a provider that serves what this one would draw next, and leaves it alone."""
        self.settle()
        # Threads that decode can be neither copied nor shared.
        threads = {"_executor": None} if hasattr(self.provider, "_executor") else {}
        alone = copy.copy(self.provider)
        vars(alone).update(threads)
        return WatchedProvider(copy.deepcopy(alone), self._split, self._finder, self._reads)

    def counters(self, *, over: bool = False) -> dict[str, str]:
        """Return what determines the next draws, as text by name.

        Parameters
        ----------
        over : bool, default False
            Whether the run is over: where each epoch shuffles anew, nothing is drawn any more
            from the last one's order, which a restored run does not have.
        """
        self.settle()
        found: dict[str, str] = {}
        shuffles = getattr(self.provider, "sampling_mode", "") == "shuffle_no_replacement"
        for name in () if over and shuffles else ("_cursor", "_order"):
            if hasattr(self.provider, name):
                found[name.lstrip("_")] = repr(getattr(self.provider, name))
        if hasattr(self.provider, "rng"):
            found["rng"] = repr(self.provider.rng.getstate())
        return found


def watched_provider(
    checkout: Checkout, config: dict[str, Any], original: Any, args: Any, kwargs: dict[str, Any]
) -> tuple[str, WatchedProvider]:
    """Call what builds a provider with its arguments; return its split and it, watched."""
    split = str(kwargs.get("split", args[1] if len(args) > 1 else ""))
    data = config["data"]
    folder = os.path.join(str(data["base_path"]), str(data[split + "_dir"]))
    provider = original(*args, **kwargs)
    return split, WatchedProvider(provider, folder, FrameFinder(checkout.imread), checkout.reads)


class _Described:
    """What a prefetching thread draws from: each batch with its description."""

    def __init__(self, watched: WatchedProvider) -> None:
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_watched"].provider, name)

    def __len__(self) -> int:
        return len(self._watched.provider)

    def next_batch(self, batch_size: int) -> Any:
        """Draw a batch."""
        del self._watched._reads[:]
        served = self._watched.provider.next_batch(batch_size=batch_size)
        return served, self._watched._described(served)
