"""The kill matrix: every fault against every relation that concerns it.

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
from types import MappingProxyType
from typing import Any

from harness.config import parse_config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.relations import RELATIONS
from harness.relations.base import NotApplicableError
from harness.scenarios.book import BEFORE_EVALUATION, BOUNDARY, MID, SCORES
from harness.systems.beside import SecondProcess
from harness.systems.opening import load_object, system_factory
from harness.systems.process import Worker, WorkerError
from harness.systems.remote import Remote, load_target
from harness.systems.spec import SystemSpec

__all__ = [
    "CLEAN", "NEEDS_FRESH", "Judge", "JudgeProcess", "Report", "Result", "Task", "judged",
    "plan_clean", "plan_fault", "run_matrix",
]  # fmt: skip

CLEAN = "clean system"
NEEDS_FRESH = MappingProxyType(
    {
        "repeat_fresh": SCORES, "recal_hashes": SCORES, "resume": BOUNDARY,
        "resume_mid_epoch": MID, "resume_before_evaluation": BEFORE_EVALUATION,
    }
)  # fmt: skip
"""Scenarios that ask a fresh process, and for what."""


@dataclass(frozen=True)
class Task:
    """One system to judge: a fault's path (empty: the clean system) and the relations."""

    id: str
    path: str
    arguments: Mapping[str, Any]
    relations: tuple[str, ...]
    family: str = ""
    citation: str = ""
    expected: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Result:
    """What the relations said of one system.

    Attributes
    ----------
    task : Task
    fired : mapping of str to str
        Relation to its first violation, or to the error that kept it from being checked.
    absent : mapping of str to str
        Relations that do not apply, and why.
    seconds : float
        Wall time, s.
    """

    task: Task
    fired: Mapping[str, str]
    absent: Mapping[str, str]
    seconds: float

    @property
    def survived(self) -> tuple[str, ...]:
        """Expected relations that did not fire."""
        return tuple(relation for relation in self.task.expected if relation not in self.fired)


@dataclass(frozen=True)
class Report:
    """The whole matrix."""

    faults: tuple[Result, ...]
    clean: tuple[Result, ...] = ()
    seconds: float = 0.0

    @property
    def killed(self) -> int:
        """Faults of which every expected relation fired."""
        return sum(bool(r.task.expected) and not r.survived for r in self.faults)

    @property
    def false_alarms(self) -> dict[str, str]:
        """Relations that fired on a clean system."""
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
            "relations_on_clean": sorted({i for r in self.clean for i in r.task.relations}),
            "results": [
                {
                    "id": r.task.id, "family": r.task.family, "citation": r.task.citation,
                    "expected": list(r.task.expected), "fired": sorted(r.fired),
                    "survived": list(r.survived), "where": dict(r.fired),
                    "checked": list(r.task.relations), "seconds": round(r.seconds, 2),
                }
                for r in self.faults
            ],
        }  # fmt: skip


def plan_fault(path: str, arguments: Mapping[str, Any] | None = None) -> Task:
    """Return the task of a fault: the relations that should catch it, and those that may.

    Raises
    ------
    InputError
        If it cannot be imported, lacks an attribute, or expects an unknown relation.
    """
    try:
        fault = load_object(path, "fault")
    except ValueError as error:
        raise InputError(str(error)) from None
    absent = [name for name in ("id", "citation", "expected") if not getattr(fault, name, None)]
    if absent:
        msg = f"fault {path}: needs a non-empty {', '.join(absent)}; see docs/faults.md"
        raise InputError(msg)
    unknown = [relation for relation in fault.expected if relation not in RELATIONS]
    if unknown:
        msg = (
            f"fault {path}: expects {unknown[0]}, which is no relation; see `harness faults --list`"
        )
        raise InputError(msg)
    touches = set(getattr(fault, "touches", ()))
    concerned = [
        r.id for r in RELATIONS.values()
        if r.id in fault.expected or (r.tier == "quick" and touches & set(r.sees))
    ]  # fmt: skip
    return Task(
        fault.id, path, dict(arguments or {}), tuple(concerned), getattr(fault, "family", ""),
        fault.citation, tuple(fault.expected),
    )  # fmt: skip


def plan_clean(extra: Sequence[str] = ()) -> Task:
    """Return the task of the clean system: every quick relation, and those named."""
    every = [r.id for r in RELATIONS.values() if r.tier == "quick" or r.id in extra]
    return Task(CLEAN, "", {}, tuple(every))


def _needs_fresh(task: Task) -> bool:
    """Return whether a task asks for a fresh process."""
    return any(RELATIONS[relation].needs in NEEDS_FRESH for relation in task.relations)


def judged(book: Any, relations: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return which relations fired on a book's system, and where; and which do not apply.

    An error counts as fired and says so.
    """
    fired, absent = {}, {}
    for relation in relations:
        try:
            found = RELATIONS[relation].check(book[RELATIONS[relation].needs])
        except NotApplicableError as error:
            absent[relation] = str(error)
        except Exception as error:  # noqa: BLE001 -- a gate is red then, and says why
            fired[relation] = f"error: {type(error).__name__}: {error}"[:500]
        else:
            if found.violations:
                fired[relation] = str(found.violations[0])
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
        from harness.runs.kit import Kit

        self._kit, self._second = Kit(), SecondProcess()

    def judge(self, task: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return what :class:`Result` holds of a task, whose fields are given."""
        from harness.scenarios.book import Book
        from harness.scenarios.registry import SCENARIOS

        start, place = time.perf_counter(), Path(folder)
        place.mkdir(parents=True)
        spec = SystemSpec("builtin", task["path"], task["arguments"])
        needs = {RELATIONS[relation].needs for relation in task["relations"]}
        ahead = {asked for name, asked in NEEDS_FRESH.items() if name in needs}
        book = Book(
            system_factory(spec, self._kit), spec, task["config"], place, SCENARIOS,
            overlap=True, process=self._second, ahead=ahead,
        )  # fmt: skip
        fired, absent = judged(book, task["relations"])
        book.close()
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
        """Check a task's relations; `number` names its folder.

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
        worker = JudgeProcess(folder)
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
