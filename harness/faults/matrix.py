"""The kill matrix: every fault against every promise that concerns it.

Two worker processes share the work. Each keeps what it compiled from one fault to the
next, and asks one more process, kept as well, for what must be seen in a fresh one.
"""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.promises import recalibration, resume, scores
from harness.promises.registry import PROMISES, SUBJECTS
from harness.systems.spec import load_object

__all__ = [
    "CLEAN", "NEEDS_FRESH", "Report", "Result", "Task", "Worker", "plan_clean", "plan_fault",
    "run_matrix",
]  # fmt: skip

CLEAN = "clean system"
NEEDS_CUTS = frozenset({resume.RESUME_MID_EPOCH.id, resume.RESUME_BEFORE_EVALUATION.id})
NEEDS_FRESH = NEEDS_CUTS | {
    scores.SAME_SCORES_FRESH.id, recalibration.RECAL_BATCHES_FIXED.id, resume.RESUME_EXACT.id,
}  # fmt: skip
"""Promises whose evidence asks a fresh process."""


@dataclass(frozen=True)
class Task:
    """One system to judge: a fault's path (empty: the clean system) and the promises."""

    id: str
    path: str
    arguments: Mapping[str, Any]
    promises: tuple[str, ...]
    family: str = ""
    citation: str = ""
    expected: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Result:
    """What the promises said of one system.

    Attributes
    ----------
    task : Task
    fired : mapping of str to str
        Promise to its first violation, or to the error that kept it from being checked.
    absent : mapping of str to str
        Promises that do not apply, and why.
    seconds : float
        Wall time, s.
    """

    task: Task
    fired: Mapping[str, str]
    absent: Mapping[str, str]
    seconds: float

    @property
    def survived(self) -> tuple[str, ...]:
        """Expected promises that did not fire."""
        return tuple(promise for promise in self.task.expected if promise not in self.fired)


@dataclass(frozen=True)
class Report:
    """The whole matrix."""

    faults: tuple[Result, ...]
    clean: tuple[Result, ...] = ()
    seconds: float = 0.0

    @property
    def killed(self) -> int:
        """Faults of which every expected promise fired."""
        return sum(bool(r.task.expected) and not r.survived for r in self.faults)

    @property
    def false_alarms(self) -> dict[str, str]:
        """Promises that fired on a clean system."""
        return {f"{r.task.id}: {k}": v for r in self.clean for k, v in r.fired.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "faults": len(self.faults),
            "killed": self.killed,
            "false_alarms": self.false_alarms,
            "clean_systems": len(self.clean),
            "not_applicable": {r.task.id: dict(r.absent) for r in self.clean if r.absent},
            "seconds": round(self.seconds, 1),
            "relations_on_clean": sorted({i for r in self.clean for i in r.task.promises}),
            "results": [
                {
                    "id": r.task.id, "family": r.task.family, "citation": r.task.citation,
                    "expected": list(r.task.expected), "fired": sorted(r.fired),
                    "survived": list(r.survived), "where": dict(r.fired),
                    "checked": list(r.task.promises), "seconds": round(r.seconds, 2),
                }
                for r in self.faults
            ],
        }  # fmt: skip


def plan_fault(path: str, arguments: Mapping[str, Any] | None = None) -> Task:
    """Return the task of a fault: the promises that should catch it, and those that may.

    Raises
    ------
    InputError
        If it cannot be imported, lacks an attribute, or expects an unknown promise.
    """
    try:
        fault = load_object(path, "fault")
    except ValueError as error:
        raise InputError(str(error)) from None
    absent = [name for name in ("id", "citation", "expected") if not getattr(fault, name, None)]
    if absent:
        msg = f"fault {path}: needs a non-empty {', '.join(absent)}; see docs/faults.md"
        raise InputError(msg)
    unknown = [promise for promise in fault.expected if promise not in PROMISES]
    if unknown:
        msg = f"fault {path}: expects {unknown[0]}, which is no promise; see `harness promises`"
        raise InputError(msg)
    touches = tuple(getattr(fault, "touches", ()))
    strange = [subject for subject in touches if subject not in SUBJECTS]
    if strange:
        msg = f"fault {path}: touches {strange[0]!r}, expected subjects: {', '.join(SUBJECTS)}"
        raise InputError(msg)
    touched = {promise for subject in touches for promise in SUBJECTS[subject]}
    concerned = [
        promise.id for promise in PROMISES.values()
        if promise.id in fault.expected or (promise.tier == "quick" and promise.id in touched)
    ]  # fmt: skip
    return Task(
        fault.id, path, dict(arguments or {}), tuple(concerned), getattr(fault, "family", ""),
        fault.citation, tuple(fault.expected),
    )  # fmt: skip


def plan_clean(extra: Sequence[str] = ()) -> Task:
    """Return the task of the clean system: every quick promise, and those named."""
    every = [p.id for p in PROMISES.values() if p.tier == "quick" or p.id in extra]
    return Task(CLEAN, "", {}, tuple(every))


def _needs_fresh(task: Task) -> bool:
    """Return whether a task asks for a fresh process."""
    return not NEEDS_FRESH.isdisjoint(task.promises)


@dataclass
class Worker:
    """A process that judges systems one after another.

    Attributes
    ----------
    folder : pathlib.Path
        For its log and for what scenarios write.
    environment : mapping, optional
        Environment variables. Default: those of this process.
    """

    folder: Path
    environment: Mapping[str, str] | None = None
    _process: "subprocess.Popen[str] | None" = field(default=None)

    def judge(self, task: Task, number: int) -> Result:
        """Check a task's promises; `number` names its folder.

        Raises
        ------
        RuntimeError
            If the process ended; the message ends with its log.
        """
        if self._process is None:
            log = (self.folder / f"worker-{id(self)}.log").open("w")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.faults.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=self.environment,
            )  # fmt: skip
            self._send({"path": sys.path, "config": task.config})
        self._send({**asdict(task), "folder": str(self.folder / f"task-{number:03d}")})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            log_file = self.folder / f"worker-{id(self)}.log"
            msg = f"a worker ended on {task.id}; end of its log:\n{log_file.read_text()[-2000:]}"
            raise RuntimeError(msg)
        answer = json.loads(line)
        return Result(task, answer["fired"], answer["absent"], answer["seconds"])

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Let the process end."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run_matrix(
    tasks: Sequence[Task], *, config: Mapping[str, Any], folder: Path, jobs: int = 2,
    told: Callable[[Result], None] = lambda _: None,
) -> list[Result]:  # fmt: skip
    """Judge every task and return the results in the order of the tasks.

    Parameters
    ----------
    tasks : sequence of Task
    config : mapping
        Configuration tree of the gate.
    folder : pathlib.Path
        Existing folder for what the scenarios write.
    jobs : int, default 2
        Worker processes.
    told : callable
        Called with each result as it comes.
    """
    numbered = sorted(enumerate(tasks), key=lambda pair: not _needs_fresh(pair[1]))
    queue, found = deque(numbered), {}

    def work(position: int) -> None:
        worker = Worker(folder)
        try:
            while queue:
                # the first worker takes those that need a fresh process, which it keeps
                number, task = queue.popleft() if position == 0 else queue.pop()
                found[number] = worker.judge(replace(task, config=config), number)
                told(found[number])
        finally:
            worker.close()

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for future in [pool.submit(work, position) for position in range(jobs)]:
            future.result()
    return [found[number] for number in range(len(tasks))]
