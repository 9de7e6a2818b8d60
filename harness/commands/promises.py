"""``harness promises``: what the gate checks, and what a breach means."""

import os
import re
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.commands.common import EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.whole import write_text

__all__ = ["add_parser", "run", "written"]

_GATE, _FAULTS = "promises", "subjects"
"""Names of the places of made tables, in docs/gate.md and in docs/faults.md."""


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="tell everything of these promises (default: list all)"
    )
    parser.add_path(
        "--write", kind=PathKind.FILLED, metavar="DIR",
        help="write docs/promises.md and the tables of docs/gate.md and docs/faults.md in this "
        "checkout anew",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Print promises, or write the pages that are made of them."""
    from harness.promises.registry import PROMISES
    from harness.reporting.promises import promise_lines

    unknown = [name for name in args.ids if name not in PROMISES]
    if unknown:
        msg = f"no promise {unknown[0]!r}; `harness promises` lists them"
        raise InputError(msg)
    chosen = [PROMISES[name] for name in args.ids] or list(PROMISES.values())
    faults = _faults() if args.ids or args.write or args.json else None
    for promise in chosen if not args.write else ():
        known = None if faults is None or not args.ids else faults.get(promise.id, ())
        for line in promise_lines(promise, known):
            say(line)
    if args.write:
        for path, text in written(args.write).items():
            write_text(path, text)
            say(f"wrote {path}")
    write_json(args.json, {p.id: _as_dict(p, (faults or {}).get(p.id, ())) for p in chosen})
    return EXIT_DONE


def _faults() -> Any:
    """Return the faults by promise; they import TensorFlow, which is told to be quiet first.

    Nothing is computed, so no environment is applied: a process that has one keeps it. Where
    there is no TensorFlow, those that wrap any system are told of alone.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE
    from harness.reporting.promises import faults_by_promise

    if find_spec("tensorflow") is None:
        return faults_by_promise(FAULTS_ANYWHERE.values())
    from harness.faults.catalog import FAULTS

    return faults_by_promise(FAULTS.values())


def _as_dict(promise: Any, faults: Any) -> dict[str, Any]:
    return {
        "sentence": promise.sentence, "tier": promise.tier, "hint": promise.hint,
        "explained_by": list(promise.explained_by), "blocked_by": list(promise.blocked_by),
        "needs": list(promise.calls),
        "says": sorted(promise.needs.difference(promise.calls)),
        "faults": {fault.id: fault.citation for fault in faults},
    }  # fmt: skip


def written(checkout: Path) -> dict[Path, str]:
    """Return the text of each page of a checkout that is made from the declarations.

    Raises
    ------
    InputError
        If its page of the gate or of faults has no place for the table.
    """
    from harness.reporting.promises import promise_page, promise_table, subject_table

    gate, faults = (checkout / "docs" / name for name in ("gate.md", "faults.md"))
    return {
        gate: _with_table(gate, _GATE, promise_table()),
        faults: _with_table(faults, _FAULTS, subject_table()),
        checkout / "docs" / "promises.md": promise_page(_faults()),
    }


def _with_table(path: Path, name: str, table: str) -> str:
    """Return a page's text with the table between the marks of that name."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if begin not in text or end not in text:
        msg = f"{path}: expected a page with the lines {begin.strip()} and {end}"
        raise InputError(msg)
    # A function, because re.sub would read backslashes in the table as references to groups.
    made = f"{begin}{table}{end}"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: made, text, flags=re.S)
