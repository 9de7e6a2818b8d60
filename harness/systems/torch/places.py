"""Threads that stay in the folder in which they were started."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["staying"]

_CLONE_FS = 0x200
"""What a thread shares with its process: root, current folder, umask (Linux, sched.h)."""

_OWN = threading.local()


def staying(start: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return ``threading.Thread.start`` for threads that keep the folder they were started in.

    Several instances have a folder each, and a process has one current folder: a thread that
    goes on between two calls, as the one in which TensorBoard writes its events, would find
    itself elsewhere. What such a thread starts shares its folder, as within a process. Where
    threads can have no folder of their own (other systems than Linux, some containers), they
    stay as they are.
    """

    @functools.wraps(start)
    def start_here(thread: Any) -> None:
        if getattr(_OWN, "has", False):
            start(thread)
            return
        run, there = thread.run, threading.Event()

        def run_here() -> None:
            _OWN.has = _unshared()
            there.set()
            run()

        thread.run = run_here
        start(thread)
        there.wait()

    return start_here


def _unshared() -> bool:
    """Give this thread a current folder of its own, and say whether it has one."""
    try:
        return bool(ctypes.CDLL(None).unshare(_CLONE_FS) == 0)
    except (AttributeError, OSError, TypeError):  # no such function, or no such library
        return False
