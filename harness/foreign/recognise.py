"""Whose run a folder or file is, and reading it."""

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from harness.devices import open_regular
from harness.errors import InputError
from harness.foreign.edgeflownas import HISTORY, LOG, read_edgeflownas
from harness.foreign.logged_steps import read_scalars, read_table
from harness.foreign.run import ForeignRun

__all__ = ["FOREIGN_FILES", "is_file_of_run", "is_own", "read_foreign"]

_TABLE, _SCALARS = "metrics.csv", "scalars.json"
_LEDGER, _OPENING = "ledger.jsonl", b'{"kind":"run"'
FOREIGN_FILES = (
    f"{LOG} or {HISTORY} (EdgeFlowNAS), {_TABLE} (Lightning), vis_data/{_SCALARS} (MMEngine)"
)
"""What other trainers' folders are known by, for people."""

_OF_RUNS = (
    LOG, HISTORY, _TABLE, _SCALARS, "*.meta.json", "*manifest.json", "fairness_counts.json",
    "eval_pool_*.json", "supernet_eval_result_*.json", "supernet_training_report.md",
)  # fmt: skip
"""Names of files that such runs are made of, of those that look like a result."""

_LOOKED_AT = 1000
"""Entries of a folder that are looked at."""


def is_own(path: Path) -> bool:
    """Return whether a path is a run of ours, or is to be read as one: no other reader takes it."""
    if path.is_dir():
        return os.path.lexists(path / _LEDGER) or not (_is_edgeflownas(path) or _logs(path))
    named = path.suffix.lower() == ".csv" or path.name == _SCALARS
    return not named or not path.is_file() or _begins_a_ledger(path)


def is_file_of_run(name: str) -> bool:
    """Return whether a file of this name in the folder of another trainer's run is a part of it."""
    return any(fnmatchcase(name, pattern) for pattern in _OF_RUNS)


def _begins_a_ledger(path: Path) -> bool:
    """Return whether a file is a ledger by another name."""
    with open_regular(path) as file:
        return file.read(len(_OPENING)) == _OPENING


def read_foreign(path: Path, columns: Mapping[str, str]) -> ForeignRun:
    """Read the run of another trainer.

    Parameters
    ----------
    path : pathlib.Path
        Its folder, or one of the files of `FOREIGN_FILES`, or any CSV file.
    columns : mapping of str to str
        Columns of a table by the names of :data:`harness.foreign.columns.KNOWN`.

    Raises
    ------
    InputError
        If it is nobody's, or several; if a file is not as that trainer writes it.
    """
    if not path.is_dir():
        return _read_file(path, columns)
    if _is_edgeflownas(path):
        if columns:
            msg = f"{path}: --column is for tables of other trainers, EdgeFlowNAS's are known"
            raise InputError(msg)
        return read_edgeflownas(path)
    logs = _logs(path)
    if len(logs) > 1:
        names = ", ".join(str(one.relative_to(path)) for one in logs[:5])
        msg = f"{path}: holds several runs ({names}); name one of them"
        raise InputError(msg)
    if not logs:
        msg = f"{path}: no run of a trainer that is known: no {_LEDGER}, {FOREIGN_FILES}"
        raise InputError(msg)
    return _read_file(logs[0], columns)


def _read_file(path: Path, columns: Mapping[str, str]) -> ForeignRun:
    if path.name == _SCALARS:
        return read_scalars(path, columns)
    return read_table(path, columns, "Lightning" if path.name == _TABLE else "CSV")


def _is_edgeflownas(folder: Path) -> bool:
    # `train.log` is what many programs call a log: what lies beside it decides.
    others = any((folder / name).is_file() for name in (_TABLE, f"vis_data/{_SCALARS}"))
    return (folder / HISTORY).is_file() or ((folder / LOG).is_file() and not others)


def _logs(folder: Path) -> list[Path]:
    """Return the logs in a folder, or of the runs in it."""
    for places in ([folder], _folders(folder)):
        found = [
            place / name
            for place in places
            for name in (_TABLE, f"vis_data/{_SCALARS}", *([_SCALARS] * (place == folder)))
            if (place / name).is_file()
        ]
        if found:
            return found
    return []


def _folders(folder: Path) -> Iterable[Path]:
    return sorted(entry for entry in islice(folder.iterdir(), _LOOKED_AT) if entry.is_dir())
