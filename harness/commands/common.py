"""What several commands share: configuration from arguments, JSON results."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from harness.config import Config, load_config, with_fc2_root, with_overrides
from harness.errors import InputError
from harness.records.ledger import LedgerContent, read_ledger
from harness.runs.stop import StopFlag, say
from harness.whole import write_text

__all__ = [
    "EXIT_BROKEN",
    "EXIT_DONE",
    "EXIT_INPUT",
    "EXIT_INTERRUPTED",
    "StopFlag",
    "add_config_options",
    "configured",
    "ledger_file",
    "read_run_ledger",
    "say",
    "write_json",
]

EXIT_DONE, EXIT_BROKEN, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 75


def add_config_options(parser: ArgumentParser) -> None:
    """Add ``--config``, ``--fc2-root`` and ``--set``."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML file")
    parser.add_argument(
        "--fc2-root", type=Path, metavar="DIR", help="folder with train/ and val/; overrides paths"
    )
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE",
        help="override one key, such as train.lr=1e-3; may be repeated",
    )  # fmt: skip


def configured(args: Namespace) -> Config:
    """Return the configuration that the arguments name."""
    config = with_overrides(load_config(args.config), args.assignments)
    return with_fc2_root(config, args.fc2_root)


def ledger_file(path: Path) -> Path:
    """Return the ledger that a run directory holds, or that `path` is.

    Raises
    ------
    InputError
        If there is none.
    """
    file = path / "ledger.jsonl" if path.is_dir() else path
    if not file.exists():
        msg = f"{file}: no such ledger; name a run directory, or the ledger.jsonl in it"
        raise InputError(msg)
    return file


def read_run_ledger(file: Path) -> LedgerContent:
    """Read a ledger for a command that is about something else; say aloud what is lost in it."""
    content = read_ledger(file)
    for line in content.lost():
        say(f"warning: {file}: {line}")
    return content


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a command's result for machines, if asked to."""
    if path is not None:
        text = json.dumps(result, indent=2, allow_nan=False, default=str)
        write_text(path, text + "\n")
