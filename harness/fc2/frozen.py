"""Frozen batches: one artifact that another machine reads back with every digest verified.

The plan's option B. The file is an uncompressed ``.npz`` with the pixels, the flow and a
JSON header; it needs neither the data set nor a decoder to be read.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.digest import digest_bytes, digest_strings
from harness.errors import InputError
from harness.fc2.batch import Batch, content_digest
from harness.fc2.crop import Window
from harness.whole import whole_file

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
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            text = archive["header"].tobytes()
            header = json.loads(text)
            if header.get("format") != FORMAT:
                msg = f"{path}: expected frozen format {FORMAT}, found {header.get('format')!r}"
                raise FrozenError(msg)
            if digest_bytes(text).encode() != archive["header_digest"].tobytes():
                raise FrozenError(f"{path}: the header does not match its digest")
            groups = {
                role: tuple(
                    keep(_read_batch(path, archive, f"{role}/{index:05d}", described))
                    for index, described in enumerate(header[role])
                )
                for role in ("eval", "recal")
            }
    except FrozenError:
        raise
    except Exception as error:
        msg = f"{path}: not readable as frozen batches: {error}"
        raise FrozenError(msg) from error
    return FrozenBatches(groups["eval"], groups["recal"])


def _read_batch(path: Path, archive: Any, key: str, described: dict[str, Any]) -> Batch:
    ids: Sequence[str] = tuple(described["ids"])
    windows = tuple(Window(*w) for w in described["windows"])
    frames, flow, valid = (archive[f"{key}/{name}"] for name in ("frames", "flow", "valid"))
    found = content_digest(ids, windows, frames, flow, valid)
    if found != described["digest"]:
        msg = f"{path}: batch {key}: expected digest {described['digest']}, found {found}"
        raise FrozenError(msg)
    return Batch(tuple(ids), windows, frames, flow, valid, described["flow_clip"], found)
