"""``harness clip-study``: measure clipping for some epochs, and advise the next threshold.

Nothing is changed: the advice is a command that the user may run.
"""

import json
import shlex
from argparse import Namespace
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from harness.commands.clip_advice import advise
from harness.commands.common import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    add_config_options,
    configured,
    read_run_ledger,
    require_crops,
    require_data,
    say,
    write_json,
)
from harness.commands.foreign import add_column_option
from harness.commands.interrupts import command_line
from harness.commands.observers import run_observers
from harness.commands.parsing import CommandParser, UsageError, add_number
from harness.commands.paths import PathKind
from harness.config import Config
from harness.environment import Environment
from harness.errors import InputError, plain_line
from harness.ranges import COUNT, Range
from harness.records.declared import check_type
from harness.records.records import EpochRecord
from harness.records.run import RunEvidence, segments
from harness.runs.run_directory import RunOptions, train_run
from harness.sealed import read_sealed, sealed_values
from harness.training.checkpoint import CheckpointStore
from harness.training.ladder import ClipAdvice, advise_threshold
from harness.whole import write_text

__all__ = ["add_parser", "run"]

_COLUMNS = (
    "epoch", "clip_rate", "grad_norm_p50", "grad_norm_p90", "grad_norm_p99", "mean_epe_12",
    "kendall_tau_prev",
)  # fmt: skip
_UNDER_WAY = ".clip-study.json"
"""In the run directory: what study is under way there, or has told its result."""


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_config_options(parser, required=False)
    parser.add_path(
        "--run", kind=PathKind.NEW_RUN, metavar="DIR",
        help="run directory; a run that is there is continued",
    )  # fmt: skip
    parser.add_path(
        "--advise", kind=PathKind.RUN, metavar="RUN",
        help="train nothing: name the next threshold by a run that is there, of any trainer",
    )  # fmt: skip
    add_column_option(parser)
    add_number(
        parser, "--epochs", Range(1, COUNT, "epochs"), "how many to run from where the run stands, "
        "and to judge", metavar="E",
    )  # fmt: skip
    parser.add_argument(
        "--segment", metavar="NAME", help="name of a new segment, to study another threshold"
    )


def run(args: Namespace) -> int:
    """Train for some epochs under the configuration as it is, then report and advise."""
    if args.advise is not None:
        return advise(args)
    _require_options(args)
    config = configured(args)
    require_crops(config)
    require_data(config)
    start, under_way = _start(args, config), args.run / _UNDER_WAY

    def note(told: bool) -> None:
        values = {**_asked(args, config), "start": start, "told": told}
        write_text(under_way, json.dumps(sealed_values(values)))

    def note_start(_: Environment) -> str:
        note(told=False)
        return ""

    until = _last_epoch(start, config, args.epochs)
    where = f"results go to {args.run}; Ctrl-C saves and stops, the same command goes on"
    options = RunOptions(
        resume=(args.run / "config.yaml").exists(),
        segment=args.segment,
        until=until,
        planned=lambda: say(where),
        # Under the run's lock and before the run writes anything: every later kill finds the note.
        check_environment=note_start,
        observers=partial(run_observers, until=until),
    )
    result = train_run(config, args.run, options)
    if result.status == "interrupted":
        say(f"interrupted; the same command goes on: {command_line(args.words)}")
        return EXIT_INTERRUPTED
    _tell(args, config, result.status, start)
    # Last: killed before this, the same command tells the same result.
    note(told=True)
    return EXIT_DONE


def _require_options(args: Namespace) -> None:
    """Refuse to train without what a study needs, or with what is for advice alone."""
    lacking = [f"--{name}" for name in ("config", "run", "epochs") if getattr(args, name) is None]
    if args.columns:
        msg = "--column: is for a table that --advise names"
        raise UsageError(msg)
    if lacking:
        msg = f"the following arguments are required: {', '.join(lacking)}, or --advise RUN"
        raise UsageError(f"{msg}; harness clip-study --help shows what there is")


def _tell(args: Namespace, config: Config, status: str, start: int) -> None:
    """Say and write what was measured after the first epochs, and what follows."""
    evidence = segments(read_run_ledger(args.run / "ledger.jsonl").effective())[-1]
    rows = tuple(row for row in evidence.epochs if row.epoch > start)
    if not rows:
        msg = f"{args.run}: no epoch was trained ({status}), there is nothing to judge"
        raise InputError(msg)
    advice = advise_threshold(_norms(evidence, rows), config.train.grad_clip_global_norm)
    for line in _table_lines(rows):
        say(line)
    command = _next_command(args, advice, left=config.train.num_epochs - rows[-1].epoch)
    for line in _advice_lines(advice, evidence.segment, rows, command):
        say(line)
    values = {"segment": evidence.segment, "epochs": [_json_row(row) for row in rows]}
    write_json(args.json, {**values, "advice": asdict(advice), "command": command})


def _asked(args: Namespace, config: Config) -> dict[str, Any]:
    """Return what makes one study another than the next, JSON-able."""
    threshold = config.train.grad_clip_global_norm
    return {"epochs": args.epochs, "segment": args.segment, "threshold": threshold}


def _start(args: Namespace, config: Config) -> int:
    """Return the epochs that were done when the study began, which a kill may have cut short."""
    done, path = _epochs_done(args.run), args.run / _UNDER_WAY
    if not path.exists():
        return done
    try:
        begun, _ = read_sealed(path)
        check_type(int, begun.get("start"), "start")
    except (OSError, ValueError) as error:
        why = plain_line(str(error))
        msg = f"{path}: expected what study is under way, found something else: {why}; remove it"
        raise InputError(msg) from None
    start, told = int(begun.pop("start")), begun.pop("told", False) is True
    # A note of another study, or of a run that has been trained
    # on since, says nothing of this one.
    same = begun == _asked(args, config) and start <= done <= start + args.epochs
    # One that has told its result goes on from there; at the plan's end it tells it again.
    over = done + args.epochs > config.train.num_epochs
    return start if same and (over or not told) else done


def _epochs_done(folder: Path) -> int:
    """Return how many epochs are completed."""
    store = CheckpointStore(folder / "checkpoints")
    return 0 if store.is_empty() else int(store.load("last").progress["epoch"])


def _last_epoch(done: int, config: Config, epochs: int) -> int:
    planned = config.train.num_epochs
    if done + epochs > planned:
        msg = (
            f"--epochs {epochs}: {done} of the {planned} planned epochs are done; the learning "
            "rate follows train.num_epochs, so a study ends with the plan"
        )
        raise InputError(msg)
    return done + epochs


def _norms(evidence: RunEvidence, rows: tuple[EpochRecord, ...]) -> list[float]:
    wanted = {row.epoch for row in rows}
    return [n for record in evidence.norms if record.epoch in wanted for n in record.norms]


def _json_row(row: EpochRecord) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _COLUMNS}


def _table_lines(rows: tuple[EpochRecord, ...]) -> list[str]:
    lines = ["epoch  clip_rate   norm p50   norm p90   norm p99   EPE (px)   tau"]
    for row in rows:
        epe = "         -" if row.mean_epe_12 is None else f"{row.mean_epe_12:10.4f}"
        tau = row.kendall_tau_prev
        why = row.reasons.get("kendall_tau_prev", "")
        lines.append(
            f"{row.epoch:5d}  {row.clip_rate:9.3f} {row.grad_norm_p50:10.4g} "
            f"{row.grad_norm_p90:10.4g} {row.grad_norm_p99:10.4g} {epe}   "
            f"{f'{tau:.3f}' if tau is not None else f'undefined: {why}'}"
        )
    return lines


def _next_command(args: Namespace, advice: ClipAdvice, *, left: int) -> str | None:
    """Return the command that follows the advice: in a new run where no epoch is left."""
    if not advice.changes:
        return None
    name = f"clip-{advice.threshold:g}"
    words = ["harness", "clip-study", "--config", str(args.config)]
    if args.fc2_root is not None:
        words += ["--fc2-root", str(args.fc2_root)]
    run = args.run if left else args.run.with_name(f"{args.run.name}-{name}")
    words += ["--run", str(run), "--epochs", str(min(args.epochs, left or args.epochs))]
    words += ["--segment", name]
    kept = [a for a in args.assignments if not a.startswith("train.grad_clip_global_norm=")]
    for assignment in [*kept, f"train.grad_clip_global_norm={advice.threshold:g}"]:
        words += ["--set", assignment]
    return shlex.join(words)


def _advice_lines(
    advice: ClipAdvice, segment: str, rows: tuple[EpochRecord, ...], command: str | None
) -> list[str]:
    first, last = rows[0].epoch, rows[-1].epoch
    lines = [
        f"segment {segment}, epochs {first} to {last}: clip_rate {advice.clip_rate:.3f}, "
        f"norm p50 {advice.p50:.4g}, p90 {advice.p90:.4g}, p99 {advice.p99:.4g}",
        f"advice: {advice.reason}",
    ]
    if command is None:
        return lines
    return [
        *lines,
        f"of these norms, {advice.predicted_rate:.1%} exceed {advice.threshold:g}; its curves will "
        "not compare with these, hence the new name. Nothing has been changed. To try it:",
        f"    {command}",
    ]
