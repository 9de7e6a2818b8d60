"""``harness train --seeds``: a run of each seed, as jobs that resume where they were cut."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.bars import bar
from harness.commands.cluster import Cluster
from harness.commands.common import (
    EXIT_INTERRUPTED,
    StopFlag,
    check_with_data,
    configured,
    require_crops,
    require_data,
    say,
    write_json,
)
from harness.commands.interrupts import command_line
from harness.commands.jobs import Ended, Job, JobsStoppedError, exit_code, failures, run_jobs
from harness.commands.paths import Named, PathKind
from harness.errors import InputError
from harness.wording import counted

__all__ = ["train_seeds"]


def train_seeds(args: Namespace, cluster: Cluster | None) -> int:
    """Train a run of each seed, and return the exit code of all: 0 if each is trained.

    Raises
    ------
    InputError
        If options do not go together, or what is to be trained cannot be.
    """
    _require_sense(args, cluster)
    folder = _folder(args)
    runs = {seed: folder / f"seed-{seed}" for seed in args.seeds}
    config = configured(args)
    check_with_data(args, config, *(Named("--run", run, PathKind.NEW_RUN) for run in runs.values()))
    require_crops(config)
    require_data(config)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{counted(len(runs), 'run')} in {folder}, logs in {folder / 'jobs'}; {_again(args)}")
    jobs = [_job(args, seed, run) for seed, run in runs.items()]
    with bar(len(jobs), "runs") as drawn, StopFlag() as stop:
        try:
            ended = run_jobs(
                cluster or Cluster("local"), folder / "jobs", jobs,
                at_once=args.jobs or len(jobs), stop=stop, done=lambda: drawn.advance(1),
            )  # fmt: skip
        except JobsStoppedError:
            say(f"interrupted; runs save at their next step; {_again(args)}")
            return EXIT_INTERRUPTED
    return _told(args, runs, ended)


def _require_sense(args: Namespace, cluster: Cluster | None) -> None:
    if cluster is None:
        msg = "--seeds: each seed is a job; add --cluster slurm or --cluster local"
        raise InputError(msg)
    twice = next((seed for seed in args.seeds if args.seeds.count(seed) > 1), None)
    if twice is not None:
        msg = f"--seeds: {twice} is named twice, and would be trained in one run directory"
        raise InputError(msg)
    if args.require_gate is not None:
        msg = (
            "--require-gate: a gate file vouches for one seed; gate and train each seed by itself, "
            "with --set runtime.seed=S"
        )
        raise InputError(msg)


def _folder(args: Namespace) -> Path:
    if args.run is not None:
        return Path(args.run)
    runtime = configured(args).runtime
    return Path(runtime.output_root) / runtime.experiment_name


def _job(args: Namespace, seed: int, run: Path) -> Job:
    last = run / "checkpoints" / "last"

    def words() -> Sequence[str]:
        return _words(args, seed, run)

    return Job(f"seed {seed}", words, lambda: last.read_bytes() if last.is_file() else b"")


def _words(args: Namespace, seed: int, run: Path) -> list[str]:
    """Return the command of one seed, which resumes what is there."""
    words = ["train", "--config", str(args.config), "--run", str(run)]
    if args.fc2_root is not None:
        words += ["--fc2-root", str(args.fc2_root)]
    for assignment in (*args.assignments, f"runtime.seed={seed}"):
        words += ["--set", assignment]
    for option, value in (("--epochs", args.epochs), ("--segment", args.segment)):
        if value is not None:
            words += [option, str(value)]
    return [*words, *(["--resume"] if (run / "config.yaml").is_file() else [])]


def _told(args: Namespace, runs: dict[int, Path], ended: dict[str, Ended]) -> int:
    """Say how each run ended, write it as asked, and return the exit code of all."""
    found: list[dict[str, Any]] = []
    for seed, run in runs.items():
        one = ended[f"seed {seed}"]
        say(f"seed {seed}: exit code {one.code}, {counted(one.starts, 'start')}, {run}")
        found.append({"seed": seed, "run": str(run), "exit_code": one.code, "starts": one.starts})
    for line in failures(ended):
        say(line)
    code = exit_code(ended)
    if code:
        say(_again(args))
    write_json(args.json, {"runs": found, "exit_code": code})
    return code


def _again(args: Namespace) -> str:
    return f"to go on: {command_line(args.words)}"
