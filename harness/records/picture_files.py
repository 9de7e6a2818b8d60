"""Pictures of what a run predicts, as files: one of each evaluation, one of each sample in them.

Every file carries a seal (:mod:`harness.sealed`), and is held against it and against what it
declares when it is read.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.records.declared import check_declared
from harness.records.picture_images import (
    flow_from_text,
    flow_text,
    frame_text,
    frames_from_text,
)
from harness.records.pictures import PictureFlow, Pictures, PictureSample, Scored
from harness.sealed import read_sealed, sealed_values
from harness.whole import write_text
from harness.wording import is_digest, quoted

__all__ = ["FOLDER", "PictureReader", "PictureWriter", "epoch_name"]

FOLDER = "pictures"
"""In a run directory."""


@dataclass(frozen=True)
class _SampleFile:
    key: str
    id: str
    height: int
    width: int
    place: tuple[int, int] | None
    frames: tuple[str, str]
    step: float
    flow: str


@dataclass(frozen=True)
class _FlowFile:
    sample: str
    arch: str
    epe: float
    step: float
    flow: str


@dataclass(frozen=True)
class _EpochFile:
    epoch: int
    weights: str
    batches: str
    best_arch: Scored
    worst_arch: Scored
    frozen: tuple[str, ...]
    best_sample: Scored
    worst_sample: Scored
    flows: tuple[_FlowFile, ...]


def epoch_name(epoch: int) -> str:
    """Return the name of an evaluation's file."""
    return f"epoch-{epoch:04d}.json"


def _sample_name(key: str) -> str:
    if not is_digest(key):  # a name of a file is made of it
        msg = f"{FOLDER}: a sample's key is {quoted(key)}, expected a digest"
        raise ValueError(msg)
    return f"sample-{key}.json"


class PictureWriter:
    """Writes pictures into a folder: a sample once in a process, an evaluation in place of before.

    Parameters
    ----------
    folder : pathlib.Path
        Made where it is not there; the folder above it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._written = folder, set[str]()

    def __call__(self, pictures: Pictures) -> None:
        """Write the pictures of an evaluation.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        self._folder.mkdir(exist_ok=True)
        # Samples first: an evaluation's file names no sample that is not there.
        for key, sample in pictures.samples.items():
            if key not in self._written:
                self._write(_sample_name(key), _sample_file(sample))
                self._written.add(key)
        self._write(epoch_name(pictures.epoch), _epoch_file(pictures))

    def _write(self, name: str, values: Any) -> None:
        # As it will be read: JSON has no tuples, and the seal is of what is read.
        plain = json.loads(json.dumps(asdict(values), allow_nan=False))
        write_text(self._folder / name, json.dumps(sealed_values(plain)) + "\n")


class PictureReader:
    """Reads pictures from a folder, each sample once.

    Parameters
    ----------
    folder : pathlib.Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._samples = folder, dict[str, PictureSample]()

    def has(self, epoch: int) -> bool:
        """Return whether there is a file of an evaluation's pictures."""
        return (self._folder / epoch_name(epoch)).exists()

    def __call__(self, epoch: int) -> Pictures:
        """Return the pictures of an evaluation.

        Raises
        ------
        OSError
            If a file is absent or cannot be read.
        ValueError
            If one was changed since it was written, or is not as it declares; names the file.
        """
        name = epoch_name(epoch)
        told = self._told(_EpochFile, name)
        ends = [Scored(**told[end]) for end in ("best_sample", "worst_sample")]
        keys = dict.fromkeys([*told["frozen"], *(one.name for one in ends)])
        samples = {key: self._sample(key) for key in keys}
        with _named(name):
            if told["epoch"] != epoch:
                msg = f"is of epoch {told['epoch']}"
                raise ValueError(msg)
            flows = tuple(_flow_of(one, samples) for one in told["flows"])
        archs = [Scored(**told[end]) for end in ("best_arch", "worst_arch")]
        return Pictures(
            epoch, told["weights"], told["batches"], archs[0], archs[1], tuple(told["frozen"]),
            ends[0], ends[1], flows, samples,
        )  # fmt: skip

    def _sample(self, key: str) -> PictureSample:
        if key not in self._samples:
            name = _sample_name(key)
            told = self._told(_SampleFile, name)
            with _named(name):
                self._samples[key] = _sample_of(key, told)
        return self._samples[key]

    def _told(self, kind: type, name: str) -> dict[str, Any]:
        with _named(name):
            values, is_sealed = read_sealed(self._folder / name)
            if not is_sealed:
                msg = "it carries no seal"
                raise ValueError(msg)
            check_declared(kind, values, "the file", every=True)
        return values


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Tell by the name of a file what is wrong with it."""
    try:
        yield
    except ValueError as error:
        msg = f"{FOLDER}/{name}: {error}"
        raise ValueError(msg) from None


def _sample_file(sample: PictureSample) -> _SampleFile:
    height, width = sample.valid.shape
    step, flow = flow_text(sample.flow, sample.valid)
    frames = frame_text(sample.frames[..., :3]), frame_text(sample.frames[..., 3:])
    return _SampleFile(sample.key, sample.id, height, width, sample.place, frames, step, flow)


def _epoch_file(pictures: Pictures) -> _EpochFile:
    flows = [
        _FlowFile(one.sample, one.arch, one.epe, *flow_text(one.flow)) for one in pictures.flows
    ]
    return _EpochFile(
        pictures.epoch, pictures.weights, pictures.batches, pictures.best_arch,
        pictures.worst_arch, pictures.frozen, pictures.best_sample, pictures.worst_sample,
        tuple(flows),
    )  # fmt: skip


def _sample_of(key: str, told: Mapping[str, Any]) -> PictureSample:
    if told["key"] != key:
        msg = f"its key is {quoted(told['key'])}, expected {key}, by which it is called"
        raise ValueError(msg)
    size = told["height"], told["width"]
    flow, known = flow_from_text(told["flow"], told["step"], size, label=True)
    frames = frames_from_text(told["frames"])
    place = None if told["place"] is None else tuple(told["place"])
    _require_window(frames.shape[:2], size, place)
    return PictureSample(key, told["id"], frames, flow, known, place)


def _require_window(
    frame: tuple[int, ...], size: tuple[int, int], place: tuple[int, ...] | None
) -> None:
    """Require that frames hold a window at its place, or are it."""
    if place is None:
        fits = frame == size
    else:
        ends = [at + side for at, side in zip(place, size, strict=True)]
        fits = min(place) >= 0 and all(end <= side for end, side in zip(ends, frame, strict=True))
    if not fits:
        msg = f"frames of {frame[0]} x {frame[1]} px do not hold a window of {size[0]} x {size[1]}"
        raise ValueError(msg)


def _flow_of(told: Mapping[str, Any], samples: Mapping[str, PictureSample]) -> PictureFlow:
    sample = samples.get(told["sample"])
    if sample is None:
        msg = f"a flow is of sample {quoted(told['sample'])}, which is not among those named"
        raise ValueError(msg)
    height, width = sample.valid.shape
    flow, _ = flow_from_text(told["flow"], told["step"], (height, width), label=False)
    return PictureFlow(told["sample"], told["arch"], told["epe"], flow)
