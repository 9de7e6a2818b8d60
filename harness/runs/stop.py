"""What a run says, and the signals that ask it to stop at the next step."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from harness.console import say

__all__ = ["StopFlag", "handled", "leave_terminal", "say"]

_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
_ONCE = b"\nstopping at the next step, to be resumed; Ctrl-C again ends at once\n"


class StopFlag:
    """Set by a signal that asks a run to save and end.

    SIGTERM and SIGUSR1 come from SLURM, which is about to kill a job; SIGINT is Ctrl-C, of which a
    second one ends the process at once; SIGHUP says that the terminal has gone.
    """

    def __init__(self) -> None:
        self.raised = False

    def __enter__(self) -> "StopFlag":
        self._handled = handled(_STOPS, self._raise)
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def _raise(self, number: int, _: FrameType | None) -> None:
        self.raised = True
        if number == signal.SIGINT:
            # The system's own answer: it needs no turn of the interpreter, which may be busy.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            with suppress(OSError):
                os.write(2, _ONCE)  # a print within a print is an error
        if number == signal.SIGHUP:
            leave_terminal()

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.raised


@contextmanager
def handled(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], Any]
) -> Iterator[None]:
    """Answer signals by a function while the block runs; in the main thread alone.

    What was started to ignore Ctrl-C or a hangup, by ``&`` or ``nohup``, goes on ignoring it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {}
    for number in numbers:
        before = signal.getsignal(number)
        ignored = before is signal.SIG_IGN and number in (signal.SIGINT, signal.SIGHUP)
        if before is not None and not ignored:
            old[number] = before
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def leave_terminal() -> None:
    """Let what is still to be said go nowhere: writing to a terminal that has gone is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        if _is_lost(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_lost(descriptor: int) -> bool:
    """Say whether a descriptor is of a terminal, or of one that has gone."""
    with suppress(OSError):
        place = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        return os.isatty(descriptor) or place.startswith(("/dev/pts/", "/dev/tty"))
    return False
