"""The one door of the ledger: each line is as it was written, and each record as declared."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from harness.errors import plain_line
from harness.records.chain import chain_of, is_next, is_of_itself, split_chain
from harness.records.declared import check_type
from harness.records.records import Record, from_json
from harness.records.typed import TypedReader
from harness.strict_json import parse_json
from harness.wording import quoted

__all__ = ["Door", "NoRecord"]


@dataclass(frozen=True)
class NoRecord:
    """Why a line holds no record, and whether that is what a cut leaves."""

    reason: str
    cut: bool


_NO_CHAIN = "changed since it was written: it carries no chain, as the lines before it do"
_NOT_ITSELF = "changed since it was written: it does not match its chain"
_NOT_NEXT = "lines before it are missing, changed or moved: its chain goes on from another line's"


class Door:
    """Lets line after line in: its chain, its JSON, its attempt, its declaration.

    Attributes
    ----------
    unchained : int
        Lines of an earlier version, which carry none.
    gaps : set of int
        Numbers of broken lines that more is missing beside than a cut leaves: what comes next
        does not follow what came before.
    void_before : int
        Number of the first line that carries a digest, where that is of other lines than those
        before it; 0 where it is of them.
    """

    def __init__(self) -> None:
        self.unchained = 0
        self.gaps: set[int] = set()
        self.void_before = 0
        self._number, self._cut = 0, False
        self._attempt, self._typed = 1, TypedReader()
        # Of what an earlier version wrote, before the first line that carries a chain.
        self._old: Any = hashlib.blake2b(digest_size=16)
        self._last: tuple[bytes, ...] = ()
        self._before = b""
        self._of_attempt: dict[int, bytes] = {}

    def read(self, line: bytes) -> tuple[Record, int] | NoRecord:
        """Return the record of a line and the attempt that wrote it, or why there is none."""
        self._number += 1
        cut, self._cut = self._cut, False
        body, chain = split_chain(line.rstrip(b"\r\n"))
        begun = self._old is None
        linked = self._pass(line, chain)
        found = self._record_of(body, chain)
        if isinstance(found, NoRecord):
            return found
        record, attempt = found[0], found[1] or self._attempt
        if chain is None:
            if begun:
                return NoRecord(_NO_CHAIN, cut=False)
            self.unchained += 1
        else:
            if not is_of_itself(chain, body):
                # Whether what it says or its chain was changed: the next one may be as it was.
                self._last = (chain, chain_of(self._before, body))
                return NoRecord(_NOT_ITSELF, cut=False)
            # A process that was thought dead goes on from its own last line, not from another's.
            linked = linked or is_next(chain, self._of_attempt.get(attempt, b""))
            self._of_attempt[attempt] = chain
            if not linked:
                # What a line says is known by itself; what is missing is told where it is.
                if not cut and self.void_before != self._number:
                    return NoRecord(_NOT_NEXT, cut=False)
                self.gaps.add(self._number - 1)
        self._attempt = attempt
        return record, attempt

    def _record_of(self, body: bytes, chain: bytes | None) -> tuple[Record, int | None] | NoRecord:
        """Return a line's record and the attempt that it names; where there is none, say why."""
        if chain and (found := self._typed.read(body)):
            return found
        try:
            # What carries its chain was written by us; another hand may say a key twice.
            data = json.loads(body) if chain else parse_json(body)
        except (ValueError, RecursionError) as error:
            self._cut = chain is None
            return NoRecord(f"JSONDecodeError: {plain_line(str(error))}", cut=True)
        try:
            attempt = self._attempt_of(data)
            return self._typed.read(body) or (from_json(data), attempt)
        except ValueError as error:
            return NoRecord(f"ValueError: {plain_line(str(error))}", cut=False)

    def _pass(self, line: bytes, chain: bytes | None) -> bool:
        """Take a line in; return whether it goes on from the line before."""
        if chain is None:
            if self._old is not None:
                self._old.update(line)
            return False
        expected = self._last
        if self._old is not None:
            expected, self._old = (self._old.hexdigest().encode(),), None
        linked = any(is_next(chain, before) for before in expected)
        if not linked and not self._last and self._number > 1:
            self.void_before = self._number
        self._last, self._before = (chain,), expected[0]
        return linked

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
