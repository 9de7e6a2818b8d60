"""The one door of the ledger: each line is as it was written, and each record as declared."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.errors import plain_line
from harness.records.chain import chain_of, split_chain
from harness.records.declared import check_type
from harness.records.records import Record, from_json
from harness.strict_json import parse_json
from harness.wording import quoted

__all__ = ["Door", "NoRecord"]


@dataclass(frozen=True)
class NoRecord:
    """Why a line holds no record, and whether that is what a cut leaves."""

    reason: str
    cut: bool


def _no_record(error: ValueError) -> NoRecord:
    return NoRecord(f"ValueError: {plain_line(str(error))}", cut=False)


_NO_CHAIN = "changed since it was written: it carries no chain, as the lines before it do"
_OTHER_CHAIN = "changed since it was written, or lines before it are missing or moved"


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _own_json(body: bytes) -> Any:
    """Return the value of what was written by us."""
    try:
        text = body.decode()
        value, end = _scan(text, 0)
    except (ValueError, StopIteration):
        end = -1
    # Whatever is wrong is told in the words of :mod:`json`, which takes twice as long.
    return value if end >= 0 and end == len(text) else json.loads(body)


class Door:
    """Lets line after line in: its chain, its JSON, its attempt, its declaration.

    Attributes
    ----------
    unchained : int
        Lines of an earlier version, which carry none.
    gaps : set of int
        Numbers of broken lines that more is missing beside than a cut leaves: what comes next
        does not follow what came before.
    """

    def __init__(self) -> None:
        self.unchained = 0
        self.gaps: set[int] = set()
        self._number, self._cut = 0, False
        self._attempt = 1
        # Of what an earlier version wrote, before the first line that carries a chain.
        self._old: Any = hashlib.blake2b(digest_size=16)
        self._last: tuple[bytes, ...] = ()
        self._of_attempt: dict[int, bytes] = {}

    def read(self, line: bytes) -> tuple[Record, int] | NoRecord:
        """Return the record of a line and the attempt that wrote it, or why there is none."""
        self._number += 1
        cut, self._cut = self._cut, False
        body, chain = split_chain(line.rstrip(b"\r\n"))
        try:
            # What carries its chain was written by us; another hand may say a key twice.
            data = _own_json(body) if chain else parse_json(body)
        except (ValueError, RecursionError) as error:
            self._pass(line, chain)
            self._cut = chain is None
            return NoRecord(f"JSONDecodeError: {plain_line(str(error))}", cut=True)
        try:
            attempt = self._attempt_of(data)
        except ValueError as error:
            self._pass(line, chain)
            return _no_record(error)
        odd = self._odd(line, body, chain, attempt)
        try:
            record = from_json(data)
        except ValueError as error:
            return _no_record(error)
        if odd and not cut:
            return NoRecord(odd, cut=False)
        if odd:
            self.gaps.add(self._number - 1)
        self._attempt = attempt
        return record, attempt

    def _attempt_of(self, data: Any) -> int:
        if not isinstance(data, dict):
            msg = f"expected an object, found {quoted(data)}"
            raise ValueError(msg)
        # Ledgers of version 0.1 name the attempt where it starts, and nowhere else.
        attempt = data.get("attempt", self._attempt)
        check_type(int, attempt, "attempt")
        if attempt < 1:
            msg = f"attempt: expected 1 or more, found {attempt}"
            raise ValueError(msg)
        return int(attempt)

    def _odd(self, line: bytes, body: bytes, chain: bytes | None, attempt: int) -> str:
        """Take a line in; return why its chain is not what it should be, empty where it is."""
        begun = self._old is None
        expected = self._pass(line, chain)
        if chain is None:
            self.unchained += not begun
            return _NO_CHAIN if begun else ""
        # A process that was thought dead goes on from its own last line, not from another's.
        own = self._of_attempt.get(attempt)
        self._of_attempt[attempt] = chain
        first, *others = (*expected, own or b"")
        found = chain_of(first, body)
        # Whether what a line says or its chain was changed: the next one may be as it was.
        self._last = (chain, found)
        if chain == found or any(chain == chain_of(before, body) for before in others):
            return ""
        return f"{_OTHER_CHAIN}: expected chain {found.decode()}, found {chain.decode()}"

    def _pass(self, line: bytes, chain: bytes | None) -> tuple[bytes, ...]:
        """Take a line in; return what the chain of it may follow."""
        expected = self._last
        if self._old is not None:
            if chain is None:
                self._old.update(line)
            else:
                expected, self._old = (self._old.hexdigest().encode(),), None
        if chain is not None:
            self._last = (chain,)
        return expected
