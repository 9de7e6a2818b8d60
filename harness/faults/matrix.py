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
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.config import parse_config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.faults.results import Finished, Result, Task, kept_results
from harness.promises import recalibration, resume, scores
from harness.promises.bench import Bench
from harness.promises.drawn_cases import select_profile
from harness.promises.judge import Judgement, judge
from harness.promises.promise import TIERS, Tier
from harness.promises.registry import PROMISES, SUBJECTS
from harness.promises.second_process import (
    cut_after_epoch,
    cut_before_evaluation,
    cut_mid_epoch,
    evaluation_of_end,
)
from harness.promises.setting import EPOCH_MODES
from harness.systems.beside import SecondProcess
from harness.systems.opening import load_object, system_factory
from harness.systems.process import Worker, WorkerError
from harness.systems.remote import Remote, load_target
from harness.systems.spec import SystemSpec

__all__ = [
    "ASK_A_SECOND_PROCESS", "CLEAN", "Judge", "JudgeProcess", "caught_within", "in_modes",
    "in_one_mode", "judged",
    "plan_clean", "plan_cover", "plan_fault", "run_all", "run_matrix",
]  # fmt: skip

CLEAN = "clean system"
ASK_A_SECOND_PROCESS = {
    evaluation_of_end: {scores.SAME_SCORES_FRESH.id, recalibration.RECAL_BATCHES_FIXED.id},
    cut_after_epoch: {resume.RESUME_EXACT.id},
    cut_mid_epoch: {resume.RESUME_MID_EPOCH.id},
    cut_before_evaluation: {resume.RESUME_BEFORE_EVALUATION.id},
}
"""What a second process does, and the promises that wait for it."""


def plan_fault(
    path: str, arguments: Mapping[str, Any] | None = None, *, tier: Tier = "quick",
    every: bool = False,
) -> Task:  # fmt: skip
    """Return the task of a fault: the promises that should catch it, and those that may.

    Parameters
    ----------
    tier : {"quick", "full", "nightly"}, default "quick"
        Promises of up to this tier may catch it; those that should, whatever theirs is.
    every : bool, default False
        Whether all promises may, and not those of the subjects alone that it touches.

    Raises
    ------
    InputError
        If it cannot be imported, lacks an attribute, or names an unknown promise or subject.
    """
    try:
        fault = load_object(path, "fault")
    except ValueError as error:
        raise InputError(str(error)) from None
    absent = [name for name in ("id", "citation", "expected") if not getattr(fault, name, None)]
    if absent:
        msg = f"fault {path}: needs a non-empty {', '.join(absent)}; see docs/faults.md"
        raise InputError(msg)
    touched = _touched(path, fault)
    concerned = [
        promise for promise in _of_tier(tier, also=fault.expected)
        if every or promise in fault.expected or promise in touched
    ]  # fmt: skip
    return Task(
        fault.id, path, dict(arguments or {}), tuple(concerned), getattr(fault, "family", ""),
        fault.citation, tuple(fault.expected), tier=tier,
    )  # fmt: skip


def _touched(path: str, fault: Any) -> set[str]:
    """Return the promises of the subjects that a fault touches, once all its names are known."""
    touches, modes = getattr(fault, "touches", ()), getattr(fault, "modes", ())
    for name, value in (("expected", fault.expected), ("touches", touches), ("modes", modes)):
        if isinstance(value, str):
            msg = f"fault {path}: {name} is the text {value!r}, expected a tuple: ({value!r},)"
            raise InputError(msg)
    unknown = [promise for promise in fault.expected if promise not in PROMISES]
    if unknown:
        msg = f"fault {path}: expects {unknown[0]}, which is no promise; see `harness promises`"
        raise InputError(msg)
    strange = [subject for subject in touches if subject not in SUBJECTS]
    if strange:
        msg = (
            f"fault {path}: touches {strange[0]!r}, expected subjects (docs/faults.md lists them): "
            f"{', '.join(SUBJECTS)}"
        )
        raise InputError(msg)
    other = [mode for mode in modes if mode not in EPOCH_MODES]
    if other:
        msg = f"fault {path}: modes has {other[0]!r}, expected some of {', '.join(EPOCH_MODES)}"
        raise InputError(msg)
    return {promise for subject in touches for promise in SUBJECTS[subject]}


def _of_tier(tier: Tier, *, also: Sequence[str] = ()) -> list[str]:
    """Return the promises that a tier checks, and those named, in the order of the registry."""
    tiers = TIERS[: TIERS.index(tier) + 1]
    return [p.id for p in PROMISES.values() if p.tier in tiers or p.id in also]


def caught_within(expected: Sequence[str], tier: Tier) -> bool:
    """Return whether a promise of up to a tier is among those that should catch a fault."""
    return not set(_of_tier(tier)).isdisjoint(expected)


def in_modes(tasks: Sequence[Task], modes: Sequence[str] = EPOCH_MODES) -> list[Task]:
    """Return tasks for each epoch mode that a fault is run in, those of one mode together."""
    own = {task.path: getattr(_fault(task.path), "modes", EPOCH_MODES) for task in tasks}
    return [replace(task, mode=m) for m in modes for task in tasks if m in own[task.path]]


def in_one_mode(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks with each fault in one epoch mode of those that it is in, by turns."""
    modes = dict[str, list[str]]()
    for task in tasks:
        modes.setdefault(task.id, []).append(task.mode)
    left = {name: own[number % len(own)] for number, (name, own) in enumerate(modes.items())}
    return [task for task in tasks if task.id == CLEAN or task.mode == left[task.id]]


def _fault(path: str) -> Any:
    return load_object(path, "fault") if path else None


def plan_cover(tasks: Sequence[Task], dear: Sequence[Task] = ()) -> list[Task]:
    """Return few tasks that together should break every quick promise, judged on that alone.

    Each time the fault is taken that should break most of what is left; of equals, the first.
    One of the dear ones is taken where no other would do.
    """
    left = {promise.id for promise in PROMISES.values() if promise.in_quick}
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


def plan_clean(extra: Sequence[str] = (), *, tier: Tier = "quick") -> Task:
    """Return the task of the clean system: every promise of a tier, and those named."""
    return Task(CLEAN, "", {}, tuple(_of_tier(tier, also=extra)), tier=tier)


def _needs_fresh(task: Task) -> bool:
    """Return whether a task asks for a fresh process."""
    return any(not p.isdisjoint(task.promises) for p in ASK_A_SECOND_PROCESS.values())


def _place_in_queue(task: Task) -> int:
    long = not task.path or getattr(_fault(task.path), "slow", False)
    return (0 if long else 1) if _needs_fresh(task) else (3 if long else 2)


def judged(bench: Bench, promises: Sequence[str]) -> tuple[list[Judgement], dict[str, str]]:
    """Return the judgements of promises that the system on a bench broke; and which do not apply.

    An error counts as broken and says so.
    """
    broken, absent = [], {}
    for name in promises:
        found = judge(PROMISES[name], bench)
        if found.verdict == "n/a":
            absent[name] = found.text
        elif found.verdict == "error":
            text = f"error: {found.text}"
            broken.append(replace(found, text=text, violations=(text,)))
        elif found.verdict == "BROKEN":
            broken.append(found)
    return broken, absent


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

        self._compiled, self._second = CompiledCache(), SecondProcess()

    def judge(self, task: Mapping[str, Any], folder: str) -> dict[str, Any]:
        """Return what :class:`Result` holds of a task, whose fields are given."""
        start, place = time.perf_counter(), Path(folder)
        place.mkdir(parents=True)
        select_profile(task["tier"])
        spec = SystemSpec("builtin", task["path"], task["arguments"])
        early = [
            driver
            for driver, promises in ASK_A_SECOND_PROCESS.items()
            if not promises.isdisjoint(task["promises"])
        ]
        bench = Bench(
            system_factory(spec, self._compiled), spec, task["config"], place, early, self._second,
            parks=True,
        )  # fmt: skip
        broken, absent = judged(bench, task["promises"])
        bench.close()
        shutil.rmtree(place, ignore_errors=True)
        return {
            "fired": {found.promise.id: found.text for found in broken},
            "violations": {found.promise.id: list(found.violations) for found in broken},
            "absent": absent, "seconds": time.perf_counter() - start,
        }  # fmt: skip

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
        return Result(task, found["fired"], found["absent"], found["seconds"], found["violations"])

    def kill(self) -> None:
        """End the process at once, in the middle of a task too; its own end with it."""
        self._worker.kill()

    def close(self) -> None:
        """End the process, and first those that it started."""
        try:
            self._judge.close()
        finally:
            self._worker.close()


def run_all(
    works: Sequence[Callable[[], None]], jobs: int, running: Sequence[JudgeProcess]
) -> None:
    """Let threads work; where Ctrl-C comes, wait for none of them."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(work) for work in works]
        try:
            for future in futures:
                future.result()
        except Exception:
            raise  # of one of them: the others' results are kept
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in running:
                worker.kill()
            raise


def run_matrix(
    tasks: Sequence[Task], *, configs: Mapping[str, Mapping[str, Any]], folder: Path, jobs: int = 2,
    on_result: Callable[[Result], None] = lambda _: None, finished: Finished | None = None,
) -> list[Result]:  # fmt: skip
    """Judge every task and return the results in the order of the tasks.

    Parameters
    ----------
    tasks : sequence of Task
    configs : mapping of str to mapping
        Configuration tree of the gate by epoch mode, of which each task names one.
    folder : pathlib.Path
        Existing folder for what the scenarios write.
    jobs : int, default 2
        Worker processes.
    on_result : callable
        Called with each result as it comes, by several threads, kept ones first.
    finished : mapping, optional
        Results of an earlier call, whose tasks are not run again.
    """
    found = kept_results(tasks, finished or {})
    for result in found.values():
        on_result(result)
    left = [pair for pair in enumerate(tasks) if pair[0] not in found]
    # What takes a minute comes first from either end: at the end one worker would wait for it.
    queue = deque(sorted(left, key=lambda pair: _place_in_queue(pair[1])))

    running: list[JudgeProcess] = []

    def work(position: int) -> None:
        worker = JudgeProcess(folder)
        running.append(worker)
        # the first worker takes those that need a fresh process, which it keeps
        take = queue.popleft if position == 0 else queue.pop
        try:
            while True:
                try:
                    number, task = take()
                except IndexError:  # the other worker has taken the last one
                    return
                result = worker.judge(replace(task, config=configs[task.mode]), number)
                # What is kept of a result names its task without the place of its data.
                found[number] = replace(result, task=task)
                on_result(found[number])
        finally:
            worker.close()

    run_all([partial(work, position) for position in range(min(jobs, len(left)))], jobs, running)
    return [found[number] for number in range(len(tasks))]
