r"""Reading ``epochs.csv`` back: as it was written, or as a spreadsheet saved the same values.

Somebody may have opened it. A byte-order mark, ``;`` or tabs between cells, quoted cells and
``\r\n`` leave every value as it was, and are read. What may not is refused by its line.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.devices import read_regular
from harness.errors import InputError
from harness.records.records import EPOCH_FIELDS, EpochRecord
from harness.strict_json import LARGEST
from harness.wording import quoted

__all__ = ["EpochTable", "cell_of", "read_table", "told_otherwise"]

_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_KINDS = {item.name: getattr(item.type, "__name__", str(item.type)) for item in fields(EpochRecord)}
"""Names of the declared types, such as ``float | None``."""


@dataclass(frozen=True)
class EpochTable:
    """A table of epochs.

    Attributes
    ----------
    columns : tuple of str
        Its header; empty where nothing is written yet.
    rows : tuple of dict of str to str
        Those in effect, by column, as cells.
    delimiter : str
        What stands between cells.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[dict[str, str], ...] = ()
    delimiter: str = ","


def read_table(path: Path) -> EpochTable:
    """Return the rows of an ``epochs.csv`` that later ones have not made void.

    A last line without its end is what a crash left of a row, and is passed over.

    Raises
    ------
    InputError
        Naming the line that is no row of it, and why.
    """
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return EpochTable()
    lines = _lines(path, content)
    if not lines:
        # Without a whole line it is ours only if a kill cut our own header short.
        if not ",".join(EPOCH_FIELDS).encode().startswith(content):
            raise _refusal(path, 1, "is no header of an epoch log")
        return EpochTable()
    columns, delimiter = _header(path, lines[0])
    rows: list[dict[str, str]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        row = _row(path, number, columns, _cells(path, number, line, delimiter))
        # They ascend: whatever is void stands last.
        while rows and int(rows[-1]["epoch"]) >= int(row["epoch"]):
            rows.pop()
        rows.append(row)
    return EpochTable(columns, tuple(rows), delimiter)


def cell_of(value: Any) -> str:
    """Return a value of a record as a cell has it."""
    return "" if value is None else str(value)


def told_otherwise(
    rows: Iterable[Mapping[str, str]], records: Iterable[EpochRecord]
) -> Iterator[str]:
    """Yield where a row says something else than the ledger's record of the same epoch."""
    known = {(record.epoch, record.checkpoint_digest): record for record in records}
    for row in rows:
        record = known.get((int(row["epoch"]), row.get("checkpoint_digest") or None))
        if record is None:
            continue
        for name, cell in row.items():
            value = getattr(record, name)
            same = cell == cell_of(value) or (_is_number(name) and cell and float(cell) == value)
            if not same:
                said, due = quoted(cell, 40), quoted(cell_of(value), 40)
                yield f"epoch {row['epoch']}, {name}: says {said}, the ledger {due}"


def _lines(path: Path, content: bytes) -> list[str]:
    if b"\0" in content:
        raise _refusal(path, content[: content.index(b"\0")].count(b"\n") + 1, "holds a NUL byte")
    *whole, _ = content.removeprefix(_BOM).split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            lines.append(line.decode("utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            reason = f"is no text in UTF-8: {error.reason}"
            raise _refusal(path, number, reason) from None
    return lines


def _refusal(path: Path, number: int, reason: str) -> InputError:
    return InputError(
        f"{path}: line {number}: {reason}; restore it, or move it away: the ledger has every row"
    )


def _header(path: Path, line: str) -> tuple[tuple[str, ...], str]:
    for delimiter in (",", ";", "\t"):
        columns = tuple(_cells(path, 1, line, delimiter))
        if len(columns) > 1:
            break
    odd = [name for name in columns if name not in EPOCH_FIELDS]
    if odd:
        raise _refusal(path, 1, f"expected names of columns, found {quoted(odd[0])}")
    if len(set(columns)) != len(columns) or "epoch" not in columns:
        raise _refusal(path, 1, "expected each column once, and epoch among them")
    return columns, delimiter


def _cells(path: Path, number: int, line: str, delimiter: str) -> Sequence[str]:
    try:
        rows = list(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise _refusal(path, number, f"is no row: {error}") from None
    if len(rows) != 1:
        raise _refusal(path, number, "is no row: a line ends within it, or it is empty")
    return rows[0]


def _row(path: Path, number: int, columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(columns):
        raise _refusal(path, number, f"expected {len(columns)} cells, found {len(cells)}")
    for name, cell in zip(columns, cells, strict=True):
        if not _fits(name, cell):
            reason = f"{name}: expected {_expected(name)}, found {quoted(cell)}"
            raise _refusal(path, number, reason)
    return dict(zip(columns, cells, strict=True))


def _is_number(name: str) -> bool:
    return "str" not in _KINDS[name]


def _fits(name: str, cell: str) -> bool:
    kind = _KINDS[name]
    if cell == "":
        return "None" in kind or kind == "str"
    if "str" in kind:
        return cell.isprintable()
    if "int" in kind:
        return bool(_WHOLE.fullmatch(cell)) and -LARGEST <= int(cell) < LARGEST
    return bool(_NUMBER.fullmatch(cell)) and abs(float(cell)) != float("inf")


def _expected(name: str) -> str:
    kind = _KINDS[name]
    if "str" in kind:
        return "a text of one line"
    return "a whole number" if "int" in kind else "a finite number with a decimal point"
