"""What a system serves from files that have changed under an unchanged name, size and time."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.digest import digest_arrays
from harness.evidence.altering import Cached
from harness.evidence.observations import ServedBatch
from harness.scenarios.book import Book
from harness.scenarios.files import listed_samples
from harness.scenarios.measuring import split_folder
from harness.scenarios.setting import link_samples

__all__ = ["cached"]

_HEADER = 12
"""Bytes of a .flo file before its first vector."""


def cached(book: Book) -> Cached:
    """Serve evaluation batches twice with a cache, and with and without after one change."""
    folder = book.folder / "cached"
    for split in ("train", "val"):
        source = split_folder(book, split)
        link_samples(source, listed_samples(source), folder / split)
    cache = str(book.folder / "cache")
    batches = _serve(book, folder, cache)
    again = _serve(book, folder, cache)
    _change(folder / "val", batches[0])
    changed, fresh = _serve(book, folder, cache), _serve(book, folder, "")
    return Cached(_contents(batches), _contents(again), _contents(changed), _contents(fresh))


def _serve(book: Book, folder: Path, cache: str) -> Sequence[ServedBatch]:
    with book.open(
        data={"base_path": str(folder), "train_dir": "train", "val_dir": "val"},
        runtime={"cache_dir": cache, "cache_mib": 0},
    ) as system:
        return system.batches("eval")


def _contents(batches: Sequence[ServedBatch]) -> tuple[str, ...]:
    return tuple(
        digest_arrays({"frames": b.frames, "flow": b.flow, "valid": b.valid}) for b in batches
    )


def _change(folder: Path, batch: ServedBatch) -> None:
    """Add 1 px to a vector in the middle of the first sample's window; size and time stay."""
    path = folder / f"{batch.ids[0]}-flow_01.flo"
    shutil.copy2(path.resolve(), path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    kept, content = path.stat(), bytearray(path.read_bytes())
    top, left, height, width = batch.windows[0]
    across = int(np.frombuffer(content, "<i4", count=1, offset=4)[0])
    place = _HEADER + 8 * ((top + height // 2) * across + left + width // 2)
    vector = np.frombuffer(content, "<f4", count=2, offset=place) + np.float32(1)
    content[place : place + 8] = vector.tobytes()
    path.write_bytes(content)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
