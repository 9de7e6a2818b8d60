"""Faults of any system's data: the files that it reads are not those that it was given.

The system is opened on a folder of links to the data, some of them to other files: so it reads
as a trainer that mixes them up, and needs no part of its own to be replaced.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.faults.anywhere.base import FaultAnywhere, folder_of
from harness.faults.base import overriding
from harness.fc2.decode import UNKNOWN_FLOW, read_flow
from harness.fc2.layout import MEMBERS, Triplet, list_triplets
from harness.systems.protocol import ServedBatch

__all__ = [
    "EvalLabelsOfNeighbour", "FramesExchanged", "TrainLabelsOfNeighbour", "TrainSampleNeverSeen",
    "ValSampleNeverSeen",
]  # fmt: skip

Files = tuple[Path, ...]
"""Both frames and the flow of a sample."""

Mix = Callable[[str, dict[str, Files]], dict[str, Files]]
"""From a split's name and its samples' files to the files that are read as theirs."""


class _Mixed(FaultAnywhere):
    family = "DATA"
    touches: ClassVar[tuple[str, ...]] = ("served",)
    needs: ClassVar[tuple[str, ...]] = ("batches",)
    # They look for the name of a file that they spoil, and for what follows from its new content.
    spoils: ClassVar[tuple[str, ...]] = ("bad-files-named", "cache-never-stale")
    idle = "a split has one sample alone"

    def _mixed(self, split: str, files: dict[str, Files]) -> dict[str, Files]:
        raise NotImplementedError

    def wrap(self, system: Any) -> Any:
        """Open on links."""
        folders: list[Path] = []

        def opened(inner: Any, config: Mapping[str, Any]) -> None:
            folders.append(Path(tempfile.mkdtemp(prefix="samebits-")))
            for split in ("train", "val"):
                files = _files(list_triplets(folder_of(config, split)))
                mixed = self._mixed(split, dict(files))
                self.acted |= mixed != files
                _link(mixed, folders[-1] / split)
            place = {"base_path": str(folders[-1]), "train_dir": "train", "val_dir": "val"}
            inner.open({**config, "data": {**config["data"], **place}})

        def close(inner: Any) -> None:
            inner.close()
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            folders.clear()

        return overriding(system, open=opened, close=close)


def _files(triplets: Sequence[Triplet]) -> dict[str, Files]:
    return {one.id: (one.img_0, one.img_1, one.flow) for one in triplets}


def _link(files: Mapping[str, Files], folder: Path) -> None:
    for sample, paths in files.items():
        for member, path in zip(MEMBERS, paths, strict=True):
            link = folder / f"{sample}-{member}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())


class FramesExchanged(_Mixed):
    """The second frame is read as the first: the flow points the wrong way."""

    id = "frames-exchanged"
    citation = "open-mmlab/mmflow commit 0add369 (#83) (swapped arguments of a writer)"
    expected = ("eval-crop-centred",)

    def _mixed(self, split: str, files: dict[str, Files]) -> dict[str, Files]:
        return {sample: (second, first, flow) for sample, (first, second, flow) in files.items()}


class TrainSampleNeverSeen(_Mixed):
    """One sample is never trained on."""

    id = "train-sample-never-seen"
    citation = "thuml/Autoformer#104; google/uncertainty-baselines#303"
    expected = ("train-draws-declared",)
    touches = ("draws",)
    split: ClassVar[str] = "train"

    def _mixed(self, split: str, files: dict[str, Files]) -> dict[str, Files]:
        left = list(files.items())
        return dict(left[1:] or left) if split == self.split else files


class ValSampleNeverSeen(TrainSampleNeverSeen):
    """The first sample of the validation split is never scored."""

    id = "val-sample-never-seen"
    citation = "google/uncertainty-baselines#303 (the metric moves with the split)"
    expected = ("eval-order-fixed",)
    touches = ("served",)
    split = "val"


class TrainLabelsOfNeighbour(_Mixed):
    """Each sample is trained on the label of the one before, and served with its own."""

    id = "train-labels-of-neighbour"
    citation = "tensorflow/tensorflow#13932; google/grain commit 50d2dd0 (pairs out of step)"
    expected = ("loss-recomputed",)
    touches = ("loss", "served")
    split: ClassVar[str] = "train"
    roles: ClassVar[tuple[str, ...]] = ("train", "recal")

    def _mixed(self, split: str, files: dict[str, Files]) -> dict[str, Files]:
        if split != self.split:
            return files
        samples = list(files)
        before = dict(zip(samples, [samples[-1], *samples[:-1]], strict=True))
        return {
            sample: (first, second, files[before[sample]][2])
            for sample, (first, second, _) in files.items()
        }

    def wrap(self, system: Any) -> Any:
        """Open on links, and show the labels that the samples should have."""
        asked: dict[str, Path] = {}

        def opened(inner: Any, config: Mapping[str, Any]) -> None:
            asked["folder"] = folder_of(config, self.split)
            inner.open(config)

        def batches(inner: Any, role: str, **kwargs: Any) -> Sequence[ServedBatch]:
            served = inner.batches(role, **kwargs)
            if role not in self.roles:
                return list(served)
            return [_with_own_labels(batch, asked["folder"]) for batch in served]

        return overriding(super().wrap(system), open=opened, batches=batches)


class EvalLabelsOfNeighbour(TrainLabelsOfNeighbour):
    """Each sample is scored on the label of the one before, and served with its own."""

    id = "eval-labels-of-neighbour"
    citation = "tensorflow/tensorflow#13932; google/grain commit 50d2dd0 (pairs out of step)"
    expected = ("metric-recomputed",)
    touches = ("metric", "served")
    split = "val"
    roles = ("eval",)


def _with_own_labels(batch: ServedBatch, folder: Path) -> ServedBatch:
    """Return a batch with the labels that lie on disk under its samples' names."""
    flows, known = [], []
    for sample, (top, left, height, width) in zip(batch.ids, batch.windows, strict=True):
        flow, valid = _label(folder / f"{sample}-{MEMBERS[2]}")
        window = slice(top, top + height), slice(left, left + width)
        flows.append(flow[window])
        known.append(valid[window])
    flow = np.stack(flows)
    if batch.flow_clip is not None:
        flow = np.clip(flow, -batch.flow_clip, batch.flow_clip)
    return dataclasses.replace(batch, flow=flow, valid=np.stack(known))


@cache
def _label(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a flow (H, W, 2) in px, 0 where it is unknown, and where it is known (H, W)."""
    flow = np.array(read_flow(path))
    valid = np.asarray((np.abs(flow) <= UNKNOWN_FLOW).all(axis=-1), np.bool_)
    flow[~valid] = 0.0
    return flow, valid
