"""The kill matrix: every fault against every promise that concerns it.

Two worker processes share the work. Each keeps what it compiled from one fault to the next,
and asks one more process, kept as well, for what must be seen in a fresh one.
"""

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import parse_config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.promises import recalibration, resume, scores
from harness.promises.bench import Bench
from harness.promises.drawn_cases import select_profile
from harness.promises.judge import judge
from harness.promises.registry import PROMISES, SUBJECTS
from harness.promises.second_process import (
    cut_after_epoch,
    cut_before_evaluation,
    cut_mid_epoch,
    evaluation_of_end,
)
from harness.systems.beside import SecondProcess
from harness.systems.opening import load_object, system_factory
from harness.systems.process import Worker, WorkerError
from harness.systems.remote import Remote, load_target
from harness.systems.spec import SystemSpec

__all__ = [
    "ASK_A_SECOND_PROCESS", "CLEAN", "Judge", "JudgeProcess", "Report", "Result", "Task", "judged",
    "plan_clean", "plan_cover", "plan_fault", "run_matrix",
]  # fmt: skip

CLEAN = "clean system"
ASK_A_SECOND_PROCESS = {
    evaluation_of_end: {scores.SAME_SCORES_FRESH.id, recalibration.RECAL_BATCHES_FIXED.id},
    cut_after_epoch: {resume.RESUME_EXACT.id},
    cut_mid_epoch: {resume.RESUME_MID_EPOCH.id},
    cut_before_evaluation: {resume.RESUME_BEFORE_EVALUATION.id},
}
"""What a second process does, and the promises that wait for it."""


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


def plan_cover(tasks: Sequence[Task], dear: Sequence[Task] = ()) -> list[Task]:
    """Return few tasks that together should break every quick promise, judged on that alone.

    Each time the fault is taken that should break most of what is left; of equals, the first.
    One of the dear ones is taken where no other would do.
    """
    left = {promise.id for promise in PROMISES.values() if promise.tier == "quick"}
    chosen = []
    while left:
        best = max(tasks, key=lambda task: len(left.intersection(task.expected)))
        if not left.intersection(best.expected) and dear:
            best = max(dear, key=lambda task: len(left.intersection(task.expected)))
        broken = left.intersection(best.expected)
        if not broken:
            msg = f"no fault breaks {', '.join(sorted(left))}"
            raise InputError(msg)
        left -= broken
        chosen.append(replace(best, promises=best.expected))
    return chosen


def plan_clean(extra: Sequence[str] = ()) -> Task:
    """Return the task of the clean system: every quick promise, and those named."""
    every = [p.id for p in PROMISES.values() if p.tier == "quick" or p.id in extra]
    return Task(CLEAN, "", {}, tuple(every))


def _needs_fresh(task: Task) -> bool:
    """Return whether a task asks for a fresh process."""
    return any(not p.isdisjoint(task.promises) for p in ASK_A_SECOND_PROCESS.values())


def judged(bench: Bench, promises: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return which promises of the system on a bench broke, and where; and which do not apply.

    An error counts as broken and says so.
    """
    fired, absent = {}, {}
    for name in promises:
        found = judge(PROMISES[name], bench)
        if found.verdict == "n/a":
            absent[name] = found.text
        elif found.verdict == "error":
            fired[name] = f"error: {found.text}"
        elif found.verdict == "BROKEN":
            fired[name] = found.text
    return fired, absent


class Judge:
    """Judges systems in a process of its own, and keeps what they compile.

    Parameters
    ----------
    config : mapping
        Configuration tree whose environment is applied before TensorFlow starts.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        apply_environment(parse_config(config))
        # Imports TensorFlow, hence after the environment (decision 0001).
        from harness.runs.session import CompiledCache

        select_profile("quick")
        self._compiled, self._second = CompiledCache(), SecondProcess()

    def judge(self, task: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return what :class:`Result` holds of a task, whose fields are given."""
        start, place = time.perf_counter(), Path(folder)
        place.mkdir(parents=True)
        spec = SystemSpec("builtin", task["path"], task["arguments"])
        early = [
            driver
            for driver, promises in ASK_A_SECOND_PROCESS.items()
            if not promises.isdisjoint(task["promises"])
        ]
        bench = Bench(
            system_factory(spec, self._compiled), spec, task["config"], place, early, self._second
        )
        fired, absent = judged(bench, task["promises"])
        bench.close()
        shutil.rmtree(place, ignore_errors=True)
        return {"fired": fired, "absent": absent, "seconds": time.perf_counter() - start}

    def close(self) -> None:
        """End the process that was asked for what must be seen in a fresh one."""
        self._second.close()


_LIMIT = 86400.0
"""Seconds that a system may take; the longest takes minutes."""


class JudgeProcess:
    """A worker process that judges one system after another.

    It stays in the group of this process, so that an interrupt from the keyboard ends it too.

    Parameters
    ----------
    folder : pathlib.Path
        For what scenarios write.
    environment : mapping, optional
        Environment variables. Default: those of this process.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        spec = SystemSpec(timeout=_LIMIT)
        self._worker = Worker(spec, own_group=False, environment=environment)
        self._judge = Remote(lambda: self._worker)

    def judge(self, task: Task, number: int) -> Result:
        """Check a task's promises; `number` names its folder.

        Raises
        ------
        RuntimeError
            If the process ended; the message ends with its log.
        """
        try:
            if not self._worker.loaded:
                target = f"{Judge.__module__}:{Judge.__name__}"
                load_target(self._worker, target, sys.path, each={"config": task.config})
            place = str(self._folder / f"task-{number:03d}")
            found = self._judge.ask("judge", asdict(task), place)
        except WorkerError as error:
            msg = f"a worker ended on {task.id}: {error}"
            raise RuntimeError(msg) from None
        return Result(task, found["fired"], found["absent"], found["seconds"])

    def close(self) -> None:
        """End the process, and first those that it started."""
        try:
            self._judge.close()
        finally:
            self._worker.close()


def run_matrix(
    tasks: Sequence[Task], *, config: Mapping[str, Any], folder: Path, jobs: int = 2,
    on_result: Callable[[Result], None] = lambda _: None,
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
    on_result : callable
        Called with each result as it comes.
    """
    numbered = sorted(enumerate(tasks), key=lambda pair: not _needs_fresh(pair[1]))
    queue, found = deque(numbered), {}

    def work(position: int) -> None:
        worker = JudgeProcess(folder)
        try:
            while queue:
                # the first worker takes those that need a fresh process, which it keeps
                number, task = queue.popleft() if position == 0 else queue.pop()
                found[number] = worker.judge(replace(task, config=config), number)
                on_result(found[number])
        finally:
            worker.close()

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for future in [pool.submit(work, position) for position in range(jobs)]:
            future.result()
    return [found[number] for number in range(len(tasks))]
