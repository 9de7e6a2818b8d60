"""Which recorded pictures a report shows: read at its door, and held against the ledger."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.records.picture_files import FOLDER, PictureReader, epoch_name
from harness.records.picture_images import LEVELS
from harness.records.pictures import PictureFlow, Pictures, PictureSample, Scored
from harness.records.records import EvalRecord
from harness.reporting.flow_colours import jpeg
from harness.reporting.picture_colours import (
    error_scale,
    error_shown,
    flow_scale,
    predicted_shown,
    true_shown,
)

__all__ = [
    "MOST_BYTES", "MOST_EPOCHS", "Pictured", "ShownEpoch", "ShownFlow", "ShownSample", "evenly",
    "pictured",
]  # fmt: skip

_T = TypeVar("_T")

MOST_EPOCHS = 24
"""Evaluations of a run that a page shows at most."""

MOST_BYTES = 3_900_000
"""Of all images of a page; it holds them in base64, which is a third longer."""

_SIDE = 320
"""Most of an image of a page, px: about as wide as it is shown."""


@dataclass(frozen=True)
class ShownSample:
    """A sample's own images, JPEG.

    Attributes
    ----------
    key, id : str
    frames : tuple of bytes
        Both.
    true : bytes
        The label in colours.
    frame, window : tuple of int
        (height, width) of the frames and of the window, px.
    place : (int, int) or None
        Row and column of the window's corner in the frames; None: they are the window.
    flow_scale, error_scale : float
        Where colours are full and errors lightest, px.
    zero_flow : float
        What an all-zero flow scores, px.
    """

    key: str
    id: str
    frames: tuple[bytes, bytes]
    true: bytes
    frame: tuple[int, int]
    window: tuple[int, int]
    place: tuple[int, int] | None
    flow_scale: float
    error_scale: float
    zero_flow: float


@dataclass(frozen=True)
class ShownFlow:
    """Images of what an arch predicts of a sample, JPEG, and its EPE there, px."""

    arch: Scored
    predicted: bytes
    error: bytes


@dataclass(frozen=True)
class ShownEpoch:
    """What a page shows of an evaluation.

    Attributes
    ----------
    epoch : int
    best_arch, worst_arch : Scored
        Of the pool.
    frozen : tuple of str
        Keys of samples.
    best_sample, worst_sample : Scored
        By key, with the mean EPE over the pool.
    flows : mapping of str to tuple of ShownFlow
        By sample, of the best arch first.
    """

    epoch: int
    best_arch: Scored
    worst_arch: Scored
    frozen: tuple[str, ...]
    best_sample: Scored
    worst_sample: Scored
    flows: Mapping[str, tuple[ShownFlow, ...]]


@dataclass(frozen=True)
class Pictured:
    """Pictures of a run that a page can show.

    Attributes
    ----------
    name : str
        Of the run.
    epochs : tuple of ShownEpoch
        In order.
    samples : mapping of str to ShownSample
        By key.
    recorded : int
        Evaluations that there are pictures of.
    notes : tuple of str
        What is not shown, and why.
    """

    name: str
    epochs: tuple[ShownEpoch, ...]
    samples: Mapping[str, ShownSample]
    recorded: int
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its images."""
        shown = {key for one in self.epochs for key in one.flows}
        own = [self.samples[key] for key in shown]
        flows = [flow for one in self.epochs for some in one.flows.values() for flow in some]
        return sum(len(image) for one in own for image in (*one.frames, one.true)) + sum(
            len(one.predicted) + len(one.error) for one in flows
        )

    def within(self, most: int) -> "Pictured":
        """Return pictures of so many bytes at most, of fewer epochs, but of two at least."""
        found = self
        while found.size > most and len(found.epochs) > 2:
            found = replace(found, epochs=tuple(evenly(self.epochs, len(found.epochs) - 1)))
        return found


def evenly(values: Sequence[_T], most: int) -> list[_T]:
    """Return at most so many of some values, evenly chosen, the first and the last of them."""
    if len(values) <= most:
        return list(values)
    places = np.rint(np.linspace(0, len(values) - 1, most)).astype(int)
    return [values[place] for place in dict.fromkeys(places.tolist())]


def pictured(name: str, run: Path, evals: Sequence[EvalRecord]) -> Pictured | None:
    """Return the pictures of a run's evaluations; None where none were recorded.

    A damaged file is told, and not shown; so is one whose pictures do not have the scores that the
    ledger has.

    Parameters
    ----------
    name : str
        Of the run.
    run : pathlib.Path
        Its directory.
    evals : sequence of EvalRecord
        Evaluations that are shown, as the ledger has them.
    """
    read, known = PictureReader(run / FOLDER), {record.epoch: record for record in evals}
    there = [epoch for epoch in sorted(known) if read.has(epoch)]
    epochs, samples, notes = list[ShownEpoch](), dict[str, ShownSample](), list[str]()
    for epoch in evenly(there, MOST_EPOCHS):
        try:
            found = read(epoch)
            _require_scored(found, known[epoch])
        except (OSError, ValueError) as error:
            notes.append(f"epoch {epoch} is not shown: {error}")
            continue
        samples |= {key: _sample(one) for key, one in found.samples.items() if key not in samples}
        epochs.append(_epoch(found))
    return Pictured(name, tuple(epochs), samples, len(there), tuple(notes)) if there else None


def _require_scored(found: Pictures, record: EvalRecord) -> None:
    """Require that pictures are of an evaluation, and show what it scored."""
    name = f"{FOLDER}/{epoch_name(found.epoch)}"
    if (found.weights, found.batches) != (record.weights_digest, record.eval_batch_hash):
        msg = f"{name}: is of another evaluation than the ledger's of this epoch"
        raise ValueError(msg)
    scores = dict(zip(record.archs, record.per_arch_epe, strict=True))
    for told in (found.best_arch, found.worst_arch):
        if scores.get(told.name) != told.epe:
            msg = f"{name}: {told.epe} px of arch {told.name} is not what the ledger says"
            raise ValueError(msg)
    due = {(key, one.name) for key in found.samples for one in (found.best_arch, found.worst_arch)}
    if {(one.sample, one.arch) for one in found.flows} != due:
        msg = f"{name}: not every picture is there, or another"
        raise ValueError(msg)
    for one in found.flows:
        _require_seen(name, one, found.samples[one.sample])


_LIKE = 0.01
"""Share of a score that its picture may be off by: other kernels, where few samples are run."""


def _require_seen(name: str, one: PictureFlow, sample: PictureSample) -> None:
    """Require that a picture has the score that is told of it, but for its rounding."""
    difference = (one.flow - sample.flow)[sample.valid].astype(np.float64)
    epe = float(np.hypot(*difference.T).mean()) if len(difference) else math.nan
    # Half a step of each component, of both; a step is less than 2 / LEVELS of the longest.
    rounding = math.sqrt(2) / LEVELS * (float(np.abs(one.flow).max()) + sample.longest)
    if not abs(epe - one.epe) <= _LIKE * one.epe + rounding:
        msg = (
            f"{name}: what {one.arch} predicts of {sample.id} is off by {epe:.4f} px, and "
            f"{one.epe:.4f} px is told of it"
        )
        raise ValueError(msg)


def _sample(sample: PictureSample) -> ShownSample:
    frames = sample.frames[..., 2::-1], sample.frames[..., :2:-1]  # BGR, one after the other
    return ShownSample(
        sample.key, sample.id, (jpeg(frames[0], _SIDE), jpeg(frames[1], _SIDE)),
        jpeg(true_shown(sample), _SIDE), _sides(sample.frames), _sides(sample.valid),
        sample.place, flow_scale(sample), error_scale(sample), sample.zero_flow,
    )  # fmt: skip


def _sides(array: NDArray[Any]) -> tuple[int, int]:
    height, width = array.shape[:2]
    return height, width


def _epoch(found: Pictures) -> ShownEpoch:
    flows = {
        key: tuple(_flow(sample, one) for one in found.predicted(key))
        for key, sample in found.samples.items()
    }
    return ShownEpoch(
        found.epoch, found.best_arch, found.worst_arch, found.frozen, found.best_sample,
        found.worst_sample, flows,
    )  # fmt: skip


def _flow(sample: PictureSample, one: PictureFlow) -> ShownFlow:
    return ShownFlow(
        Scored(one.arch, one.epe), jpeg(predicted_shown(sample, one.flow), _SIDE),
        jpeg(error_shown(sample, one.flow), _SIDE),
    )  # fmt: skip
