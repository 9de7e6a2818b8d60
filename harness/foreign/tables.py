"""A CSV file as cells by column: every line has as many as the header, or is refused."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.devices import open_regular
from harness.foreign.text import each_line, refusal
from harness.wording import quoted

__all__ = ["Table", "open_table"]

_MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Table:
    """A table: its columns, and its rows read as they are asked for.

    Attributes
    ----------
    path : pathlib.Path
    columns : tuple of str
    cut : bool
        Whether the last line has no end: a kill may have cut its last number short.
    """

    path: Path
    columns: tuple[str, ...]
    cut: bool

    def rows(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        """Yield each whole row with its line.

        Raises
        ------
        InputError
            Naming the line that is no row of it.
        """
        for number, line, whole in each_line(self.path):
            if number == 1 or not whole:
                continue
            cells = _cells(self.path, number, line)
            if len(cells) != len(self.columns):
                reason = f"expected {len(self.columns)} cells, found {len(cells)}"
                raise refusal(self.path, number, reason)
            yield number, dict(zip(self.columns, cells, strict=True))


def open_table(path: Path) -> Table:
    """Return a table by its header.

    Raises
    ------
    InputError
        If there is no header, or a column is in it twice.
    """
    line = next((line for _, line, _ in each_line(path)), None)
    if not line:
        raise refusal(path, None, "is empty, expected a header with names of columns")
    columns = tuple(_cells(path, 1, line))
    double = [name for name, count in Counter(columns).items() if count > 1]
    if len(columns) > _MOST_COLUMNS:
        raise refusal(path, 1, f"expected at most {_MOST_COLUMNS} columns, found {len(columns)}")
    if double:
        raise refusal(path, 1, f"expected each column once, found {quoted(double[0])} twice")
    return Table(path, columns, _is_cut(path))


def _is_cut(path: Path) -> bool:
    with open_regular(path) as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _cells(path: Path, number: int, line: str) -> list[str]:
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error as error:
        raise refusal(path, number, f"is no row: {error}") from None
    if len(rows) != 1:
        raise refusal(path, number, "is no row: it is empty, or a cell goes on in the next line")
    return rows[0]
