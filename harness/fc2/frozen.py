"""Frozen batches: one artifact that another machine reads back with every digest verified.

The plan's option B. The file is an uncompressed ``.npz`` with the pixels, the flow and a
JSON header; it needs neither the data set nor a decoder to be read.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.archives import Archive, ArchiveError, open_archive
from harness.digest import digest_bytes, digest_strings
from harness.errors import InputError, plain_line
from harness.fc2.batch import Batch, content_digest
from harness.fc2.crop import Window
from harness.records.declared import check_declared
from harness.strict_json import parse_json
from harness.whole import whole_file
from harness.wording import quoted

__all__ = ["FrozenBatches", "FrozenError", "read_frozen", "write_frozen"]

FORMAT = 1


class FrozenError(InputError):
    """A frozen artifact is damaged or of another format; the message names the batch."""


@dataclass(frozen=True)
class FrozenBatches:
    """The batches of an evaluation: validation batches and recalibration batches."""

    eval_batches: tuple[Batch, ...]
    recal_batches: tuple[Batch, ...]


def write_frozen(path: Path, batches: FrozenBatches) -> None:
    """Write the artifact; the same batches give the same bytes.

    Raises
    ------
    FileExistsError
        If the file holds anything else: a frozen artifact is never overwritten.
    harness.whole.NotWrittenError
        If the system refuses, for example because the disk is full.
    """
    arrays: dict[str, Any] = {}
    header: dict[str, Any] = {"format": FORMAT, "eval": [], "recal": []}
    for role, group in (("eval", batches.eval_batches), ("recal", batches.recal_batches)):
        for index, batch in enumerate(group):
            key = f"{role}/{index:05d}"
            arrays |= {
                f"{key}/frames": batch.frames,
                f"{key}/flow": batch.flow,
                f"{key}/valid": batch.valid,
            }
            header[role].append(_describe(batch))
    text = json.dumps(header, allow_nan=False, sort_keys=True)
    arrays["header_digest"] = np.frombuffer(digest_strings([text]).encode(), np.uint8)
    arrays["header"] = np.frombuffer(text.encode(), np.uint8)
    with whole_file(path, new=True) as file:
        # No time goes into the archive, so that the same batches give the same bytes.
        np.savez(file, **arrays)


def _describe(batch: Batch) -> dict[str, Any]:
    return {
        "ids": batch.ids,
        "windows": [[w.top, w.left, w.height, w.width] for w in batch.windows],
        "flow_clip": batch.flow_clip,
        "digest": batch.digest,
    }


def _as_it_is(batch: Batch) -> Batch:
    return batch


def read_frozen(path: Path, *, keep: Callable[[Batch], Batch] = _as_it_is) -> FrozenBatches:
    """Read an artifact and verify the digest of every batch.

    Parameters
    ----------
    keep : callable, optional
        Says where each batch lies as soon as it is read, as
        :meth:`harness.fc2.batch_store.BatchStore.keep`.

    Raises
    ------
    FrozenError
        If it is not readable, of another format, or a batch does not match its digest.
    """
    try:
        with open_archive(path) as archive:
            header = _read_header(path, archive)
            keys = {
                role: [f"{role}/{index:05d}" for index in range(len(header[role]))]
                for role in ("eval", "recal")
            }
            archive.require_names(_all_names(keys), "header")
            groups = {
                role: tuple(
                    keep(_read_batch(path, archive, key, described))
                    for key, described in zip(names, header[role], strict=True)
                )
                for role, names in keys.items()
            }
    except (ArchiveError, OSError) as error:
        msg = f"{path}: not readable as frozen batches: {plain_line(str(error))}"
        raise FrozenError(msg) from error
    return FrozenBatches(groups["eval"], groups["recal"])


def _all_names(keys: Mapping[str, Sequence[str]]) -> list[str]:
    arrays = [
        f"{key}/{name}"
        for group in keys.values()
        for key in group
        for name in ("frames", "flow", "valid")
    ]
    return ["header", "header_digest", *arrays]


@dataclass(frozen=True)
class _Described:
    """What the header says of a batch."""

    ids: list[str]
    windows: list[tuple[int, int, int, int]]
    flow_clip: float | None
    digest: str


@dataclass(frozen=True)
class _Header:
    """What an artifact says of its batches."""

    format: int
    eval: list[_Described]
    recal: list[_Described]


def _read_header(path: Path, archive: Archive) -> dict[str, Any]:
    """Return what an artifact says of its batches, once it is as it was written."""
    text = archive.read("header").tobytes()
    try:
        header = parse_json(text)
    except ValueError as error:
        raise FrozenError(f"{path}: the header is damaged: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = quoted(header.get("format") if isinstance(header, dict) else header)
        raise FrozenError(f"{path}: expected frozen format {FORMAT}, found {found}")
    if digest_bytes(text).encode() != archive.read("header_digest").tobytes():
        raise FrozenError(f"{path}: the header does not match its digest")
    try:
        check_declared(_Header, header, "header")
    except ValueError as error:
        raise FrozenError(f"{path}: {error}") from None
    return dict(header)


def _read_batch(path: Path, archive: Archive, key: str, described: dict[str, Any]) -> Batch:
    ids: Sequence[str] = tuple(described["ids"])
    windows = tuple(Window(*w) for w in described["windows"])
    frames, flow, valid = (archive.read(f"{key}/{name}") for name in ("frames", "flow", "valid"))
    found = content_digest(ids, windows, frames, flow, valid)
    if found != described["digest"]:
        due = quoted(described["digest"])[1:-1]
        msg = f"{path}: batch {key}: expected digest {due}, found {found}"
        raise FrozenError(msg)
    return Batch(tuple(ids), windows, frames, flow, valid, described["flow_clip"], found)
