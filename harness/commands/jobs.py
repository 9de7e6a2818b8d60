"""Commands of this program as jobs: submitted, waited for, and submitted again where lost.

A job is a command that goes on from where it stands, so that whatever ends one, the same command
is submitted again. What asks this process to stop is handed on to the jobs.
"""

import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commands.cluster import Cluster
from harness.commands.common import EXIT_BROKEN, EXIT_DONE, EXIT_INTERRUPTED, say
from harness.errors import InputError, cut
from harness.runs.stop import handled
from harness.wording import counted

__all__ = [
    "MOST_LOST",
    "Ended",
    "Job",
    "JobsStoppedError",
    "command_job",
    "exit_code",
    "failures",
    "run_jobs",
]

MOST_LOST = 3
"""How often in a row a job is submitted again that got no further."""
_POLL = {"local": 0.2, "slurm": 2.0}
_YEAR = 366 * 24 * 60
_NO_RESULT = "ended without a result"


class JobsStoppedError(Exception):
    """A signal asked for a stop, and the jobs were asked to end."""


@dataclass(frozen=True)
class Job:
    """A command that is run as a job.

    Attributes
    ----------
    name : str
        For people.
    words : callable
        () -> list of str: the command line, asked for anew with each submission.
    progress : callable
        () -> anything: where it stands. A job that is lost again and again, and stands where it
        stood, is given up.
    """

    name: str
    words: Callable[[], Sequence[str]]
    progress: Callable[[], Any]


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes
    ----------
    code : int
        Exit code of the command; 75 where the job was lost too often.
    starts : int
        How often it was submitted.
    reason : str
        Its last line on standard error, or that it was lost; empty where it is done.
    """

    code: int
    starts: int
    reason: str = ""


@dataclass
class _State:
    job: Job
    handle: Any = None
    starts: int = 0
    lost: int = 0
    before: Any = None


def run_jobs(
    cluster: Cluster, folder: Path, jobs: Sequence[Job], *, at_once: int,
    stop: Callable[[], bool], done: Callable[[], None] = lambda: None,
) -> dict[str, Ended]:  # fmt: skip
    """Run commands as jobs, and return how each ended.

    Parameters
    ----------
    folder : pathlib.Path
        For submitit: what was submitted, and what jobs said. All machines must see it.
    at_once : int
        Jobs that are submitted and not ended.
    stop : callable
        () -> bool: whether to end the jobs.
    done : callable, optional
        Called as each job has ended for good.

    Raises
    ------
    JobsStoppedError
        If `stop` said so; what jobs had done is kept.
    InputError
        If the cluster takes no jobs.
    """
    executor = _executor(cluster, folder)
    waiting, running = [_State(job) for job in jobs], list[_State]()
    ended: dict[str, Ended] = {}
    try:
        while waiting or running:
            if stop():
                raise JobsStoppedError
            wave, waiting = waiting[: at_once - len(running)], waiting[at_once - len(running) :]
            _submit(executor, cluster, wave)
            running += wave
            for state in [one for one in running if one.handle.done()]:
                running.remove(state)
                found = _judged(cluster, state)
                if found is None:
                    waiting.append(state)
                else:
                    ended[state.job.name] = found
                    done()
            time.sleep(_POLL[cluster.kind])
    except BaseException:
        _cancel(cluster, running)
        raise
    return ended


def exit_code(ended: Mapping[str, Ended]) -> int:
    """Return the exit code of several jobs: of those that a repeat does not mend, the highest."""
    codes = {one.code for one in ended.values()} - {EXIT_DONE}
    final = codes - {EXIT_BROKEN, EXIT_INTERRUPTED}
    if final:
        return max(final)
    return EXIT_BROKEN if EXIT_BROKEN in codes else max(codes, default=EXIT_DONE)


def failures(ended: Mapping[str, Ended]) -> Iterator[str]:
    """Yield a line for each job that is not done."""
    for name, one in ended.items():
        if one.code != EXIT_DONE:
            yield f"{name}: exit code {one.code}, {counted(one.starts, 'start')}: {one.reason}"


def _executor(cluster: Cluster, folder: Path) -> Any:
    import submitit

    folder.mkdir(exist_ok=True)
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster.kind)
    if cluster.kind == "local":
        executor.update_parameters(timeout_min=_YEAR)
    else:
        given = {f"slurm_{key}": value for key, value in cluster.parameters.items()}
        executor.update_parameters(name="samebits", **given)
    return executor


def _submit(executor: Any, cluster: Cluster, wave: Sequence[_State]) -> None:
    """Submit jobs: as an array, where SLURM takes more than one."""
    if not wave:
        return
    from submitit.core.utils import FailedJobError

    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if cluster.kind == "local" else None
    for state in wave:
        state.starts, state.before = state.starts + 1, state.job.progress()
    try:
        with _deaf(), executor.batch():
            for state in wave:
                words = [str(word) for word in state.job.words()]
                state.handle = executor.submit(
                    command_job, words, str(Path.cwd()), cluster.kind == "local", visible
                )
    except (FailedJobError, OSError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        msg = f"--cluster {cluster.kind}: no job was taken: {cut(lines[-1] if lines else '', 300)}"
        raise InputError(msg) from None


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C and a hangup: this one tells them."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _judged(cluster: Cluster, state: _State) -> Ended | None:
    """Return how a job ended for good, None where it is to be submitted again."""
    code, reason = _outcome(cluster, state.handle)
    if code not in (None, EXIT_INTERRUPTED):
        return Ended(code or 0, state.starts, reason if code else "")
    moved = state.job.progress() != state.before
    state.lost = 1 if moved else state.lost + 1
    if state.lost > MOST_LOST:
        return Ended(EXIT_INTERRUPTED, state.starts, f"lost {state.lost} times in a row: {reason}")
    say(f"{state.job.name}: lost ({reason}); submitted again")
    return None


def _outcome(cluster: Cluster, handle: Any) -> tuple[int | None, str]:
    """Return a job's exit code, None where it was lost, and what it said last."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    # Submitit waits 15 s for a result that a network may be late with; a process of this machine
    # has written one by its end.
    if cluster.kind == "local" and not handle.paths.result_pickle.exists():
        return None, _last_line(handle) or _NO_RESULT
    try:
        code = handle.result()
    except UncompletedJobError:
        return None, _last_line(handle) or _NO_RESULT
    except FailedJobError:
        return None, _last_line(handle) or "failed"
    return int(code), _last_line(handle) if code else ""


def _last_line(handle: Any) -> str:
    """Return the last line of a job's standard error."""
    with suppress(OSError):
        lines = handle.paths.stderr.read_text(errors="replace").splitlines()
        return cut(next((line for line in reversed(lines) if line.strip()), ""), 300)
    return ""


def _cancel(cluster: Cluster, running: Sequence[_State]) -> None:
    """Ask jobs to end; processes of this machine are waited for."""
    left = [state.handle for state in running if not state.handle.done()]
    for handle in left:
        if cluster.kind == "slurm":
            handle.cancel(check=False)
        else:
            # Its controller hands this on; submitit's own way would kill it within a second.
            os.kill(int(handle.job_id), signal.SIGTERM)
    while cluster.kind == "local" and any(not handle.done() for handle in left):
        time.sleep(_POLL["local"])


def command_job(words: Sequence[str], folder: str, local: bool, visible: str | None) -> int:
    """Run a command of this program, in the job's own process, and return its exit code.

    Parameters
    ----------
    words : sequence of str
        The command and its arguments.
    folder : str
        The working directory.
    local : bool
        Whether it runs on the machine of whoever submitted it.
    visible : str or None
        There: its ``CUDA_VISIBLE_DEVICES``, which submitit empties.
    """
    os.chdir(folder)
    if local:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
    # SLURM's warning before the end of the time: commands save at SIGTERM, which submitit ignores.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    number = signal.Signals["SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")]
    sys.argv = ["harness", *words]
    with handled([number], lambda *_: os.kill(os.getpid(), signal.SIGTERM)):
        try:
            runpy.run_module("harness", run_name="__main__", alter_sys=False)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
