"""Scoring where the outputs are: a subtree in a few calls, and only its scores come back."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from harness.evaluation.shared import Shared
from harness.fc2.batch import Batch
from harness.fc2.batch_store import MIB
from harness.supernet.sharing.order import Subtree
from harness.supernet.sharing.scores import Labels, Scoring

__all__ = ["SCORING_BYTES", "device_scores", "scoring_bytes"]

Arch = tuple[int, ...]

_AHEAD = 2
"""Subtrees that the device is given before the scores of one are waited for."""


SCORING_BYTES = 1 << 30
"""Memory that scoring on the device may take beside the outputs, where there is enough."""

_SHARE = 8


def scoring_bytes() -> int:
    """Return what scoring may take here: less where the device's memory is limited."""
    settings = [
        tf.config.get_logical_device_configuration(gpu) or ()
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    limits = [one.memory_limit for some in settings for one in some if one.memory_limit]
    return min([SCORING_BYTES, *(int(limit) * MIB // _SHARE for limit in limits)])


def device_scores(
    shared: Shared, batch: Batch, todo: Sequence[Subtree], between: Callable[[], None],
    scoring: Scoring, samples: int,
) -> Iterator[tuple[Subtree, dict[Arch, list[float]]]]:  # fmt: skip
    """Yield each subtree with the per-sample EPE of its archs, px.

    Parameters
    ----------
    batch : Batch
        At most `samples` samples.
    between : callable
        Called before each arch.
    samples : int
        How many one call runs: a batch of fewer is filled up.
    """
    labels = Labels.of(batch.flow, batch.valid, samples)
    walk = shared.start(batch, [a for s in todo for a in s.archs], samples=samples)
    given: deque[tuple[Subtree, list[Any]]] = deque()
    for subtree in todo:
        for _ in subtree.archs:
            between()
        given.append((subtree, walk.scores(subtree.archs, scoring, labels)))
        if len(given) > _AHEAD:
            yield _fetched(*given.popleft(), batch.size)
    while given:
        yield _fetched(*given.popleft(), batch.size)


def _fetched(
    subtree: Subtree, parts: Sequence[Any], size: int
) -> tuple[Subtree, dict[Arch, list[float]]]:
    scores = np.concatenate([np.asarray(part) for part in parts])[:, :size]
    return subtree, dict(zip(subtree.archs, scores.tolist(), strict=True))
