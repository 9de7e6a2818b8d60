"""How batches are cut for scoring, and laid out."""

import dataclasses
from collections.abc import Iterator, Sequence

from harness.fc2.batch import Batch
from harness.supernet.sharing.flow import as_planes, as_samples

__all__ = ["PIXELS", "score_split", "split_batches"]

PIXELS = 1 << 18
"""Most pixels that are scored at once, unless two samples have more; bounds the memory."""


def score_split(height: int, width: int) -> int:
    """Return how many samples of a crop, px, are scored at once, at least 2.

    Scores do not depend on it: with given statistics no layer mixes samples.
    """
    return max(2, PIXELS // (height * width))


def split_batches(batches: Sequence[Batch], size: int | None = None) -> Iterator[Batch]:
    """Yield batches of at most `size` samples, labels laid out component by component.

    Parameters
    ----------
    size : int, optional
        Default: :func:`score_split` of the crop.
    """
    for batch in batches:
        step = size or score_split(*batch.frames.shape[1:3])
        for start in range(0, batch.size, step):
            piece = slice(start, start + step)
            yield dataclasses.replace(
                batch, ids=batch.ids[piece], windows=batch.windows[piece],
                frames=batch.frames[piece], flow=as_samples(as_planes(batch.flow[piece])),
                valid=batch.valid[piece],
            )  # fmt: skip
