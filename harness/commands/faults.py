"""``harness faults``: the kill matrix."""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.commands.matrix_progress import (
    MatrixProgress,
    check_resumable,
    finished_before,
    verdict,
)
from harness.commands.parsing import CommandParser, add_number
from harness.config import Config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.ranges import Range

if TYPE_CHECKING:  # the matrix imports OpenCV, which no other command line should wait for
    from harness.faults.results import Report, Result, Task

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
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
    parser.add_argument(
        "--tier", choices=("quick", "full"), default="quick",
        help="judge by the promises of this tier (default: quick)",
    )  # fmt: skip
    parser.add_argument(
        "--touched",
        action="store_true",
        help="judge by the promises of the touched subjects too, not by the expected ones alone",
    )
    parser.add_argument(
        "--all-promises", action="store_true", help="judge by every promise of the tier"
    )
    parser.add_argument(
        "--mode", choices=("full_pass", "fixed_steps", "both", "either"), default="both",
        help="train.epoch_mode that the systems are run in (default: both, one after the other); "
        "either: each fault in one of them, by turns",
    )  # fmt: skip
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the results that --json FILE holds, if the same code made them",
    )
    parser.add_argument("--quick", action="store_true", help="leave out what takes a minute each")
    parser.add_argument(
        "--within-tier", action="store_true",
        help="leave out faults that promises of a later tier than --tier alone should catch",
    )  # fmt: skip
    add_number(
        parser, "--clean", Range(0, 10**6, "systems"), "run clean ones under random configurations "
        "instead, for false alarms", default=0, metavar="N",
    )  # fmt: skip
    add_number(parser, "--jobs", Range(1, 1024, "processes"), "that work", default=2, metavar="N")


def run(args: Namespace) -> int:
    """Run the matrix; exit code 1 on a survivor or a false alarm."""
    check_resumable(args)
    apply_environment(Config())  # imports TensorFlow quietly, before the faults do
    sys.path.insert(0, str(Path.cwd()))  # where somebody's own fault is likely to lie
    if args.list:
        _list(_tasks(args, everything=True))
        return EXIT_DONE
    if args.clean:
        report = _clean_report(args)
    else:
        report = _report(_tasks(args), args, clean=not (args.only or args.cover))
    _print(report)
    write_json(args.json, report.as_dict())
    good = report.killed == report.planted and not report.false_alarms
    return EXIT_DONE if good else EXIT_BROKEN


def _tasks(args: Namespace, *, everything: bool = False) -> "list[Task]":
    """Return what is to be judged: what was asked for, or every fault and one's own."""
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import caught_within, plan_cover, plan_fault

    def planned(path: str) -> "Task":
        task = plan_fault(path, tier=args.tier, every=args.all_promises)
        more = args.touched or args.all_promises
        return task if more else replace(task, promises=task.expected)

    paths = {fault.id: fault_path(fault) for fault in FAULTS.values()}
    own = [planned(path) for path in args.fault]
    named = [name for name in args.only if name not in {task.id for task in own}]
    unknown = [name for name in named if name not in paths]
    if unknown:
        msg = f"--only: no fault {unknown[0]!r}; `harness faults --list` names them"
        raise InputError(msg)
    if everything:
        return [*map(planned, paths.values()), *own]
    quick = args.quick or args.cover
    every = [name for name in paths if not (quick and FAULTS[name].slow)]
    if args.within_tier:
        every = [name for name in every if caught_within(FAULTS[name].expected, args.tier)]
    tasks = [*(planned(paths[name]) for name in (named if args.only else every)), *own]
    if args.cover:
        slow = [planned(path) for name, path in paths.items() if FAULTS[name].slow]
        return plan_cover(tasks, slow)
    return tasks


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


def _report(tasks: "Sequence[Task]", args: Namespace, *, clean: bool) -> "Report":
    from harness.faults.matrix import in_modes, in_one_mode, plan_clean, run_matrix
    from harness.faults.results import made_by
    from harness.fc2.synthetic import write_dataset
    from harness.promises import setting

    with tempfile.TemporaryDirectory(prefix="samebits-") as name:
        folder = Path(name)
        height, width = setting.MATRIX_SIZE
        write_dataset(
            folder / "frames", train=setting.MATRIX_TRAIN, val=setting.MATRIX_VAL,
            height=height, width=width,
        )  # fmt: skip
        configs = {}
        both = args.mode in {"both", "either"}
        for mode in setting.EPOCH_MODES if both else (args.mode,):
            config = setting.matrix_config(folder / "frames", mode)
            configs[mode] = config.model_dump(mode="json", by_alias=True)
            configs[mode]["runtime"]["threads"] = 1  # the processes share the cores
        every = in_modes([plan_clean(tier=args.tier)] * clean + list(tasks), tuple(configs))
        every = in_one_mode(every) if args.mode == "either" else every
        stamp = made_by(next(iter(configs.values())))
        finished = finished_before(args, stamp)
        with MatrixProgress(len(every), args, stamp) as progress:
            results = run_matrix(
                every, configs=configs, folder=folder, jobs=args.jobs, on_result=progress.take,
                finished=finished,
            )  # fmt: skip
    return progress.report(results)


def _clean_report(args: Namespace) -> "Report":
    from harness.faults.clean import run_clean
    from harness.faults.results import made_by

    seed = 0
    stamp = made_by({"clean": seed})
    finished = finished_before(args, stamp)
    with (
        tempfile.TemporaryDirectory(prefix="samebits-") as name,
        MatrixProgress(args.clean, args, stamp) as progress,
    ):
        results = run_clean(
            args.clean, seed=seed, folder=Path(name), jobs=args.jobs, tier=args.tier,
            on_result=progress.take, finished=finished,
        )  # fmt: skip
    return progress.report(results)


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
        parts.insert(0, f"{report.killed} of {report.planted} faults killed by every promise that "
                        f"should under {' and '.join(_modes(report))}")  # fmt: skip
    say("; ".join(parts))


def _modes(report: "Report") -> list[str]:
    """Return the epoch modes that faults were run in, in the order of their results."""
    return list(dict.fromkeys(result.task.mode for result in report.faults))


def _by_a_crash(result: "Result") -> bool:
    """Return whether a promise that should break did so by an error of its evidence alone."""
    found = [result.fired.get(promise, "") for promise in result.task.expected]
    return any(text.startswith("error:") for text in found)


def _print_fault(result: "Result") -> None:
    task = result.task
    say(f"{verdict(result):8} {task.family:10} {task.id:30} {task.mode:11} {result.seconds:5.1f} s")
    for promise in task.expected:
        mark = "  " if promise in result.fired else "! "
        say(f"    {mark}{promise}: {result.fired.get(promise, 'did not fire')[:150]}")
    others = sorted(set(result.fired) - set(task.expected))
    if others:
        say(f"      also: {', '.join(others)}")
