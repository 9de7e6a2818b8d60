"""``harness faults``: the kill matrix."""

import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.config import Config
from harness.environment import apply_environment
from harness.errors import InputError

if TYPE_CHECKING:  # the matrix imports OpenCV, which no other command line should wait for
    from harness.faults.matrix import Report, Result, Task

__all__ = ["add_parser", "run"]


def add_parser(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--list", action="store_true", help="list faults and promises, run none")
    parser.add_argument(
        "--only", nargs="+", metavar="ID", default=[], help="run these faults alone"
    )
    parser.add_argument(
        "--fault", nargs="+", metavar="MODULE:CLASS", default=[],
        help="add faults of your own to the matrix; see docs/faults.md",
    )  # fmt: skip
    parser.add_argument(
        "--cover", action="store_true",
        help="run few faults that together should break every quick promise, and judge only those",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="leave out what takes a minute each")
    parser.add_argument(
        "--clean", type=int, default=0, metavar="N",
        help="run N clean systems under random configurations instead, for false alarms",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="worker processes (default: 2)"
    )


def run(args: Namespace) -> int:
    """Run the matrix; exit code 1 on a survivor or a false alarm."""
    apply_environment(Config())  # imports TensorFlow quietly, before the faults do
    from harness.faults.catalog import FAULTS, fault_path
    from harness.faults.matrix import plan_cover, plan_fault

    sys.path.insert(0, str(Path.cwd()))  # where somebody's own fault is likely to lie
    paths = {fault.id: fault_path(fault) for fault in FAULTS.values()}
    own = [plan_fault(path) for path in args.fault]
    named = [name for name in args.only if name not in {task.id for task in own}]
    unknown = [name for name in named if name not in paths]
    if unknown:
        msg = f"--only: no fault {unknown[0]!r}; `harness faults --list` names them"
        raise InputError(msg)
    if args.jobs < 1:
        msg = f"--jobs: expected at least 1, got {args.jobs}"
        raise InputError(msg)
    quick = args.quick or args.cover
    every = [name for name in paths if not (quick and FAULTS[name].slow)]
    tasks = [*(plan_fault(paths[name]) for name in (named if args.only else every)), *own]
    if args.cover:
        slow_tasks = [plan_fault(path) for name, path in paths.items() if FAULTS[name].slow]
        tasks = plan_cover(tasks, slow_tasks)
    if args.list:
        _list([*(plan_fault(path) for path in paths.values()), *own])
        return EXIT_DONE
    if args.clean:
        report = _clean_report(args.clean, jobs=args.jobs)
        _print(report)
        write_json(args.json, report.as_dict())
        return EXIT_BROKEN if report.false_alarms else EXIT_DONE
    report = _report(tasks, jobs=args.jobs, clean=not (args.only or args.cover))
    _print(report)
    write_json(args.json, report.as_dict())
    good = report.killed == len(report.faults) and not report.false_alarms
    return EXIT_DONE if good else EXIT_BROKEN


def _list(tasks: "Sequence[Task]") -> None:
    from harness.promises.registry import PROMISES

    for task in tasks:
        say(f"{task.family:10} {task.id:32} {', '.join(task.expected)}")
        say(f"{'':10} {'':32} {task.citation}")
    caught: dict[str, int] = {}
    for task in tasks:
        for promise in task.expected:
            caught[promise] = caught.get(promise, 0) + 1
    say("")
    for spec in PROMISES.values():
        say(f"{caught.get(spec.id, 0):3} faults should break {spec.id}: {spec.sentence}")


def _report(tasks: "Sequence[Task]", *, jobs: int, clean: bool) -> "Report":
    from tqdm import tqdm

    from harness.faults.matrix import Report, plan_clean, run_matrix
    from harness.fc2.synthetic import write_dataset
    from harness.promises.setting import EMBEDDED_TRAIN, EMBEDDED_VAL, matrix_config

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="samebits-") as name:
        folder = Path(name)
        # Odd and unequal, so that margins are odd and H cannot pass for W.
        height, width = 29, 43
        write_dataset(
            folder / "frames", train=EMBEDDED_TRAIN, val=EMBEDDED_VAL, height=height, width=width
        )
        config = matrix_config(folder / "frames").model_dump(mode="json", by_alias=True)
        config["runtime"]["threads"] = 1  # the processes share the cores
        every = [plan_clean(), *tasks] if clean else tasks
        with tqdm(total=len(every), unit="system", disable=None) as bar:
            results = run_matrix(
                every, config=config, folder=folder, jobs=jobs, on_result=lambda _: _advance(bar)
            )
    first = 1 if clean else 0
    return Report(tuple(results[first:]), tuple(results[:first]), time.perf_counter() - start)


def _clean_report(count: int, *, jobs: int) -> "Report":
    from tqdm import tqdm

    from harness.faults.clean import run_clean
    from harness.faults.matrix import Report

    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="samebits-") as name,
        tqdm(total=count, unit="system", disable=None) as bar,
    ):
        results = run_clean(
            count, seed=0, folder=Path(name), jobs=jobs, on_result=lambda _: _advance(bar)
        )
    return Report((), tuple(results), time.perf_counter() - start)


def _advance(bar: Any) -> None:
    bar.update()


def _print(report: "Report") -> None:
    for result in report.faults:
        _print_fault(result)
    for place, text in report.false_alarms.items():
        say(f"FALSE ALARM {place}: {text}")
    checked = {i for r in report.clean for i in r.task.promises}
    parts = [f"{report.seconds:.0f} s"]
    if report.clean:
        systems = f"{len(report.clean)} clean system{'s' if len(report.clean) > 1 else ''}"
        parts.insert(0, f"{len(report.false_alarms)} false alarms of {len(checked)} promises on "
                        f"{systems}")  # fmt: skip
    crashed = sum(map(_by_a_crash, report.faults))
    if crashed:
        parts.insert(0, f"{crashed} of them by a crash and not by a violation")
    if report.faults:
        parts.insert(0, f"{report.killed} of {len(report.faults)} faults killed by every promise "
                        "that should")  # fmt: skip
    say("; ".join(parts))


def _by_a_crash(result: "Result") -> bool:
    """Return whether a promise that should break did so by an error of its evidence alone."""
    found = [result.fired.get(promise, "") for promise in result.task.expected]
    return any(text.startswith("error:") for text in found)


def _print_fault(result: "Result") -> None:
    task = result.task
    verdict = "SURVIVED" if result.survived else "killed"
    say(f"{verdict:8} {task.family:10} {task.id:30} {result.seconds:5.1f} s")
    for promise in task.expected:
        mark = "  " if promise in result.fired else "! "
        say(f"    {mark}{promise}: {result.fired.get(promise, 'did not fire')[:150]}")
    others = sorted(set(result.fired) - set(task.expected))
    if others:
        say(f"      also: {', '.join(others)}")
