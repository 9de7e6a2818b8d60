"""The finished pieces of a long evaluation, on disk, so that a killed one goes on.

JSON lines: a header that says what is evaluated, then one line for each phase, batch and
subtree, synced when it is finished. Every line carries the digest of itself and of the line
before; one that was changed, left out, said twice or moved is refused by its number. A last line
that a kill cut short is dropped and computed again.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from harness.asides import sync_open
from harness.comparing import leaves
from harness.errors import InputError, plain_line
from harness.evaluation.recalibration import NonFiniteScoreError
from harness.locks import only_process
from harness.records.chain import chain_of, chained, origin, split_chain
from harness.records.declared import check_declared, check_type
from harness.records.environments import vouched_difference
from harness.strict_json import parse_json
from harness.supernet.sharing.plan import Key
from harness.supernet.space import format_arch, parse_arch
from harness.wording import counted, quoted

__all__ = ["Entry", "FileJournal"]

Entry = tuple[Literal["recal", "score"], int, str]
"""A finished piece of work: phase, batch, and the subtree's name."""


class FileJournal(MutableMapping[Entry, dict[Any, Any]]):
    """A journal that appends to a file and starts with what the file holds.

    Parameters
    ----------
    path : pathlib.Path
        Made if it does not exist.
    header : mapping
        Everything that the results depend on, JSON-able.
    on_entry : callable, optional
        Called with each new entry.
    samples : sequence of int, optional
        Samples of each batch that is scored, which as many scores must be there of. Default: any.

    Attributes
    ----------
    unnamed : tuple of str
        Keys of the environment that an earlier version did not write into the file.
    notes : tuple of str
        What was found of the file, for people: a line that a kill cut short, lines of an earlier
        version that carry no digest.

    Raises
    ------
    InputError
        If the file is of another evaluation, another process writes to it, or a line is not what
        was written; then the file is left as it is.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any],
        on_entry: Callable[[Entry], None] | None = None,
        *, samples: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self._entries: dict[Entry, dict[Any, Any]] = {}
        self._path, self._on_entry, self._samples = path, on_entry or _nothing, samples
        self.unnamed: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self._before = origin()
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
        if phase == "recal":
            _require_finite(found, f"subtree {subtree}, batch {batch}")
        values = _packed(found) if phase == "recal" else _scores(found)
        self._append({"phase": phase, "batch": batch, "subtree": subtree, "values": values})
        self._entries[entry] = found
        self._on_entry(entry)

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
        *lines, rest = content.split(b"\n")
        # Without a whole line it is ours only if a kill cut our own header short.
        if not lines and not any(text.startswith(rest) for text in _headers(header)):
            msg = f"{self._path}: holds something else; move it away to start anew"
            raise InputError(msg)
        for number, (body, ours) in enumerate(self._verified(lines), start=1):
            record = self._parsed(body, number, ours=ours)
            if number == 1:
                self._require_same(record, header)
            else:
                self._take(record, number, ours=ours)
        if rest:
            cut = f"line {len(lines) + 1} was cut short by a kill, and is computed again"
            self.notes = (*self.notes, cut)
        self._file.truncate(len(content) - len(rest))
        if not lines:
            self._append(header)

    def _verified(self, lines: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
        """Yield what each line says without its digest, and whether that shows it to be ours."""
        old = 0
        for number, line in enumerate(lines, start=1):
            body, chain = split_chain(line)
            if chain is None:
                if number > old + 1:
                    self._refuse(number, "changed since it was written: it carries no digest")
                old = number
                yield body, False
                continue
            if number == old + 1:
                # The first digest is of all that an earlier version wrote before it.
                self._before = origin(*(one + b"\n" for one in lines[:old]))
            expected, self._before = chain_of(self._before, body), chain
            if chain != expected:
                why = "changed since it was written, or lines before it are missing or moved"
                self._refuse(number, f"{why}: expected {expected.decode()}, found {chain.decode()}")
            yield body, True
        if old == len(lines):
            self._before = origin(*(one + b"\n" for one in lines))
        if old:
            note = f"{counted(old, 'line')} of an earlier version carry no digest"
            again = "what is missing is recalibrated anew"
            self.notes = (f"{note}: whether they were changed since is not known; {again}",)

    def _refuse(self, number: int, reason: str) -> NoReturn:
        msg = f"{self._path}: line {number}: {reason}; move the file away to start anew"
        raise InputError(msg)

    def _parsed(self, body: bytes, number: int, *, ours: bool) -> dict[str, Any]:
        try:
            # Millions of numbers, of which ours are as they should be.
            record = json.loads(body) if ours else parse_json(body)
            check_type(Mapping[str, Any], record, "the line")
        except ValueError as error:
            self._refuse(number, f"no record: {error}")
        return dict(record)

    def _take(self, record: dict[str, Any], number: int, *, ours: bool) -> None:
        """Take a finished piece in; a line of an earlier version is known by its types alone.

        Which arrays its recalibration should have is not known here: that is computed again.
        """
        try:
            check_declared(_Piece, record, "piece")
            entry = record["phase"], record["batch"], record["subtree"]
            found = (_unpacked if record["phase"] == "recal" else _unscored)(record["values"])
            if entry in self._entries:
                msg = f"{entry} stands there before"
                raise ValueError(msg)
            if record["phase"] == "score":
                self._require_every_sample(record["batch"], found)
        except ValueError as error:
            self._refuse(number, f"no record: {plain_line(str(error))}")
        if ours or record["phase"] == "score":
            self._entries[entry] = found

    def _require_every_sample(self, batch: int, found: Mapping[Any, Sequence[float]]) -> None:
        if self._samples is None:
            return
        due = self._samples[batch] if 0 <= batch < len(self._samples) else 0
        for arch, scores in found.items():
            if len(scores) != due:
                text = f"batch {batch}, arch {format_arch(arch)}"
                msg = f"{text}: expected {counted(due, 'sample')}, found {len(scores)}"
                raise ValueError(msg)

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
                f"{self._path}: holds another evaluation, {_cut(key)}: found {_cut(old.get(key))}, "
                f"expected {_cut(new.get(key))}; move it away to start anew"
            )
            raise InputError(msg)

    def _append(self, record: Mapping[str, Any]) -> None:
        if not self._path.exists():
            msg = f"{self._path}: is gone while it is written to: put it back, and evaluate again"
            raise InputError(msg)
        line, self._before = chained(_body(record), self._before)
        self._file.write(line + b"\n")
        self._file.flush()
        sync_open(self._file.fileno(), self._path)


def _nothing(_: Entry) -> None:
    """Do nothing after an entry."""


@dataclass(frozen=True)
class _Piece:
    """What a line holds: of recalibration, pairs of arrays in base64; of scoring, EPE in px."""

    phase: Literal["recal", "score"]
    batch: int
    subtree: str
    values: dict[str, list[Any]]


def _body(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode()


def _headers(header: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Return the first line as this version writes it, and as earlier ones did."""
    body = _body(header)
    return chained(body, origin())[0] + b"\n", body + b"\n"


def _cut(value: Any) -> str:
    # Without its quotes, and what does not print by its number.
    return quoted(value)[1:-1] if isinstance(value, str) else quoted(value)


def _packed(found: Mapping[Key, Any]) -> dict[str, list[list[str]]]:
    return {
        f"{name}:{format_arch(codes)}": [[_text(values) for values in pair] for pair in pairs]
        for (name, codes), pairs in found.items()
    }


def _require_finite(found: Mapping[Key, Any], where: str) -> None:
    """Require it of statistics before they are kept: a line with others could not be read again."""
    for (name, _), pairs in found.items():
        if not all(np.isfinite(values).all() for pair in pairs for values in pair):
            msg = f"{where}: recalibrated statistics of {name} are not finite"
            raise NonFiniteScoreError(msg)


def _unpacked(values: Mapping[str, Any]) -> dict[Key, Any]:
    check_type(dict[str, list[tuple[str, str]]], values, "values")
    found: dict[Key, Any] = {}
    for text, pairs in values.items():
        name, _, codes = text.rpartition(":")
        if not set(codes) <= set("012"):
            msg = f"values.{quoted(text)}: expected a unit and codes of 0, 1 or 2"
            raise ValueError(msg)
        key = name, tuple(map(int, codes))
        found[key] = tuple((_array(mean), _array(variance)) for mean, variance in pairs)
    return found


def _text(values: NDArray[np.float32]) -> str:
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _array(text: str) -> NDArray[np.float32]:
    array = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    if not np.isfinite(array).all():
        msg = f"a statistic is {array[~np.isfinite(array)][0]}, expected finite numbers"
        raise ValueError(msg)
    return array


def _scores(found: Mapping[tuple[int, ...], list[float]]) -> dict[str, list[float]]:
    return {format_arch(arch): samples for arch, samples in found.items()}


def _unscored(values: Mapping[str, list[float]]) -> dict[tuple[int, ...], list[float]]:
    check_type(dict[str, list[float]], values, "values")
    return {parse_arch(name): samples for name, samples in values.items()}
