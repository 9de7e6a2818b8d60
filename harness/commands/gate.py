"""``harness gate``: the gate of a system, without any test file."""

import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, EXIT_INPUT
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError, plain_line
from harness.expanding import escaped
from harness.gate_options import OPTIONS
from harness.verdict import EXCEPT_KNOWN, GREEN

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest

__all__ = ["add_parser", "run"]

_PATHS = {
    "config": PathKind.FILE, "fc2-root": PathKind.DATA, "system-root": PathKind.CODE,
    "gate-file": PathKind.NEW_FILE, "pictures": PathKind.NEW_FOLDER,
}  # fmt: skip
_TESTS = Path(__file__).parents[1] / "gate_tests"
_OURS = (
    str(_TESTS), "--rootdir=.", "--import-mode=importlib",
    # Where this is installed as editable, a conftest.py of ours lies above the tests.
    f"--confcutdir={_TESTS}", "-p", "harness.pytest_stub", "-p", "harness.pytest_plugin",
    # This command is part of the package whose plugin pytest loads.
    "-W", "ignore:Module already imported so cannot be rewritten",
)  # fmt: skip
"""Words of every call of pytest."""


def add_parser(parser: CommandParser) -> None:
    """Declare the options of the gate under their short names."""
    for name, metavar, default, text in OPTIONS:
        shown = text + (f" (default: {default})" if default else "")
        if name in _PATHS:
            parser.add_path(f"--{name}", kind=_PATHS[name], metavar=metavar, help=shown)
        else:
            parser.add_argument(f"--{name}", metavar=metavar, help=shown)
    parser.add_argument(
        "--promise", nargs="+", metavar="ID", default=[],
        help="ask these promises alone, and give a verdict on them",
    )  # fmt: skip
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show every line in full, tracebacks too"
    )
    parser.add_argument(
        "pytest_options", nargs="*", metavar="-- OPTION", help="pytest's own options"
    )


def run(args: Namespace) -> int:
    """Run the promises under pytest; exit code 1 unless the gate is green, 2 for wrong input."""
    import pytest

    if args.json is not None and args.gate_file is not None:
        msg = "--json and --gate-file name the same file: give one of them"
        raise InputError(msg)
    given = _given(args)
    # Not the gate file: what is asked again is a part, and would replace the whole.
    kept = [word for word in given if not word.startswith("--samebits-gate-file=")]
    given += [f"--samebits-promise={name}" for name in args.promise]
    if args.json is not None:
        given.append(f"--samebits-gate-file={escaped(str(args.json))}")
    # As a user's own folder has it: its ini keys count, and node ids and cache are its own.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- as Python itself would put it
    command = shlex.join(["harness", "gate", *(g.replace("--samebits-", "--", 1) for g in kept)])
    verdicts = _Verdicts()
    pytest.hookimpl(wrapper=True)(_Verdicts.pytest_report_header)
    own = ["-o", f"samebits_again={command}", *["-v"] * args.verbose, *args.pytest_options]
    code = pytest.main([*_OURS, "-c", _ini_file(Path.cwd()), *given, *own], plugins=[verdicts])
    if verdicts.failure is not None:  # of pytest itself, or of what we do within it
        raise verdicts.failure
    if code == pytest.ExitCode.INTERRUPTED and verdicts.interrupted:
        raise KeyboardInterrupt
    if verdicts.refusal:
        raise InputError(verdicts.refusal)
    if code == pytest.ExitCode.OK and not verdicts.green:
        return EXIT_BROKEN
    return {0: EXIT_DONE, 1: EXIT_BROKEN}.get(int(code), EXIT_INPUT)


def _given(args: Namespace) -> list[str]:
    """Return the options that were given, as pytest's."""
    given = []
    for name, *_ in OPTIONS:
        value = getattr(args, name.replace("-", "_"))
        if value is not None:
            # Expanded once already, here.
            text = escaped(str(value)) if name in _PATHS else value
            given.append(f"--samebits-{name}={text}")
    return given


class _Verdicts:
    """Looks, once the session is over, whether its gate is green; or was to be listed alone."""

    def __init__(self) -> None:
        import pytest

        self._exit, self._usage = pytest.exit.Exception, pytest.ExitCode.USAGE_ERROR
        self.green = False
        self.interrupted = False
        self.refusal = ""
        self.failure: BaseException | None = None

    def pytest_report_header(self) -> "Generator[None, Any, Any]":
        """Leave out the file of no settings that stands for a folder without an ini file."""
        found = yield
        return [
            [line for line in ([lines] if isinstance(lines, str) else lines)
             if not (line.startswith("configfile:") and line.endswith(os.devnull))]
            for lines in found
        ]  # fmt: skip

    def pytest_internalerror(self, excinfo: "pytest.ExceptionInfo[BaseException]") -> None:
        self.failure = excinfo.value

    def pytest_keyboard_interrupt(self, excinfo: "pytest.ExceptionInfo[BaseException]") -> None:
        self.interrupted = isinstance(excinfo.value, KeyboardInterrupt)
        # Exit is what our own refusals raise, by pytest.exit(), within a test too.
        if isinstance(excinfo.value, self._exit) and excinfo.value.returncode == self._usage:
            self.refusal = plain_line(str(excinfo.value), most=400)

    def pytest_unconfigure(self, config: "pytest.Config") -> None:
        from harness.gate_state import STATES

        results = [state.result for state in config.stash.get(STATES, {}).values()]
        self.green = bool(config.option.collectonly) or (
            bool(results) and all(r and r.verdict in (GREEN, EXCEPT_KNOWN) for r in results)
        )


_SECTIONS = {
    "pytest.toml": "", ".pytest.toml": "", "pytest.ini": "", ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]", "setup.cfg": "[tool:pytest]",
}  # fmt: skip


def _ini_file(folder: Path) -> str:
    """Return the ini file of a folder or of one above it, as pytest would find it from there.

    From the tests, which lie where this is installed, it would find another one.
    """
    for place in (folder, *folder.parents):
        for name, section in _SECTIONS.items():
            path = place / name
            if path.is_file() and section in path.read_text(encoding="utf-8", errors="replace"):
                return str(path)
    return os.devnull
