"""``harness require-gate``: refuse to go on unless a gate file is green for what is asked."""

from argparse import Namespace

from harness.commands.common import EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.require_gate import TIERS, GateError, require_gate
from harness.verdict import gate_note

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_path("file", kind=PathKind.FILE, metavar="FILE", help="what `--gate-file` wrote")
    parser.add_argument("--system", metavar="NAME", help="what must have been gated")
    parser.add_path(
        "--code", kind=PathKind.CODE, metavar="DIR",
        help="folder of the code that must be the same",
    )  # fmt: skip
    parser.add_path(
        "--adapter", kind=PathKind.CODE, metavar="DIR",
        help="folder of the adapter, where the code is another's",
    )  # fmt: skip
    parser.add_path("--config", kind=PathKind.FILE, metavar="FILE", help="the run's configuration")
    parser.add_path("--data", kind=PathKind.DATA, metavar="DIR", help="folder of the data")
    parser.add_argument(
        "--tier", choices=TIERS, default="quick", help="of which tier at least (default: quick)"
    )
    parser.add_argument(
        "--promise", nargs="+", metavar="ID", default=[],
        help="promises that must hold, in place of the whole tier",
    )  # fmt: skip
    parser.add_argument(
        "--accept-known-defects",
        action="store_true",
        help="accept promises that are broken, and listed with a reason",
    )


def run(args: Namespace) -> int:
    """Say what was gated; exit code 2 if the file does not vouch for it."""
    # Promises import OpenCV, which no other command waits for.
    from harness.promises.registry import declarations_digest

    try:
        gate = require_gate(
            args.file, system=args.system, code=args.code, adapter=args.adapter,
            config=args.config, data=args.data, tier=args.tier, promises=args.promise,
            declarations=declarations_digest(),
            accept_known_defects=args.accept_known_defects,
        )  # fmt: skip
    except (GateError, OSError) as error:
        raise InputError(str(error)) from None
    say(gate_note(gate))
    write_json(args.json, {"verdict": gate["verdict"], "gated": gate["gated"]})
    return EXIT_DONE
