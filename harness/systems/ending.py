"""How a worker process ends: with its group, found out without losing it, and told in words."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

__all__ = ["end_group", "ended_how", "has_ended", "log_tail", "memory_mib", "wait_for_end"]

_TAIL_CHARACTERS = 2000
_TAIL_BYTES = 4 * _TAIL_CHARACTERS
"""Of UTF-8, which has up to four bytes a character."""

Process = subprocess.Popen[Any]


def has_ended(process: Process) -> bool:
    """Return whether a process has ended, and leave it to be waited for.

    Until then nobody else gets its number, which is that of its group.
    """
    if process.returncode is not None:
        return True
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None
    return process.poll() is not None  # somebody else has waited for it


def wait_for_end(process: Process, seconds: float) -> bool:
    """Wait until a process has ended, at most so long; return whether it has."""
    limit = time.monotonic() + seconds
    while not has_ended(process):
        if time.monotonic() >= limit:
            return False
        time.sleep(0.01)
    return True


def end_group(process: Process, *, own_group: bool) -> None:
    """Kill a process, and where it leads a group all that is left of that: children outlive it."""
    if process.returncode is not None:
        return  # waited for, after the group was ended; its number may be another's by now
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if own_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)


def ended_how(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time one has no name
        name = str(-code)
    memory = " (where nobody sent that, the machine ran out of memory)"
    return f"by signal {name}{memory * (name == 'SIGKILL')}"


def log_tail(path: str) -> str:
    """Return the end of a log, however long it is."""
    with Path(path).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read(_TAIL_BYTES).decode("utf-8", errors="replace")[-_TAIL_CHARACTERS:]


def memory_mib(pid: int) -> float:
    """Return a process's own memory, in MiB: anonymous, shared and swapped out.

    Mapped files are left out, whose pages the system takes back when it needs them. 0 where the
    system does not say (it is not Linux, or the process has ended).
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    lines = (line.split() for line in text.splitlines())
    kib = [int(words[1]) for words in lines if words[:1] and words[0] in _OWN_MEMORY]
    return sum(kib) / 1024


_OWN_MEMORY = ("RssAnon:", "RssShmem:", "VmSwap:")
