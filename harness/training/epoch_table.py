r"""Reading ``epochs.csv`` back: as it was written, or as a spreadsheet saved the same values.

Somebody may have opened it. A byte-order mark, ``;`` or tabs between cells, quoted cells and
``\r\n`` leave every value as it was, and are read. What may not is refused by its line.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.devices import open_regular
from harness.errors import InputError
from harness.records.records import EPOCH_FIELDS, EpochRecord
from harness.strict_json import LARGEST
from harness.wording import quoted

__all__ = ["cell_of", "each_row", "read_header", "told_otherwise"]

_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_KINDS = {item.name: getattr(item.type, "__name__", str(item.type)) for item in fields(EpochRecord)}
"""Names of the declared types, such as ``float | None``."""


def read_header(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the columns of a table, none where nothing is written yet, and what is between cells.

    Raises
    ------
    InputError
        If the first line is no header of an epoch log.
    """
    for _, line in _lines(path):
        return _header(path, line)
    return (), ","


def each_row(path: Path) -> Iterator[dict[str, str]]:
    """Yield every row of an ``epochs.csv`` in its order, by column, as cells.

    A last line without its end is what a crash left of a row, and is passed over.

    Raises
    ------
    InputError
        Naming the line that is no row of it, and why.
    """
    columns, delimiter = read_header(path)
    for number, line in _lines(path):
        if number > 1 and line:
            yield _row(path, number, columns, _cells(path, number, line, delimiter))


def cell_of(value: Any) -> str:
    """Return a value of a record as a cell has it."""
    return "" if value is None else str(value)


def told_otherwise(
    rows: Iterable[Mapping[str, str]], records: Iterable[EpochRecord],
    in_effect: Iterable[EpochRecord],
) -> Iterator[str]:  # fmt: skip
    """Yield where a table says something else than the ledger.

    Parameters
    ----------
    rows : iterable of mapping of str to str
        Of the table, in its order.
    records, in_effect : iterable of EpochRecord
        Of the ledger: all, void ones too, because a row is void only once another is written;
        and those in effect. The last may still lack its row, which a resume writes.
    """
    known: dict[int, list[EpochRecord]] = {}
    for record in records:
        known.setdefault(record.epoch, []).append(record)
    have: list[int] = []  # epochs of rows in effect, which rise
    for row in rows:
        epoch = int(row["epoch"])
        while have and have[-1] >= epoch:
            have.pop()
        have.append(epoch)
        found = [_other_cells(row, record) for record in known.get(epoch, ())]
        if found and all(found):
            yield f"epoch {epoch}, {min(found, key=len)[0]}"
        elif not found and known:
            yield f"epoch {epoch} is none of the ledger's"
    there = set(have)
    due = [record.epoch for record in in_effect]
    yield from (f"epoch {epoch} has no row" for epoch in due[:-1] if epoch not in there)


def _other_cells(row: Mapping[str, str], record: EpochRecord) -> list[str]:
    found = []
    for name, cell in row.items():
        value = getattr(record, name)
        if cell != cell_of(value) and not (_is_number(name) and cell and float(cell) == value):
            said, due = quoted(cell, 40), quoted(cell_of(value), 40)
            found.append(f"{name}: says {said}, the ledger {due}")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each whole line with its number, from 1, as text."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if not line.endswith(b"\n"):
                # Without a whole line it is ours only if a kill cut our own header short.
                if number == 1 and not ",".join(EPOCH_FIELDS).encode().startswith(content):
                    raise _refusal(path, 1, "is no header of an epoch log")
                return
            if b"\0" in content:
                raise _refusal(path, number, "holds a NUL byte")
            try:
                yield number, content.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                reason = f"is no text in UTF-8: {error.reason}"
                raise _refusal(path, number, reason) from None


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
