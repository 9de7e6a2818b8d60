"""A pool of archs that somebody names in a file."""

from pathlib import Path
from typing import Any

from harness.devices import read_regular
from harness.errors import InputError
from harness.strict_json import parse_json
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS, check_arch, parse_arch
from harness.wording import quoted

__all__ = ["read_pool"]

_BOM = b"\xef\xbb\xbf"
_EXPECTED = f"{NUM_BLOCKS} whole numbers from 0 to {NUM_OPTIONS - 1}, or a text of as many digits"


def read_pool(path: Path) -> tuple[tuple[int, ...], ...]:
    """Return the archs of a JSON file: a list of them, or an object that has one.

    The list is named ``archs``, as in what ``harness eval --json`` writes, or ``pool``, as in
    EdgeFlowNAS's ``eval_pool_12.json``.

    Raises
    ------
    InputError
        Naming the file, the entry, what was found and what was expected.
    """
    try:
        data = parse_json(read_regular(path).removeprefix(_BOM))
    except OSError as error:
        msg = f"{path}: not readable as a pool: {error.strerror}"
        raise InputError(msg) from None
    except ValueError as error:
        msg = f"{path}: expected a JSON list of arch codes: {error}"
        raise InputError(msg) from None
    entries = _entries(path, data)
    found: dict[tuple[int, ...], int] = {}
    for number, entry in enumerate(entries, start=1):
        arch = _arch(path, number, entry)
        if arch in found:
            msg = (
                f"{path}: entry {number}: {quoted(entry)} is entry {found[arch]} too; each arch is "
                "scored once"
            )
            raise InputError(msg)
        found[arch] = number
    return tuple(found)


def _entries(path: Path, data: Any) -> list[Any]:
    named = [name for name in ("archs", "pool") if isinstance(data, dict) and name in data]
    if len(named) == 1:
        data = data[named[0]]
    if not isinstance(data, list) or not data:
        msg = (
            f"{path}: expected a list of arch codes, or an object with one as archs or pool, found "
            f"{quoted(data)}"
        )
        raise InputError(msg)
    return data


def _arch(path: Path, number: int, entry: Any) -> tuple[int, ...]:
    try:
        if isinstance(entry, str):
            return parse_arch(entry)
        if isinstance(entry, list):
            return check_arch(entry)
    except ValueError:
        pass
    msg = f"{path}: entry {number}: expected {_EXPECTED}, found {quoted(entry)}"
    raise InputError(msg)
