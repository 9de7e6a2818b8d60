"""Tables and JSON lines of steps or epochs: Lightning's, MMEngine's, anybody's."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import InputError, plain_line
from harness.foreign.columns import (
    Row,
    epochs_of_rows,
    named_columns,
    ranking_of,
    row_of_cells,
)
from harness.foreign.run import ForeignRun, Ranking
from harness.foreign.tables import open_table
from harness.foreign.text import each_line, logged_number, refusal, whole_of
from harness.strict_json import parse_json
from harness.wording import counted, quoted

__all__ = ["read_scalars", "read_table"]

_UNMADE = {
    "log-complete": "there is no second record of the run to hold it against",
    "options-fair": "the log counts no options of a search space",
    "checkpoint-metric-logged": "nothing is read of this trainer's checkpoints",
}
_MOST_KEYS = 10_000


def read_table(path: Path, given: Mapping[str, str], kind: str) -> ForeignRun:
    """Read a CSV file of a line a step or epoch, such as Lightning's ``metrics.csv``.

    Parameters
    ----------
    path : pathlib.Path
    given : mapping of str to str
        Columns by the names of :data:`harness.foreign.columns.KNOWN`, where these are not known.
    kind : str
        Whose file it is, for people.

    Raises
    ------
    InputError
        Naming file, line and reason.
    """
    table = open_table(path)
    try:
        columns = named_columns(given, table.columns)
        if "epoch" not in columns:
            msg = "expected a column of epochs: name it, --column epoch=COLUMN"
            raise InputError(msg)
    except InputError as error:
        raise refusal(path, 1, str(error)) from None

    def rows() -> Iterator[Row]:
        for number, cells in table.rows():

            def refuse(reason: str, number: int = number) -> InputError:
                return refusal(path, number, reason)

            yield row_of_cells(f"{path.name}, line {number}", cells, columns, refuse)

    epochs, void = epochs_of_rows(_in_order(path, rows()))
    notes = [f"{name} is column {quoted(column, 40)}" for name, column in columns.items()]
    if table.cut:
        notes.append("the last line has no end and is left out")
    return _run(kind, path, epochs, void, notes)


def read_scalars(path: Path, given: Mapping[str, str]) -> ForeignRun:
    """Read MMEngine's ``vis_data/scalars.json``: a JSON object a line.

    Lines of validation have no epoch and belong to the training before them. Where no line has
    one, as of a run by iterations, what lies before each validation counts as an epoch.

    Raises
    ------
    InputError
        Naming file, line and reason.
    """
    there: dict[str, None] = {}
    for _, line in _objects(path):
        if len(there) < _MOST_KEYS:
            there.update(dict.fromkeys(line))
    try:
        columns = named_columns(given, list(there))
    except InputError as error:
        raise refusal(path, None, str(error)) from None
    epochs, void = epochs_of_rows(_in_order(path, _rows_of_objects(path, columns)))
    notes = [f"{name} is {quoted(column, 40)}" for name, column in columns.items()]
    if "epoch" not in columns:
        notes.append("no line names an epoch: what lies before each validation counts as one")
    return _run("MMEngine", path, epochs, void, notes)


def _in_order(path: Path, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows; an epoch that comes before those that are there, and not again, is no restart.

    Raises
    ------
    InputError
        Naming the row: sorted otherwise, each one would void those above it.
    """
    seen: set[int] = set()
    last = -1
    for row in rows:
        if row.epoch < last and row.epoch not in seen:
            reason = f"{row.where}: epoch {row.epoch} comes first after epoch {last}, so that these"
            text = f"{reason} are not the rows of a run in their order; sort them by time"
            raise refusal(path, None, text)
        seen.add(row.epoch)
        last = row.epoch
        yield row


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, text, whole in each_line(path):
        if not text:
            continue
        try:
            # NaN and Infinity are what Python writes for such a loss.
            value = parse_json(text, constants=True)
        except ValueError as error:
            if not whole:  # what a kill left of a line
                return
            raise refusal(path, number, plain_line(str(error))) from None
        if not isinstance(value, dict):
            raise refusal(path, number, f"expected an object, found {quoted(value)}")
        yield number, value


def _rows_of_objects(path: Path, columns: Mapping[str, str]) -> Iterator[Row]:
    epoch, scored = 1, False
    for number, line in _objects(path):
        values: dict[str, float] = {}
        ranking: Ranking = ()
        for name, column in columns.items():
            if column in line:
                try:
                    if name == "ranking":
                        ranking = _ranking(line[column])
                    else:
                        values[name] = _value(name, line[column])
                except ValueError as error:
                    raise refusal(path, number, f"{quoted(column, 40)}: {error}") from None
        if "epoch" in values:
            epoch = int(values.pop("epoch"))
        elif scored and "epoch" not in columns and "epe" not in values:
            epoch += 1
        scored = "epe" in values
        yield Row(f"{path.name}, line {number}", epoch, values, ranking)


def _ranking(value: object) -> Ranking:
    if not isinstance(value, str):
        msg = f"expected a ranking as text, found {quoted(value)}"
        raise ValueError(msg)
    return ranking_of(value) if value else ()


def _value(name: str, value: object) -> float:
    if name == "epoch":
        return whole_of(value)
    return float(logged_number(value))


def _run(kind: str, path: Path, epochs: Any, void: int, notes: list[str]) -> ForeignRun:
    if not epochs:
        raise refusal(path, None, "holds no row yet, there is nothing to audit")
    if void:
        notes.append(f"{counted(void, 'epoch')} came again later: the last counts")
    # Lightning counts from 0, MMEngine from 1; of another's table the first row tells.
    first = min(epochs[0].number, 1)
    return ForeignRun(kind, (path.name,), epochs, notes=tuple(notes), first=first, unmade=_UNMADE)
