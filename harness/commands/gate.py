"""``harness gate``: the gate of a system, without any test file."""

import os
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, EXIT_INPUT
from harness.gate_options import OPTIONS

__all__ = ["add_parser", "run"]

_TESTS = Path(__file__).parents[1] / "gate_tests"


def add_parser(parser: ArgumentParser) -> None:
    """Declare the options of the gate under their short names."""
    for name, metavar, default, text in OPTIONS:
        shown = f" (default: {default})" if default else ""
        parser.add_argument(f"--{name}", metavar=metavar, help=text + shown)
    parser.add_argument(
        "--promise", nargs="+", metavar="ID", default=[],
        help="ask these promises alone, and give a verdict on them",
    )  # fmt: skip
    parser.add_argument(
        "pytest_options", nargs="*", metavar="-- OPTION", help="pytest's own options"
    )


def run(args: Namespace) -> int:
    """Run the promises under pytest; exit code 1 if one is broken, 2 for wrong input."""
    import pytest

    given = []
    for name, *_ in OPTIONS:
        value = getattr(args, name.replace("-", "_"))
        if value is not None:
            given.append(f"--samebits-{name}={value}")
    kept = list(given)
    given += [f"--samebits-promise={name}" for name in args.promise]
    if args.json is not None and args.gate_file is None:
        given.append(f"--samebits-gate-file={args.json}")
    # As a user's own folder has it: its ini keys count, and node ids and cache are its own.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- as Python itself would put it
    plugins = ["-p", "harness.pytest_stub", "-p", "harness.pytest_plugin"]
    command = shlex.join(["harness", "gate", *(g.replace("--samebits-", "--", 1) for g in kept)])
    code = pytest.main(
        [str(_TESTS), "--rootdir=.", "--import-mode=importlib", *plugins, *given,
         # This command is part of the package whose plugin pytest loads.
         "-W", "ignore:Module already imported so cannot be rewritten",
         "-o", f"samebits_again={command}", *args.pytest_options]
    )  # fmt: skip
    return {0: EXIT_DONE, 1: EXIT_BROKEN}.get(int(code), EXIT_INPUT)
