"""How batches are joined for recalibration, and joined, cut and laid out for scoring."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from harness.fc2.batch import Batch
from harness.supernet.sharing.flow import as_planes, as_samples

__all__ = [
    "DEVICE_PIXELS", "PIXELS", "device_split", "recal_pieces", "score_pieces", "score_split",
    "scored_on",
]  # fmt: skip

PIXELS = 1 << 18
"""Most pixels that are run at once, unless two samples or one recalibration batch have more;
bounds the memory."""


DEVICE_PIXELS = 1 << 16
"""Most pixels of one call on a device, unless two samples have more."""


def score_split(height: int, width: int) -> int:
    """Return how many samples of a crop, px, are scored at once, at least 2.

    Scores do not depend on it: with given statistics no layer mixes samples.
    """
    # One sample alone takes other kernels, with other bits (decision 0011).
    return max(2, PIXELS // (height * width))


def device_split(height: int, width: int) -> int:
    """Return how many samples of a crop, px, a call on a device scores: a power of two from 2 on.

    The last call is filled up to as many: for another number a device takes other kernels, with
    other bits. Hence fewer than on the CPU, and a number that batch sizes are multiples of.
    """
    most = max(2, DEVICE_PIXELS // (height * width))
    return 1 << (most.bit_length() - 1)


def scored_on(asked: str, device: str) -> str:
    """Return where scores are summed up, ``"host"`` or ``"device"``.

    Parameters
    ----------
    asked : str
        As in ``runtime.score_on``; ``"auto"``: on the device if it is a GPU.
    device : str
        As in the environment's record: ``"cpu"`` or a GPU's name.
    """
    if asked != "auto":
        return asked
    return "host" if device == "cpu" else "device"


def recal_pieces(batches: Sequence[Batch]) -> list[list[int]]:
    """Return the numbers of the batches that are recalibrated on side by side.

    Neighbours of equal size, whole, of together at most :data:`PIXELS`; evenly many in each
    piece, because a function is compiled for each number of them. Each keeps its own statistics,
    which do not depend on its neighbours.
    """
    # Joined, and never cut: a layer's statistics are of the whole batch.
    pieces: list[list[int]] = []
    sizes = [batch.frames.shape[:3] for batch in batches]
    for size, group in itertools.groupby(range(len(batches)), key=sizes.__getitem__):
        numbers, most = list(group), max(1, PIXELS // math.prod(size))
        # 4 and 4 of 8 where there is room for 5: 5 and 3 are two functions.
        parts = np.array_split(numbers, math.ceil(len(numbers) / most))
        pieces += [part.tolist() for part in parts]
    return pieces


def score_pieces(batches: Sequence[Batch], size: int | None = None) -> Iterator[Batch]:
    """Yield the samples of all batches in order, `size` at once, whatever their batches.

    Ids, windows, frames, flow and mask are joined, the flow laid out component by component; clip
    and digest are those of the first batch.

    Parameters
    ----------
    batches : sequence of Batch
        Of one crop.
    size : int, optional
        Samples of a piece; the last may have fewer. Default: :func:`score_split` of the crop.
    """
    step = size or score_split(*batches[0].frames.shape[1:3])
    places = [(batch, index) for batch in batches for index in range(batch.size)]
    for start in range(0, len(places), step):
        yield _joined(places[start : start + step])


def _joined(places: Sequence[tuple[Batch, int]]) -> Batch:
    parts = []
    # By identity: == of two batches may come to compare their arrays, which raises.
    for _, group in itertools.groupby(places, key=lambda place: id(place[0])):
        taken = list(group)
        parts.append((taken[0][0], slice(taken[0][1], taken[-1][1] + 1)))
    flow = np.concatenate([batch.flow[piece] for batch, piece in parts])
    return dataclasses.replace(
        parts[0][0],
        ids=tuple(sample for batch, piece in parts for sample in batch.ids[piece]),
        windows=tuple(window for batch, piece in parts for window in batch.windows[piece]),
        frames=np.concatenate([batch.frames[piece] for batch, piece in parts]),
        flow=as_samples(as_planes(flow)),
        valid=np.concatenate([batch.valid[piece] for batch, piece in parts]),
    )
