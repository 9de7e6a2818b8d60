"""The finished pieces of a long evaluation, on disk, so that a killed one goes on.

JSON lines: a header that says what is evaluated, then one line for each phase, batch and
subtree, synced when it is finished. A last line that a kill cut short is dropped.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.asides import sync_open
from harness.comparing import leaves
from harness.errors import InputError
from harness.evaluation.shared import Entry
from harness.locks import only_process
from harness.records.environments import vouched_difference
from harness.supernet.sharing.plan import Key
from harness.supernet.space import format_arch, parse_arch

__all__ = ["FileJournal"]


class FileJournal(MutableMapping[Entry, dict[Any, Any]]):
    """A journal that appends to a file and starts with what the file holds.

    Parameters
    ----------
    path : pathlib.Path
        Made if it does not exist.
    header : mapping
        Everything that the results depend on, JSON-able.
    on_entry : callable, optional
        Called after each new entry.

    Attributes
    ----------
    unnamed : tuple of str
        Keys of the environment that an earlier version did not write into the file.

    Raises
    ------
    InputError
        If the file is of another evaluation or another process writes to it.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], on_entry: Callable[[], None] | None = None
    ) -> None:
        self._entries: dict[Entry, dict[Any, Any]] = {}
        self._path, self._on_entry = path, on_entry or _nothing
        self.unnamed: tuple[str, ...] = ()
        # Neither cut nor replaced on opening: it may be in use, which the lock tells afterwards.
        self._file = path.open("a+b")
        self._held = ExitStack()
        self._held.callback(self._file.close)
        try:
            busy = f"{path}: another process evaluates into it"
            self._held.enter_context(only_process(self._file, path, busy))
            # As it will be read: JSON has no tuples, and one that became a list would differ.
            self._read(json.loads(json.dumps(dict(header))))
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> "FileJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __getitem__(self, entry: Entry) -> dict[Any, Any]:
        return self._entries[entry]

    def __setitem__(self, entry: Entry, found: dict[Any, Any]) -> None:
        phase, batch, subtree = entry
        values = _packed(found) if phase == "recal" else _scores(found)
        self._append({"phase": phase, "batch": batch, "subtree": subtree, "values": values})
        self._entries[entry] = found
        self._on_entry()

    def __delitem__(self, entry: Entry) -> None:
        msg = f"{self._path}: what is finished stays, {entry} too"
        raise TypeError(msg)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _read(self, header: dict[str, Any]) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if lines:
            self._require_same(_parsed(self._path, lines[0]), header)
        # Without a whole line it is ours only if a kill cut our own header short.
        elif not _line(header).startswith(content):
            msg = f"{self._path}: holds something else; move it away to start anew"
            raise InputError(msg)
        self._file.truncate(len(whole))  # what a kill cut short
        if not lines:
            self._append(header)
        for line in lines[1:]:
            record = _parsed(self._path, line)
            try:
                entry = record["phase"], record["batch"], record["subtree"]
                unpack = _unpacked if record["phase"] == "recal" else _unscored
                self._entries[entry] = unpack(record["values"])
            except (KeyError, TypeError, ValueError) as error:
                raise _unreadable(self._path, error) from None

    def _require_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        there, here = (one.get("environment") for one in (old, new))
        if differing == ["environment"] and isinstance(there, dict) and isinstance(here, dict):
            found = vouched_difference(there, here)
            # What an earlier version did not write is no difference.
            self.unnamed = found.unnamed
            differing = [f"environment.{change.key}" for change in found.changed]
            old, new = (
                {f"environment.{key}": value for key, value in leaves(one)} for one in (there, here)
            )
        if differing:
            key = differing[0]
            msg = (
                f"{self._path}: holds another evaluation, {key}: found {old.get(key)}, expected "
                f"{new.get(key)}; move it away to start anew"
            )
            raise InputError(msg)

    def _append(self, record: Mapping[str, Any]) -> None:
        self._file.write(_line(record))
        self._file.flush()
        sync_open(self._file.fileno(), self._path)


def _nothing() -> None:
    """Do nothing after an entry."""


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: a line is no record: {error}; move the file away to start anew")


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _packed(found: Mapping[Key, Any]) -> dict[str, list[list[str]]]:
    return {
        f"{name}:{format_arch(codes)}": [[_text(values) for values in pair] for pair in pairs]
        for (name, codes), pairs in found.items()
    }


def _unpacked(values: Mapping[str, Any]) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for text, pairs in values.items():
        name, _, codes = text.rpartition(":")
        key = name, tuple(map(int, codes))
        found[key] = tuple((_array(mean), _array(variance)) for mean, variance in pairs)
    return found


def _text(values: NDArray[np.float32]) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _array(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


def _scores(found: Mapping[tuple[int, ...], list[float]]) -> dict[str, list[float]]:
    return {format_arch(arch): samples for arch, samples in found.items()}


def _unscored(values: Mapping[str, list[float]]) -> dict[tuple[int, ...], list[float]]:
    return {parse_arch(name): samples for name, samples in values.items()}
