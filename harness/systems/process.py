"""A worker process: started, asked within a time limit, ended; each failure in one sentence."""

import os
import select
import subprocess
import sys
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from harness.errors import plain_line
from harness.systems.answers import Fields
from harness.systems.ending import (
    end_group,
    ended_how,
    has_ended,
    log_tail,
    memory_mib,
    wait_for_end,
)
from harness.systems.spec import SystemSpec
from harness.systems.worker import MAGIC, PREFIX, decode, pack, unpack_array, unpack_header

__all__ = ["Worker", "WorkerError"]

_FILE = Path(__file__).with_name("worker.py")
_EXIT_SECONDS = 5.0
"""Seconds in which a process that closed its pipe must have ended."""
_MOST_HEADER = 1 << 28
"""Bytes of a frame's header, which holds all but the arrays."""


class WorkerError(RuntimeError):
    """The worker failed, not the system's answer; the message ends with the worker's log."""


class Worker:
    """A process that runs systems of one class.

    What it starts ends with it, however either ends. It is started at once and waited for by the
    first request. One thread makes requests; any may call :meth:`kill`.

    Parameters
    ----------
    spec : SystemSpec
        Names interpreter, class and the limits of a call: time, and the process's own memory.
    own_group : bool, default True
        Whether it gets a process group of its own, which ends as a whole.
    environment : mapping, optional
        Its environment variables. Default: those of this process.

    Attributes
    ----------
    system : str
        Name of the system, for messages.
    loaded : bool
        Whether the system's class is loaded.
    source : str
        File that it was loaded from, as the process says.
    dropped : deque of int
        Numbers of systems that nobody holds any longer.

    Raises
    ------
    WorkerError
        If it cannot be started.
    """

    def __init__(
        self, spec: SystemSpec, *, own_group: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.system, self.loaded, self.dropped = spec.system, False, deque[int]()
        self._spec, self._group, self._numbers, self._why = spec, own_group, 0, ""
        self._about: dict[str, Any] = {}
        self.source = ""
        self._asked, self._hung = 0, False
        # A file and not a pipe: one that nobody reads fills up, and what writes to it hangs.
        self._log = tempfile.NamedTemporaryFile(prefix="system-", suffix=".log")  # noqa: SIM115
        self._process = _start(spec, self._log.name, own_group=own_group, environment=environment)
        # Ends the process also where nobody calls close().
        self._end = weakref.finalize(self, _end, self._process, self._log, own_group)

    @property
    def about(self) -> dict[str, Any]:
        """Python version, platform and packages, as the worker says when it starts.

        Raises
        ------
        WorkerError
            If it ends before, or is no Python with NumPy.
        """
        self._greet()
        return self._about

    @property
    def ended(self) -> bool:
        """Whether it failed or was closed."""
        return bool(self._why) or not self._end.alive

    @property
    def running(self) -> bool:
        """Whether the process is there and can be asked."""
        return not self.ended and not has_ended(self._process)

    @property
    def crashed(self) -> bool:
        """Whether it ended by itself, and neither because it was closed nor because it hung."""
        return bool(self._why) and not self._hung

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def new_number(self) -> int:
        """Return a number that no system of this worker had."""
        self._numbers += 1
        return self._numbers

    def take_dropped(self) -> list[int]:
        """Return, once, the systems that nobody holds any longer."""
        return [self.dropped.popleft() for _ in range(len(self.dropped))]

    def ask(self, what: str, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises
        ------
        WorkerError
            If the process ends, answers with something else than a frame, takes longer than
            the time limit, or has failed before.
        """
        if self.ended:
            why = self._why or "it was closed"
            msg = f"{what} of system {self._spec.system!r}: its process ended before: {why}"
            raise WorkerError(msg)
        self._greet()
        deadline = time.monotonic() + self._spec.timeout
        frame = pack({**request, "number": self._asked + 1}, what)
        self._asked += 1
        try:
            self._send(what, frame, deadline)
            reply = self._receive(what, deadline)
        except WorkerError:
            raise
        except BaseException:  # Ctrl-C: whoever asked next would get the answer to this
            self._why, self._hung = f"{what} was interrupted", True
            self.close()
            raise
        if reply.get("number") != self._asked:
            self._fail_no_frame(
                what, f"the reply to request {reply.get('number')}, not {self._asked}"
            )
        if "result" not in reply and not _is_error(reply.get("error")):
            self._fail_no_frame(what, "a reply with neither a result nor an error")
        return reply

    def _greet(self) -> None:
        """Wait, once, until the process says what it is."""
        if not self._about:
            deadline = time.monotonic() + self._spec.timeout
            needs = " Python 3.7 or newer with NumPy and"
            about = self._receive("starting", deadline, needs).get("hello")
            if not isinstance(about, dict) or not about.keys() >= {"executable", "python"}:
                self._fail_no_frame("starting", about)
            self._about = about

    def kill(self) -> None:
        """End the process at once; whoever waits for an answer of it gets an error."""
        end_group(self._process, own_group=self._group)

    def close(self) -> None:
        """End the process and let go of its pipes; no other thread may be asking it."""
        self._end()

    def fail(self, sentence: str, log: str = "") -> NoReturn:
        """End the process and raise, with the end of its log."""
        tail = log or log_tail(self._log.name)
        self._why = sentence
        self.close()
        shown = f"\nEnd of the worker's log:\n{tail}" if tail.strip() else "\nIts log is empty."
        raise WorkerError(sentence + shown)

    def _send(self, what: str, pieces: list[bytes], deadline: float) -> None:
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if not select.select([], [pipe], [], _wait(deadline))[1]:
                    self._require_alive(what, deadline)
                    continue
                try:
                    rest = rest[os.write(pipe, rest[:_CHUNK]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self._fail_ended(what)

    def _receive(self, what: str, deadline: float, needs: str = "") -> dict[str, Any]:
        prefix = self._read(PREFIX.size, what, deadline, needs)
        magic, length = PREFIX.unpack(prefix)
        if magic != MAGIC:
            self._fail_no_frame(what, repr(prefix))
        if length > _MOST_HEADER:
            self._fail_no_frame(what, f"a header of {length} bytes, more than {_MOST_HEADER}")
        try:
            body, sizes = unpack_header(self._read(length, what, deadline))
            payloads = [self._read(size, what, deadline) for size in sizes]
            found = decode(body, [unpack_array(payload) for payload in payloads], Fields.named)
            if not isinstance(found, dict):
                self._fail_no_frame(what, f"a {type(found).__name__} in one")
        except WorkerError:
            raise
        # Bytes that lie fail wherever that leads: in json, NumPy or what is built of them.
        except Exception as error:  # noqa: BLE001
            self._fail_no_frame(what, f"{type(error).__name__}: {error}")
        return found

    def _read(self, size: int, what: str, deadline: float, needs: str = "") -> bytes:
        assert self._process.stdout is not None
        pipe, found = self._process.stdout.fileno(), bytearray()
        while len(found) < size:
            if not select.select([pipe], [], [], _wait(deadline))[0]:
                self._require_alive(what, deadline, needs)
                continue
            piece = os.read(pipe, min(_CHUNK, size - len(found)))
            if not piece:
                self._fail_ended(what, needs)
            found += piece
        return bytes(found)

    def _require_alive(self, what: str, deadline: float, needs: str = "") -> None:
        """Give up a call whose process has ended, or has taken too much time or memory."""
        if has_ended(self._process):  # a child of its may hold the pipe open
            self._fail_ended(what, needs)
        if time.monotonic() >= deadline:
            self._fail_late(what)
        taken, most = memory_mib(self._process.pid), self._spec.memory_mib
        if taken > most:
            self.fail(
                f"{what} of system {self._spec.system!r}: its process holds {taken:.0f} MiB of "
                f"memory, expected at most {most:.0f} MiB; it was ended: let go of what is not "
                "needed, or allow more with --system-memory"
            )

    def _fail_late(self, what: str) -> NoReturn:
        self._hung = True
        self.fail(
            f"{what} of system {self._spec.system!r} took longer than {self._spec.timeout:g} s, "
            "expected an answer in that time; its process was ended: fix what hangs, or allow "
            "more with --system-timeout"
        )

    def _fail_ended(self, what: str, needs: str = "") -> NoReturn:
        how = "its process closed the pipe"
        if wait_for_end(self._process, _EXIT_SECONDS):
            self.kill()  # what it has started: once it is waited for, its number says nothing
            how = f"its process ended {ended_how(self._process.wait())}"
        self.fail(
            f"{what} of system {self._spec.system!r}: {how}, expected{needs} an answer; "
            f"run it by hand with {self._spec.python or sys.executable}"
        )

    def _fail_no_frame(self, what: str, found: object) -> NoReturn:
        self.fail(
            f"{what} of system {self._spec.system!r}: expected a frame of the worker, found "
            f"{plain_line(str(found))}; something in its process writes to the pipe that belongs "
            "to the worker: print, or write to descriptor 1 or 2, instead"
        )


_CHUNK = 1 << 20


def _wait(deadline: float) -> float:
    """Return how long to wait, s, before the process is looked at again."""
    return max(0.0, min(1.0, deadline - time.monotonic()))


_ERROR = ("stage", "name", "text", "trace")


def _is_error(found: Any) -> bool:
    """Say whether a reply's error has what it is raised again from."""
    return (
        isinstance(found, dict)
        and all(isinstance(found.get(key), str) for key in _ERROR)
        and isinstance(found.get("bases"), list)
        and all(isinstance(base, str) for base in found["bases"])
    )


def _start(
    spec: SystemSpec, log: str, *, own_group: bool, environment: Mapping[str, str] | None
) -> "subprocess.Popen[bytes]":
    """Start the interpreter on the worker file."""
    python = spec.python or sys.executable
    with open(log, "ab") as file:  # noqa: PTH123 -- appended to by two processes
        try:
            process = subprocess.Popen(
                [python, "-u", str(_FILE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=file, bufsize=0, start_new_session=own_group,
                env=environment,
            )  # fmt: skip
        except OSError as error:
            msg = f"--system-python {python}: expected a Python interpreter, found: {error}"
            raise WorkerError(msg) from None
    assert process.stdin is not None
    # A blocking write of more than a pipe holds would outlast the time limit.
    os.set_blocking(process.stdin.fileno(), False)
    return process


def _end(process: "subprocess.Popen[bytes]", log: IO[bytes], own_group: bool) -> None:
    """End a process, wait for its end, and close its pipes and its log."""
    end_group(process, own_group=own_group)
    process.wait()
    for pipe in (process.stdin, process.stdout, log):
        assert pipe is not None
        pipe.close()
