"""Shards of an evaluation: whole subtrees, side by side, merged to what one process writes.

No TensorFlow here. A shard is a run of neighbours of the walk, because neighbours share most of
what leads to them.
"""

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.evaluation.journal import Entry
from harness.supernet.sharing.order import Subtree
from harness.wording import quoted

__all__ = ["MOST_SHARDS", "Shard", "merge", "shard_entries", "shard_header", "shard_path"]

MOST_SHARDS = 81
"""Subtrees of the whole space: combinations of its four trunk choices, of three options each."""
_SHARD = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")
Journal = MutableMapping[Entry, dict[Any, Any]]


@dataclass(frozen=True)
class Shard:
    """One of some parts of a pool.

    Attributes
    ----------
    index : int
        Which, from 1.
    count : int
        Of how many.
    """

    index: int
    count: int

    def __str__(self) -> str:
        """Return it as it is typed: ``2/7``."""
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read what :meth:`__str__` returns.

        Raises
        ------
        InputError
            If it is no shard.
        """
        found = _SHARD.fullmatch(text)
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= count <= MOST_SHARDS:
            msg = f"expected I/N with 1 <= I <= N <= {MOST_SHARDS}, such as 2/7, got {quoted(text)}"
            raise InputError(msg)
        return cls(index, count)

    def of(self, subtrees: Sequence[Subtree]) -> tuple[Subtree, ...]:
        """Return the subtrees of this shard: neighbours, as many as of the others or one more."""
        start, end = (len(subtrees) * i // self.count for i in (self.index - 1, self.index))
        return tuple(subtrees[start:end])


def shard_path(path: Path, shard: Shard) -> Path:
    """Return where a shard's scores go, beside those of the whole: ``x.2-of-7.scores.jsonl``."""
    end = ".scores.jsonl"
    return path.with_name(f"{path.name.removesuffix(end)}.{shard.index}-of-{shard.count}{end}")


def shard_header(header: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
    """Return what the scores of a shard depend on, and which shard it is."""
    return {**header, "shard": str(shard)}


def shard_entries(
    subtrees: Sequence[Subtree], recal_pieces: Sequence[Sequence[int]], scored: int
) -> list[Entry]:
    """Return what one process writes, in its order.

    Parameters
    ----------
    subtrees : sequence of Subtree
        In the order of the walk.
    recal_pieces : sequence of sequence of int
        Numbers of the batches that are recalibrated on side by side.
    scored : int
        How many pieces samples are scored in.
    """
    recal: list[Entry] = [
        ("recal", index, subtree.name)
        for piece in recal_pieces
        for subtree in subtrees
        for index in piece
    ]
    return recal + [("score", index, s.name) for index in range(scored) for s in subtrees]


def merge(journals: Sequence[Mapping[Entry, Any]], entries: Sequence[Entry], into: Journal) -> None:
    """Write finished pieces of shards into one journal, as one process would have written them.

    A shard computes statistics anew that an earlier one has, of what leads to both: in one process
    only the first subtree has them. What two shards have must be equal, to the last bit.

    Parameters
    ----------
    journals : sequence of mapping
        Of each shard.
    entries : sequence of Entry
        As of :func:`shard_entries`, of all shards together.
    into : mutable mapping
        Empty.

    Raises
    ------
    InputError
        If a piece is in no journal, or two differ in a statistic.
    """
    known: dict[int, dict[Any, Any]] = {}
    for entry in entries:
        found = next((journal[entry] for journal in journals if entry in journal), None)
        if found is None:
            msg = f"shards: none of {len(journals)} holds {_named(entry)}"
            raise InputError(msg)
        if entry[0] == "recal":
            before = known.setdefault(entry[1], {})
            _require_equal(entry, before, found)
            found = {key: values for key, values in found.items() if key not in before}
            before |= found
        into[entry] = found


def _require_equal(entry: Entry, before: Mapping[Any, Any], found: Mapping[Any, Any]) -> None:
    for key in before.keys() & found.keys():
        old, new = ([array for pair in one[key] for array in pair] for one in (before, found))
        if not all(np.array_equal(a, b) for a, b in zip(old, new, strict=True)):
            msg = (
                f"shards: {_named(entry)}: statistics of {key[0]} differ from another shard's, "
                "expected the same bits: their machines do not compute alike"
            )
            raise InputError(msg)


def _named(entry: Entry) -> str:
    phase, batch, subtree = entry
    what = "recalibration" if phase == "recal" else "scores"
    return f"{what} of batch {batch}, subtree {subtree}"
