"""What a gate writes, looked at before it begins; what an earlier gate wrote there goes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.commands.paths import Named, PathKind, check_paths
from harness.config import Config
from harness.errors import InputError
from harness.gate_pictures import remove_pages
from harness.gate_state import Asked, spelt
from harness.whole import remove_old

__all__ = ["remove_old_pages", "remove_old_verdict"]


def remove_old_verdict(config: pytest.Config, wanted: Asked, chosen: Config | None = None) -> None:
    """Check the paths that a gate names, and remove the verdict of an earlier one.

    Raises
    ------
    pytest.UsageError
        If one cannot be what it is named for.
    """
    path = Path(wanted.gate_file)
    if not (wanted.gate_file or wanted.pictures):
        return
    try:
        check_paths(_named_paths(wanted, chosen))
    except (InputError, OSError) as error:
        raise pytest.UsageError(spelt(config, str(error))) from None
    if not wanted.gate_file:
        return
    if path.is_file() and path.stat().st_size and not _is_gate_file(path):
        msg = f"--gate-file {path}: this is no gate file, and would be lost; name another"
        raise pytest.UsageError(msg)
    try:
        remove_old(path)  # an old verdict vouches for nothing
    except OSError as error:
        raise pytest.UsageError(f"--gate-file {error}") from None


def remove_old_pages(config: pytest.Config, wanted: Asked, number: int) -> None:
    """Remove the pages of an earlier gate.

    Raises
    ------
    pytest.UsageError
        If something else has the name of a page.
    """
    try:
        remove_pages(wanted, number)
    except (InputError, OSError) as error:
        raise pytest.UsageError(spelt(config, str(error))) from None


def _named_paths(wanted: Asked, chosen: Config | None) -> Iterator[Named]:
    """Yield what a gate reads and what it writes."""
    given = (
        ("--gate-file", wanted.gate_file, PathKind.NEW_FILE),
        ("--pictures", wanted.pictures, PathKind.NEW_FOLDER),
        ("--config", wanted.config, PathKind.FILE), ("--fc2-root", wanted.fc2_root, PathKind.DATA),
        ("--system-root", wanted.system_root, PathKind.CODE),
        ("--system", wanted.system.rpartition(":")[0], PathKind.CODE),
    )  # fmt: skip
    yield from (Named(option, Path(text), kind) for option, text, kind in given if text)
    if chosen is not None:
        for folder in (chosen.data.split_dir("train"), chosen.data.split_dir("val")):
            yield Named("the data", folder, PathKind.FOLDER)


def _is_gate_file(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "relations" in content
