"""``harness schema``: the JSON Schema of a file that others read."""

import json
from argparse import Namespace

from harness.commands.common import EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.whole import write_text

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="gate-file, ledger, epoch-log or config"
    )
    parser.add_path(
        "--write", kind=PathKind.FILLED, metavar="DIR", help="write all of them into this folder"
    )
    parser.add_path(
        "--keys", kind=PathKind.FILLED, metavar="DIR",
        help="write configuration.md, what every key of a configuration does, into this folder",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Print a schema, or write all."""
    from harness.schemas import SCHEMAS

    if args.keys is not None:
        from harness.reporting.keys import configuration_page

        path = args.keys / "configuration.md"
        write_text(path, configuration_page())
        say(f"wrote {path}")
        return EXIT_DONE
    if args.write is not None:
        for name, schema in SCHEMAS.items():
            path = args.write / f"{name}.json"
            write_text(path, json.dumps(schema, indent=2) + "\n")
            say(f"wrote {path}")
        return EXIT_DONE
    if args.name not in SCHEMAS:
        named = f"schema {args.name!r}: " if args.name else "no schema is named: "
        msg = f"{named}expected one of {', '.join(SCHEMAS)}, --write DIR or --keys DIR"
        raise InputError(msg)
    say(json.dumps(SCHEMAS[args.name], indent=2))
    write_json(args.json, SCHEMAS[args.name])
    return EXIT_DONE
