"""A kill matrix on its way: a line or a bar for each result, and the JSON as it grows."""

import math
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from harness.bars import Bar, bar, is_watched
from harness.commands.common import say, write_json
from harness.devices import is_stream, read_regular
from harness.errors import InputError
from harness.strict_json import parse_json

if TYPE_CHECKING:  # imports TensorFlow, which the environment must precede
    from harness.faults.results import Finished, Report, Result

__all__ = ["MatrixProgress", "check_resumable", "finished_before", "verdict"]


_EVERY = 2.0
"""Seconds from one writing of the JSON to the next."""


def check_resumable(args: Namespace) -> None:
    """Refuse ``--resume`` without results to go on with, before TensorFlow is imported.

    Raises
    ------
    InputError
        If there is no ``--json``, or it holds no JSON.
    """
    if not args.resume:
        return
    if args.json is None:
        msg = "--resume: goes on with the results in --json FILE, which is not given"
        raise InputError(msg)
    try:
        parse_json(read_regular(args.json) if args.json.exists() else b"{}")
    except ValueError as error:
        msg = (
            f"--resume: {args.json}: expected results that say what they were made by, found no "
            f"JSON: {error}; remove it, or leave --resume out"
        )
        raise InputError(msg) from None


def finished_before(args: Namespace, made_by: Mapping[str, str]) -> "Finished":
    """Return the results of the JSON that ``--resume`` goes on with, none without it.

    Raises
    ------
    InputError
        If there is no ``--json``, or its results are of another version or setting.
    """
    from harness.faults.results import read_finished

    if not args.resume:
        return {}
    return read_finished(args.json, made_by, say)


def verdict(result: "Result") -> str:
    """Return what became of one system, in a word."""
    if not result.task.path:
        return "ALARM" if result.fired else "clean"
    return "SURVIVED" if result.survived else "killed"


@dataclass
class MatrixProgress:
    """Takes results as they come, from several threads.

    Parameters
    ----------
    asked : int
        Systems that are to be judged.
    args : argparse.Namespace
        With ``json``, where the report is written after each result, or None.
    made_by : mapping of str to str
        Of :func:`harness.faults.results.made_by`.
    """

    asked: int
    args: Namespace
    made_by: Mapping[str, str]
    _results: "list[Result]" = field(default_factory=list)
    _start: float = field(default_factory=time.perf_counter)
    _written: float = -math.inf
    _lock: Lock = field(default_factory=Lock)
    _bar: Bar = field(default_factory=Bar)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "MatrixProgress":
        """Show a bar where there is a terminal."""
        self._bar = self._open.enter_context(bar(self.asked, "systems"))
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar, and write what there is: an interrupt comes between two writings."""
        self._open.close()
        self._write()

    def take(self, result: "Result") -> None:
        """Tell of one result, and write the JSON with it."""
        with self._lock:
            self._results.append(result)
            self._bar.advance(1)
            if not is_watched():
                count = f"[{len(self._results)}/{self.asked}]"
                what = f"{result.task.id} {result.task.mode} {result.seconds:.1f} s"
                line = f"{count} {verdict(result):8} {what}"
                print(line, file=sys.stderr, flush=True)  # noqa: T201 -- for a log that is watched
            # Not each time: a file of a megabyte for each of some five hundred results.
            if time.perf_counter() - self._written > _EVERY:
                self._written = time.perf_counter()
                self._write()

    def _write(self) -> None:
        # A pipe takes one report, at the end.
        if self._results and self.args.json is not None and not is_stream(self.args.json):
            write_json(self.args.json, self.report(self._results).as_dict())

    def report(self, results: "list[Result]") -> "Report":
        """Return the report of results, faults and clean systems apart."""
        from harness.faults.results import Report

        return Report(
            tuple(r for r in results if r.task.path), tuple(r for r in results if not r.task.path),
            time.perf_counter() - self._start, self.asked, self.made_by,
        )  # fmt: skip
