"""A command that is interrupted ends with one line that says how to go on."""

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from harness.commands.common import EXIT_INTERRUPTED
from harness.runs.stop import handled, leave_terminal

__all__ = ["command_line", "until_interrupted"]

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command_line(words: Sequence[str]) -> str:
    """Return a command as it is typed."""
    return shlex.join(["harness", *words])


def until_interrupted(words: Sequence[str], run: Callable[[], int]) -> int:
    """Run a command until a signal asks for its end, and return its exit code.

    The first signal lets the command clear up, and is told in one line, whatever error it becomes
    on its way, and also where somebody else's code has swallowed it: what comes of that is no
    result. A second one ends the process at once. A command that saves where it stands answers
    signals itself.

    Parameters
    ----------
    words : sequence of str
        The command and its arguments.
    run : callable
        Runs it, and returns its exit code.
    """
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        for one in _ENDS:
            if signal.getsignal(one) is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(one, signal.SIG_DFL)
        if number == signal.SIGHUP:
            leave_terminal()
        raise KeyboardInterrupt

    try:
        with handled(_ENDS, end):
            code = run()
    except KeyboardInterrupt:
        return _told(words)
    except BaseException:
        if not came:
            raise
        return _told(words)
    return _told(words) if came else code


def _told(words: Sequence[str]) -> int:
    with suppress(OSError, ValueError):  # the terminal may have gone
        print(  # noqa: T201
            f"harness {words[0] if words else ''}: interrupted; what is there is whole, the same "
            f"command goes on: {command_line(words)}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return EXIT_INTERRUPTED
