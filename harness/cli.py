"""``python -m harness``: one parser, one line per command.

Exit codes: 0 done, 1 a promise broken, 2 the input was wrong, 70 a mistake of this program, 75
interrupted and resumable.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from harness import __version__
from harness.commands import (
    audit,
    budget,
    check_adapter,
    checkpoints,
    clip_study,
    data,
    doctor,
    evaluate,
    faults,
    gate,
    gate_power,
    init_adapter,
    promises,
    report,
    require_gate,
    schema,
    train,
    view,
)
from harness.commands.endings import ended
from harness.commands.interrupts import until_interrupted
from harness.commands.parsing import CommandParser, given_paths
from harness.commands.paths import PathKind, check_paths
from harness.console import flush

__all__ = ["main"]

_Run = Callable[[argparse.Namespace], int]
_COMMANDS: tuple[tuple[str, Callable[[CommandParser], None], _Run, str], ...] = (
    ("synth", data.add_synth_parser, data.run_synth, "write a synthetic FlyingChairs2"),
    ("subset", data.add_subset_parser, data.run_subset, "copy a subset with a manifest"),
    ("train", train.add_parser, train.run, "train a supernet"),
    ("eval", evaluate.add_parser, evaluate.run, "score a pool of archs with a checkpoint"),
    (
        "budget", budget.add_parser, budget.run,
        "measure what an evaluation costs and how noisy it is, and advise K and R",
    ),
    ("freeze", data.add_freeze_parser, data.run_freeze, "write the evaluation's batches to a file"),
    (
        "clip-study", clip_study.add_parser, clip_study.run,
        "measure clipping for some epochs and advise the next threshold",
    ),
    (
        "import-checkpoint", checkpoints.add_import_parser, checkpoints.run_import,
        "make a run directory from a checkpoint of EdgeFlowNAS",
    ),
    (
        "digest", checkpoints.add_digest_parser, checkpoints.run_digest,
        "print the digests of a checkpoint, or what differs between two",
    ),
    ("audit", audit.add_parser, audit.run, "hold a run to its promises, by its ledger"),
    ("report", report.add_parser, report.run, "show runs, or compare them, in one HTML file"),
    ("view", view.add_parser, view.run, "show samples, and what archs predict, in one HTML file"),
    ("faults", faults.add_parser, faults.run, "prove that the gate can fail: the kill matrix"),
    (
        "init-adapter", init_adapter.add_parser, init_adapter.run,
        "write a commented adapter for a trainer of your own, which runs as it stands",
    ),
    (
        "check-adapter", check_adapter.add_parser, check_adapter.run,
        "make each call of an adapter once and say in words what is missing or wrong",
    ),
    ("gate", gate.add_parser, gate.run, "hold a trainer to its promises, without any test file"),
    (
        "require-gate", require_gate.add_parser, require_gate.run,
        "refuse to go on unless a gate file is green for this code, configuration and data",
    ),
    (
        "gate-power", gate_power.add_parser, gate_power.run,
        "plant faults around your own system and show what its gate notices",
    ),
    ("promises", promises.add_parser, promises.run, "list what the gate checks"),
    ("schema", schema.add_parser, schema.run, "print the JSON Schema of a file that others read"),
    ("doctor", doctor.add_parser, doctor.run, "check this machine"),
)  # fmt: skip


def _parser(asked: str) -> CommandParser:
    """Return the parser of all commands, of which the one that is asked for has its options."""
    parser = CommandParser(
        prog="harness",
        description="Train, evaluate and prepare data for optical-flow supernets under a gate.",
        epilog="Exit codes: 0 done, 1 a promise broken, 2 wrong input, 70 a mistake of this "
        "program, 75 interrupted and resumable.",
    )
    parser.add_argument("--version", action="version", version=f"samebits {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, declare, run, text in _COMMANDS:
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name != asked:  # declaring them all takes longer than most commands
            continue
        declare(command)
        # Last: where two outputs are one file, this is the one to be named again.
        command.add_path(
            "--json", kind=PathKind.NEW_FILE, metavar="FILE", help="write the result as JSON"
        )
        command.set_defaults(run_command=run, named_paths=command.paths)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # No option of the program itself takes a value.
    first = next((word for word in words if not word.startswith("-")), "")
    command = first if first in {name for name, *_ in _COMMANDS} else ""
    try:
        return ended(
            f"harness {command}".rstrip(),
            lambda: until_interrupted(words, lambda: _run(words, command)),
        )
    finally:
        flush()


def _run(words: Sequence[str], command: str) -> int:
    args = _parser(command).parse_args(words)
    args.words = list(words)
    # Before any work: what cannot be written is said at once.
    check_paths(given_paths(args.named_paths, vars(args)))
    run: _Run = args.run_command
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
