"""``harness train``: train, evaluate, record, resume."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.commands.common import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    add_config_options,
    configured,
    say,
    write_json,
)
from harness.commands.interrupts import command_line
from harness.commands.observers import run_observers
from harness.comparing import changes
from harness.config import Config, with_overrides
from harness.environment import Environment
from harness.errors import InputError
from harness.records.environments import vouched_difference
from harness.require_gate import GateError, require_gate
from harness.runs.identity import gate_values
from harness.runs.run_directory import RunOptions, train_run
from harness.systems.code import code_place, code_state
from harness.systems.spec import SystemSpec
from harness.verdict import EXCEPT_KNOWN, gate_note
from harness.wording import counted

__all__ = ["add_parser", "run"]


def add_parser(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    add_config_options(parser)
    parser.add_argument(
        "--run", type=Path, metavar="DIR",
        help="run directory (default: runtime.output_root/runtime.experiment_name)",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, metavar="N", help="override train.num_epochs")
    parser.add_argument("--resume", action="store_true", help="continue from checkpoints/last")
    parser.add_argument(
        "--segment", metavar="NAME",
        help="name of a new segment of the log, where training dynamics or evaluation protocol "
        "change on a resume",
    )  # fmt: skip
    parser.add_argument(
        "--require-gate", type=Path, metavar="FILE",
        help="refuse to start unless FILE is a green --gate-file for this configuration",
    )  # fmt: skip
    parser.add_argument(
        "--accept-known-defects", action="store_true",
        help="let --require-gate accept a gate that is green except for known defects",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Train as asked; exit code 75 when interrupted and resumable."""
    config = configured(args)
    if args.epochs is not None:
        config = with_overrides(config, [f"train.num_epochs={args.epochs}"])
    folder = args.run or Path(config.runtime.output_root) / config.runtime.experiment_name
    options = RunOptions(
        # EdgeFlowNAS resumes by this key.
        resume=args.resume or config.checkpoint.load_checkpoint,
        segment=args.segment,
        # Asked before the run writes anything, with the environment that is really applied.
        check_environment=lambda found: _require_gate(args, config, found),
        observers=run_observers,
    )
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
    words = [*args.words, *(["--resume"] if "--resume" not in args.words else [])]
    say(f"to go on: {command_line(words)}")
    return EXIT_INTERRUPTED


def _require_gate(args: Namespace, config: Config, environment: Environment) -> str:
    """Return what was gated; refuse unless that is this configuration, data and environment.

    It was green, or green except for known defects where that is accepted.
    """
    path: Path | None = args.require_gate
    if path is None:
        return ""
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
    wrong = []
    expected = gate_values(config)
    reset = changes(gate.get("configuration") or {}, expected, absent=None)
    elsewhere = vouched_difference(gate.get("environment") or {}, environment.as_dict())
    wrong += [
        f"{one.key}: gated {one.old!r}, asked {one.new!r}"
        for one in (*(one for one in reset if one.key in expected), *elsewhere.changed)
    ]
    if wrong:
        shown = "; ".join(wrong[:6]) + ("; ..." if len(wrong) > 6 else "")
        msg = f"--require-gate {path}: {shown}. Gate what you want to train, then train it."
        raise InputError(msg)
    say(f"gate: {gate['verdict']} ({path})")
    if elsewhere.unnamed:
        say(f"note: {elsewhere.note('the gate file')}")
    gated = (gate.get("gated") or {}).get("code")
    code = code_state(code_place(SystemSpec())).as_dict()
    if gated is not None and gated != code:
        say(f"warning: the code is not the one that was gated: {gated} then, {code} now")
    return gate_note(gate)
