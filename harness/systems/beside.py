"""A second process of the system under test, which makes calls while this one goes on.

Jobs run one after another on a thread of this process; what they make and ask are systems of
the second process, behind the protocol. It has another hash seed than this process, so that
nothing may depend on it.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from harness.systems.opening import remote_factory
from harness.systems.process import Worker, WorkerError
from harness.systems.protocol import System
from harness.systems.remote import load
from harness.systems.spec import SystemSpec

__all__ = ["Beside", "Job", "SecondProcess"]

T = TypeVar("T")
Job = Callable[[Callable[[], System]], T]
"""Gets a function that makes unopened systems of the second process."""

_CLOSED = "the second process was closed"


class SecondProcess:
    """A worker process and the thread that drives it; kept from one system to the next.

    The process is started for the first job. One that ended, because it crashed or took too
    long, is started anew for the next job: no job depends on what another one left there.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._worker: Worker | None = None
        self._runs = ""
        self._closed = False

    def submit(self, job: Callable[[], T]) -> "Future[T]":
        """Queue a job for the thread.

        Raises
        ------
        WorkerError
            If it was closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise WorkerError(_CLOSED)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="beside", daemon=True)
                self._thread.start()
            self._jobs.put(partial(_settle, future, job))
        return future

    def worker(self, spec: SystemSpec) -> Worker:
        """Return the process of a system; the thread calls this, and it alone asks the process.

        Raises
        ------
        WorkerError
            If it cannot be started, or this was closed.
        """
        runs = repr((spec.system, spec.root, spec.python, spec.timeout, spec.memory_mib))
        # Under the lock: a process that starts while this is closed would not be ended.
        with self._lock:
            if self._closed:
                raise WorkerError(_CLOSED)
            if self._worker is None or not self._worker.running or runs != self._runs:
                if self._worker is not None:
                    self._worker.close()
                self._worker, self._runs = Worker(spec, environment=_environment()), runs
            return self._worker

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """End process and thread at once, in the middle of a call too."""
        with self._lock:
            self._closed = True
            worker = self._worker
        if worker is not None:
            worker.kill()  # the thread sees the end of the pipe, and then lets go of it
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()
        if worker is not None:
            worker.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _settle(future: "Future[T]", job: Callable[[], T]) -> None:
    """Run a job, unless it was given up, and hand over its result or its error."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        found = job()
    except BaseException as error:  # noqa: BLE001 -- told to whoever waits
        future.set_exception(error)
    else:
        future.set_result(found)


class Beside:
    """Runs jobs on systems of the second process.

    A fault is planted there anew for each job, so that a broken system stays broken. What the
    builtin system compiles there is kept from one job to the next.

    Parameters
    ----------
    spec : SystemSpec
        Which system, broken by which fault.
    config : mapping
        Configuration tree whose environment the builtin system's process applies before
        TensorFlow starts.
    process : SecondProcess, optional
        A process that others use too, and that :meth:`close` leaves to them. Default: one of
        its own.
    """

    def __init__(
        self, spec: SystemSpec, config: Mapping[str, Any], process: SecondProcess | None = None
    ) -> None:
        self._spec, self._config = spec, config
        self._own = process is None
        self.process = process or SecondProcess()
        self._submitted: list[Future[Any]] = []
        self._closed = False

    def submit(self, job: Job[T]) -> "Future[T]":
        """Queue a job; its future has what the job returns, or the error that it raised.

        Systems that the job leaves open are closed after it.

        Raises
        ------
        WorkerError
            If this was closed.
        """
        if self._closed:
            raise WorkerError(_CLOSED)
        future = self.process.submit(partial(self._run, job))
        self._submitted.append(future)
        return future

    def close(self) -> None:
        """Give up every job: one of its own process ends at once, another at its next call."""
        self._closed = True
        for future in self._submitted:
            future.cancel()
        if self._own:
            self.process.close()

    def _run(self, job: Job[T]) -> T:
        worker = self.process.worker(self._spec)
        # A fault of the builtin system is planted there by
        # loading it, so it is loaded for each job.
        if self._spec.system == "builtin" or not worker.loaded:
            load(worker, self._spec, self._config)
        make = remote_factory(self._spec, partial(self._lend, worker))
        try:
            with ExitStack() as opened:
                return job(lambda: opened.enter_context(closing(make())))
        except WorkerError:
            if self._closed or self.process.closed:  # then the process ended because of that
                raise WorkerError(_CLOSED) from None
            raise

    def _lend(self, worker: Worker) -> Worker:
        if self._closed:
            raise WorkerError(_CLOSED)
        return worker


def _environment() -> dict[str, str]:
    """Return this process's environment variables with another hash seed."""
    # apply_environment sets the one left out, and keeps quiet only where nobody has set it.
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    mine = kept.get("PYTHONHASHSEED", "")
    return {**kept, "PYTHONHASHSEED": str(int(mine) + 1) if mine.isdigit() else "1"}
