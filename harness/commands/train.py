"""``harness train``: train, evaluate, record, resume."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.commands.cluster import add_cluster_options, asked_cluster
from harness.commands.common import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    add_config_options,
    check_with_data,
    configured,
    require_crops,
    require_data,
    say,
    write_json,
)
from harness.commands.interrupts import command_line
from harness.commands.observers import run_observers
from harness.commands.parsing import CommandParser, add_number, text_or
from harness.commands.paths import Named, PathKind
from harness.commands.seeds import train_seeds
from harness.comparing import Change, changes
from harness.config import Config, with_overrides
from harness.environment import Environment
from harness.errors import InputError
from harness.ranges import COUNT, SEED, Range
from harness.records.environments import vouched_difference
from harness.require_gate import GateError, require_gate
from harness.runs.identity import gate_values
from harness.runs.run_directory import RunOptions, train_run
from harness.systems.code import code_place, code_state
from harness.systems.spec import SystemSpec
from harness.verdict import EXCEPT_KNOWN, gate_note
from harness.wording import counted

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_config_options(parser)
    parser.add_path(
        "--run", kind=PathKind.NEW_RUN, metavar="DIR",
        help="run directory (default: runtime.output_root/runtime.experiment_name)",
    )  # fmt: skip
    add_number(
        parser, "--epochs", Range(1, COUNT, "epochs"), "override train.num_epochs", metavar="N"
    )
    parser.add_argument("--resume", action="store_true", help="continue from checkpoints/last")
    parser.add_argument(
        "--segment", metavar="NAME",
        help="name of a new segment of the log, where training dynamics or evaluation protocol "
        "change on a resume",
    )  # fmt: skip
    parser.add_path(
        "--require-gate", kind=PathKind.FILE, metavar="FILE",
        help="refuse to start unless FILE is a green --gate-file for this configuration",
    )  # fmt: skip
    parser.add_argument(
        "--accept-known-defects", action="store_true",
        help="let --require-gate accept a gate that is green except for known defects",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", nargs="+", type=text_or((), SEED), metavar="S",
        help="train a run of each seed, DIR/seed-S, as jobs; what is there is resumed",
    )  # fmt: skip
    add_cluster_options(
        parser, "runs of --seeds that are trained at once (default: all)", 1024,
        "train the runs of --seeds",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Train as asked; exit code 75 when interrupted and resumable."""
    cluster = asked_cluster(args)
    if args.seeds is not None:
        return train_seeds(args, cluster)
    if cluster is not None:
        msg = "--cluster: trains a run of each seed as a job; name them with --seeds"
        raise InputError(msg)
    config = configured(args)
    if args.epochs is not None:
        config = with_overrides(config, [f"train.num_epochs={args.epochs}"])
    folder = args.run or Path(config.runtime.output_root) / config.runtime.experiment_name
    if args.run is None:
        check_with_data(args, config, Named("runtime.output_root", folder, PathKind.NEW_RUN))
    require_crops(config)
    require_data(config)
    options = _options(args, config, folder, _gated(args, config))
    result = train_run(config, folder, options)
    done = counted(result.progress.epoch, "epoch"), counted(result.progress.global_step, "step")
    say(f"{result.status}: {', '.join(done)}")
    values = {
        "status": result.status, "run": str(folder), "segment": result.segment,
        "progress": result.progress.get_state(),
    }  # fmt: skip
    write_json(args.json, values)
    if result.status != "interrupted":
        return EXIT_DONE
    say(f"to go on: {_resuming(args)}")
    return EXIT_INTERRUPTED


def _options(
    args: Namespace, config: Config, folder: Path, gate: dict[str, Any] | None
) -> RunOptions:
    where = (
        f"results go to {folder} (epochs.csv, ledger.jsonl, checkpoints); Ctrl-C saves and stops, "
        f"to go on: {_resuming(args)}"
    )
    return RunOptions(
        # EdgeFlowNAS resumes by this key.
        resume=args.resume or config.checkpoint.load_checkpoint,
        segment=args.segment,
        # Not before: of a run that is refused no results go anywhere.
        planned=lambda: say(where),
        # Asked before the run writes anything, with the environment that is really applied.
        check_environment=lambda found: _require_environment(args, gate, found),
        observers=run_observers,
        code=lambda: code_state(code_place(SystemSpec())).as_dict(),
    )


def _resuming(args: Namespace) -> str:
    """Return the command line that goes on with the run."""
    return command_line([*args.words, *(["--resume"] if "--resume" not in args.words else [])])


def _gated(args: Namespace, config: Config) -> dict[str, Any] | None:
    """Return the gate file's content, None where none is required.

    Asked before TensorFlow is imported: that it is a gate of this configuration and data, and
    green, or green except for known defects where that is accepted.
    """
    path: Path | None = args.require_gate
    if path is None:
        return None
    # Promises import OpenCV, which no other command waits for.
    from harness.promises.registry import declarations_digest

    try:
        gate = require_gate(
            path, system="builtin", declarations=declarations_digest(),
            accept_known_defects=args.accept_known_defects,
        )  # fmt: skip
    except GateError as error:
        more = "; --accept-known-defects accepts it" * (EXCEPT_KNOWN in str(error))
        raise InputError(f"--require-gate {error}{more}") from None
    expected = gate_values(config)
    reset = changes(gate.get("configuration") or {}, expected, absent=None)
    _refuse_changed(path, [one for one in reset if one.key in expected])
    return gate


def _require_environment(
    args: Namespace, gate: dict[str, Any] | None, environment: Environment
) -> str:
    """Return what was gated; refuse unless it was in this environment."""
    if gate is None:
        return ""
    elsewhere = vouched_difference(gate.get("environment") or {}, environment.as_dict())
    _refuse_changed(args.require_gate, elsewhere.changed)
    say(f"gate: {gate['verdict']} ({args.require_gate})")
    if elsewhere.unnamed:
        say(f"note: {elsewhere.note('the gate file')}")
    gated = (gate.get("gated") or {}).get("code")
    code = code_state(code_place(SystemSpec())).as_dict()
    if gated is not None and gated != code:
        say(f"warning: the code is not the one that was gated: {gated} then, {code} now")
    return gate_note(gate)


def _refuse_changed(path: Path, found: Sequence[Change]) -> None:
    """Refuse what was gated with one value and is asked for with another."""
    wrong = [f"{one.key}: gated {one.old!r}, asked {one.new!r}" for one in found]
    if wrong:
        shown = "; ".join(wrong[:6]) + ("; ..." if len(wrong) > 6 else "")
        msg = f"--require-gate {path}: {shown}. Gate what you want to train, then train it."
        raise InputError(msg)
