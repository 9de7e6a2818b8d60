"""Decoded evaluation batches on disk, found again by the content they were made of.

A file's name is the digest of everything that its batch follows from: the bytes of the source
files, sample ids, crop, clip, and the code that decodes. Names, sizes and times of source files
say nothing: they are read and hashed each time, which costs a fraction of decoding them.
"""

import contextlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import cv2

from harness.devices import open_regular
from harness.digest import digest_strings
from harness.errors import InputError
from harness.fc2 import batch as batch_module
from harness.fc2 import crop as crop_module
from harness.fc2 import decode as decode_module
from harness.fc2 import png as png_module
from harness.fc2 import provider as provider_module
from harness.fc2.batch import Batch, content_digest
from harness.fc2.batch_store import read_arrays, write_arrays
from harness.fc2.crop import Window, center_window
from harness.fc2.decode import decode_triplet
from harness.fc2.errors import SampleError
from harness.fc2.provider import DataParts, Provider, assemble
from harness.records.declared import check_declared
from harness.strict_json import parse_json
from harness.whole import NotWrittenError, whole_file
from harness.wording import quoted

__all__ = ["BatchCache", "CacheError", "code_digest"]

FORMAT = 1
_MAGIC = b"samebits batch %d\n"
_DIGEST = 32
_LONGEST = 2**26
"""Bytes of a header that is believed; ids and windows of a batch take far fewer."""


class CacheError(InputError):
    """A cached batch is damaged or cannot be written; the message names the file."""


def code_digest() -> str:
    """Return the digest of the code that makes a batch of files, OpenCV's version included."""
    # The provider too: it clips, stacks and digests.
    modules = (batch_module, crop_module, decode_module, png_module, provider_module)
    return digest_strings([cv2.__version__, *(inspect.getsource(module) for module in modules)])


@dataclass(frozen=True)
class BatchCache:
    """Batches in a folder that any number of processes may share.

    Attributes
    ----------
    folder : pathlib.Path
        Made when first written to. It may be removed at any time.
    code : str
        Digest of the code that decodes.
    """

    folder: Path
    code: str = field(default_factory=code_digest)

    def batch(self, provider: Provider, indices: Sequence[int]) -> Batch:
        """Return a batch from its file, or decode it and write the file.

        A provider that decodes, crops or puts together otherwise than ours, by code of which
        nothing is known, is served without the cache.

        Raises
        ------
        CacheError
            If the file is damaged, or cannot be written.
        SampleError
            If a source file is bad, or changes while it is read.
        """
        parts = provider.parts
        if _is_unknown(parts):
            return provider.gather(indices)
        contents = [parts.fingerprint(provider.samples[i]) for i in indices]
        path = self.folder / f"{self._key(provider, indices, contents)}.batch"
        # Tried, not asked for first: somebody may empty the folder in between.
        with contextlib.suppress(FileNotFoundError):
            return _of(provider, indices, _read(path), path)
        batch = provider.gather(indices)
        # The key is of the old content; what was decoded since would be served under it for good.
        for i, content in zip(indices, contents, strict=True):
            if parts.fingerprint(provider.samples[i]) != content:
                raise SampleError(
                    provider.samples[i].img_0, "a sample that stays as it is while it is read",
                    "other content than before: something writes to the data set",
                )  # fmt: skip
        _write(path, batch)
        with contextlib.suppress(FileNotFoundError):  # somebody has just emptied the folder
            return _read(path)
        return batch

    def _key(self, provider: Provider, indices: Sequence[int], contents: Sequence[str]) -> str:
        return provider.parts.cache_key(
            code=self.code, crop=provider.crop, flow_clip=provider.flow_clip,
            ids=[provider.samples[i].id for i in indices], contents=contents,
        )  # fmt: skip


def _is_unknown(parts: DataParts) -> bool:
    """Return whether a batch is made by other code than :func:`code_digest` is of."""
    return (
        parts.decode is not decode_triplet
        or parts.center is not center_window
        or parts.assemble is not assemble
    )


def _write(path: Path, batch: Batch) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            _write_batch(file, path.stem, batch)
    except OSError as error:
        why = error.strerror if isinstance(error, NotWrittenError) else error
        msg = (
            f"{path}: not written: {why}; make room, or name another runtime.cache_dir (empty: "
            "no batch is kept on disk)"
        )
        raise CacheError(msg) from error


def _write_batch(file: BinaryIO, key: str, batch: Batch) -> None:
    header = {
        "key": key,
        "ids": batch.ids,
        "windows": [[w.top, w.left, w.height, w.width] for w in batch.windows],
        "flow_clip": batch.flow_clip,
        "digest": batch.digest,
        "layout": [
            (name, getattr(batch, name).dtype.str, getattr(batch, name).shape)
            for name in ("frames", "flow", "valid")
        ],
    }
    text = json.dumps(header, allow_nan=False).encode()
    file.write(_MAGIC % FORMAT)
    file.write(digest_strings([text.decode()]).encode())
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    write_arrays(file, batch)


@dataclass(frozen=True)
class _Header:
    """What a file says of its batch."""

    key: str
    ids: list[str]
    windows: list[tuple[int, int, int, int]]
    flow_clip: float | None
    digest: str
    layout: list[tuple[str, str, list[int]]]


def _of(provider: Provider, indices: Sequence[int], batch: Batch, path: Path) -> Batch:
    """Return a batch that was read, if it says of itself what its name is the digest of."""
    asked = tuple(provider.samples[i].id for i in indices), provider.flow_clip
    if (batch.ids, batch.flow_clip) != asked:
        msg = f"{path}: damaged: it says that it is of other samples, or of another clip; remove it"
        raise CacheError(msg)
    return batch


def _read(path: Path) -> Batch:
    """Read a batch and verify every byte of it.

    Raises
    ------
    CacheError
        If anything in it is not what was written.
    FileNotFoundError
        If there is none.
    """
    try:
        with open_regular(path) as file:
            header, start = _read_header(file, path.stem)
            arrays = read_arrays(file, header["layout"], start)
    except FileNotFoundError:
        raise
    except MemoryError:
        msg = f"{path}: no memory for its batch"
        raise MemoryError(msg) from None
    except OSError as error:
        msg = f"{path}: not readable: {error}; fix it or name another runtime.cache_dir"
        raise CacheError(msg) from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path}: damaged: {error}; remove it, and it is made anew from its source files"
        raise CacheError(msg) from error
    windows = tuple(Window(*w) for w in header["windows"])
    found = content_digest(header["ids"], windows, **arrays)
    if found != header["digest"]:
        due = quoted(header["digest"])[1:-1]
        msg = (
            f"{path}: damaged: expected digest {due}, found {found}; remove it, and it is made "
            "anew from its source files"
        )
        raise CacheError(msg)
    return Batch(
        tuple(header["ids"]), windows, **arrays, flow_clip=header["flow_clip"], digest=found
    )


def _read_header(file: BinaryIO, key: str) -> tuple[dict[str, Any], int]:
    magic = file.read(len(_MAGIC % FORMAT))
    if magic != _MAGIC % FORMAT:
        msg = f"expected {_MAGIC % FORMAT!r} at the start, found {quoted(magic)}"
        raise ValueError(msg)
    digest = file.read(_DIGEST)
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST:
        msg = f"expected a header of at most {_LONGEST} bytes, found {length}"
        raise ValueError(msg)
    text = file.read(length).decode()
    found = digest_strings([text])
    if found.encode() != digest:
        msg = f"expected a header of digest {quoted(digest)[2:-1]}, found {found}"
        raise ValueError(msg)
    header = parse_json(text)
    check_declared(_Header, header, "header")
    if header["key"] != key:
        msg = f"expected the batch of its name, found that of {quoted(header['key'])}"
        raise ValueError(msg)
    return header, file.tell()
