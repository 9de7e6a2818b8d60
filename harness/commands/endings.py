"""How a command ends that fails: one line, an exit code, and a traceback of what nobody expected.

Every error that a command raises comes through here, and nowhere else is one made a line of.
"""

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import __version__
from harness.commands.common import EXIT_BROKEN, EXIT_INPUT, EXIT_INTERRUPTED
from harness.console import say_error
from harness.environment import EnvironmentMismatchError
from harness.errors import (
    InputError,
    NotApplicableError,
    WatchError,
    cut,
    is_out_of_memory,
    memory_line,
)
from harness.require_gate import GateError
from harness.systems.process import WorkerError
from harness.whole import NotWrittenError, write_text

__all__ = ["EXIT_SOFTWARE", "ended"]

EXIT_SOFTWARE = 70
"""``EX_SOFTWARE`` of sysexits.h: nobody expected this, and it is ours to mend."""

_MOST = 4000
"""Characters of a line."""

_EXPECTED = (InputError, EnvironmentMismatchError, WorkerError, GateError, NotApplicableError)
# By name, because their modules import TensorFlow.
_EXPECTED_NAMES = ("NoDeterministicKernelError", "CheckoutError")


def ended(command: str, run: Callable[[], int]) -> int:
    """Run a command and return its exit code; what it raises becomes a line on standard error.

    Parameters
    ----------
    command : str
        As it was called, for the line.
    run : callable
        The command.
    """
    try:
        return run()
    except KeyboardInterrupt:  # by no signal, or it would have been told before
        _tell(command, "interrupted")
        return EXIT_INTERRUPTED
    # A NaN, or what the watch stopped a run for, is a broken promise and no wrong input.
    except (FloatingPointError, WatchError) as error:
        _tell(command, str(error))
        return EXIT_BROKEN
    except Exception as error:  # noqa: BLE001 -- this is the one place for them
        text = _expected_text(error)
        if text is not None:
            _tell(command, text)
            return EXIT_INPUT
        _tell_unexpected(command, error)
        return EXIT_SOFTWARE


def _tell(command: str, text: str) -> None:
    words = " ".join(part.strip() for part in text.splitlines() if part.strip())
    say_error(f"{command}: {cut(words, _MOST)}")


def _expected_text(error: Exception) -> str | None:
    """Return what an error says to whoever called, None for one that nobody expected."""
    if is_out_of_memory(error):
        return memory_line(error)
    if isinstance(error, NotWrittenError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return "whoever reads the output has gone, and the rest was not done"
    if isinstance(error, OSError):
        return _system_text(error)
    named = any(base.__name__ in _EXPECTED_NAMES for base in type(error).__mro__)
    if isinstance(error, _EXPECTED) or named:
        return str(error) or type(error).__name__
    if isinstance(error, ImportError) and not (error.name or "").startswith("harness"):
        return f"{error}; `harness doctor` says what this machine lacks"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"{error}: the system starts no more; lower data.num_workers or end other processes"
    return None


def _system_text(error: OSError) -> str:
    """Return what the system refused, with the file that it is about."""
    if error.strerror is None:
        return str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2)
             if isinstance(name, str | bytes)]  # fmt: skip
    return ": ".join([*([" -> ".join(names)] if names else []), error.strerror])


def _tell_unexpected(command: str, error: Exception) -> None:
    """Say that something is wrong in here, and keep the traceback for whoever mends it."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = _report(command, error)
    for folder in _folders():
        name = f"{command.replace(' ', '-')}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        file = folder / f"{name}.traceback.txt"
        try:
            write_text(file, text)
        except OSError:
            continue
        _tell(command, f"a mistake of this program, {cut(what, 300)}; please report {file}")
        return
    _tell(command, f"a mistake of this program, {cut(what, 300)}; no folder takes its traceback:")
    for line in text.splitlines():
        say_error(line)


def _folders() -> Iterator[Path]:
    """Yield where a traceback may go: here, or else where temporary files are."""
    for find in (Path.cwd, lambda: Path(tempfile.gettempdir())):
        try:
            yield find()
        except OSError:  # the folder is gone, or there is none
            continue


def _report(command: str, error: Exception) -> str:
    told = "".join(traceback.format_exception(error))
    heading = f"samebits {__version__}, Python {platform.python_version()}, {platform.platform()}"
    called = f"{command}: {cut(' '.join(map(repr, sys.argv)), _MOST)}"
    text = f"{heading}\n{called}\n{_packages()}\n\n{told}"
    return text.encode("utf-8", "backslashreplace").decode()


def _packages() -> str:
    found = []
    for name in ("numpy", "tensorflow", "cv2", "pydantic", "yaml", "pytest"):
        module = sys.modules.get(name)
        if module is not None:
            found.append(f"{name} {getattr(module, '__version__', 'unknown')}")
    return ", ".join(found)
