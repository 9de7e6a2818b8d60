"""What is looked at of an evaluation: frozen samples, the best and the worst, best and worst arch.

The evaluation itself sums scores up where they are computed, arch by arch, before it is known
which one is the best; so what it predicted of a few samples is predicted once more, with the
statistics that it had, by two archs.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.digest import digest_strings
from harness.evaluation.evaluator import Evaluator, Weights
from harness.evaluation.recalibration import PooledStatistics
from harness.fc2.batch import Batch, pixel_digests
from harness.fc2.crop import Window, cut
from harness.records.pictures import PictureFlow, Pictures, PictureSample, Scored
from harness.records.records import EvalRecord
from harness.supernet.space import parse_arch

__all__ = ["WholeFrames", "take_pictures"]

WholeFrames = Callable[[str], NDArray[np.uint8] | None]
"""Sample id to its frames, (H, W, 6), uint8, BGR; None: not known."""

_Stats = Mapping[tuple[int, ...], PooledStatistics]


def take_pictures(
    evaluator: Evaluator, weights: Weights, batches: Sequence[Batch], count: int,
    whole: WholeFrames, record: EvalRecord, per_sample: Mapping[str, Sequence[float]],
    stats: _Stats,
) -> Pictures:  # fmt: skip
    """Return pictures of an evaluation; nothing that it used is changed.

    Parameters
    ----------
    evaluator, weights
        What was evaluated, and by what.
    batches : sequence of Batch
        What it was scored on.
    count : int
        The first so many samples are shown of every evaluation, beside its best and worst.
    whole : callable
        Returns whole frames.
    record, per_sample, stats
        What the evaluation came to, as :data:`harness.evaluation.evaluator.Look` receives it.
    """
    archs = [Scored(*pair) for pair in zip(record.archs, record.per_arch_epe, strict=True)]
    means = [math.fsum(epe) / len(epe) for epe in zip(*per_sample.values(), strict=True)]
    ends = means.index(min(means)), means.index(max(means))
    frozen = range(min(count, len(means)))
    places = list(dict.fromkeys([*frozen, *ends]))
    batch = _picked(batches, places)
    samples = _samples(batch, whole)
    keys = dict(zip(places, (one.key for one in samples), strict=True))
    best, worst = (choose(archs, key=lambda one: one.epe) for choose in (min, max))
    flows = {
        arch.name: evaluator.predict(weights, code, stats[code], batch)
        for arch in (best, worst)
        for code in [parse_arch(arch.name)]
    }
    low, high = (Scored(keys[place], means[place]) for place in ends)
    return Pictures(
        record.epoch, record.weights_digest, record.eval_batch_hash, best, worst,
        tuple(keys[place] for place in frozen), low, high,
        tuple(
            PictureFlow(keys[place], arch, per_sample[arch][place], flow[number])
            for number, place in enumerate(places)
            for arch, flow in flows.items()
        ),
        {one.key: one for one in samples},
    )  # fmt: skip


def _picked(batches: Sequence[Batch], places: Sequence[int]) -> Batch:
    """Return samples of all batches, by their number, as one batch."""
    every = [(batch, index) for batch in batches for index in range(batch.size)]
    chosen = [every[place] for place in places]
    return dataclasses.replace(
        batches[0],
        ids=tuple(batch.ids[i] for batch, i in chosen),
        windows=tuple(batch.windows[i] for batch, i in chosen),
        frames=np.stack([batch.frames[i] for batch, i in chosen]),
        flow=np.stack([batch.flow[i] for batch, i in chosen]),
        valid=np.stack([batch.valid[i] for batch, i in chosen]),
    )


def _samples(batch: Batch, whole: WholeFrames) -> list[PictureSample]:
    pixels = pixel_digests(batch.frames, batch.flow, batch.valid)
    found = []
    for i, (name, window) in enumerate(zip(batch.ids, batch.windows, strict=True)):
        frames, place = _around(batch.frames[i], window, whole(name))
        # Of where they lie, too: a file of this name holds what is shown.
        key = digest_strings([name, repr(window), repr(place), pixels[i]])
        found.append(PictureSample(key, name, frames, batch.flow[i], batch.valid[i], place))
    return found


def _around(
    frames: NDArray[np.uint8], window: Window, whole: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], tuple[int, int] | None]:
    """Return whole frames and the window's corner in them, or the window if that is not it."""
    if whole is None or not np.array_equal(cut(whole, window), frames):
        return frames, None
    return whole, (window.top, window.left)
