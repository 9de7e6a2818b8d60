"""``harness check-adapter``: each call of an adapter once, before any promise is asked."""

import shlex
import tempfile
from argparse import Namespace
from pathlib import Path

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.under_test import add_system_options, asked_system, gate_setting
from harness.config import Config
from harness.errors import InputError
from harness.systems.code import short_name
from harness.systems.spec import SystemSpec

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options; those of the gate have the same names there."""
    parser.add_argument(
        "system", metavar="FILE:CLASS",
        help="the adapter: FILE.py:CLASS, MODULE:CLASS, or one that comes with the package",
    )  # fmt: skip
    add_system_options(parser)


def run(args: Namespace) -> int:
    """Call everything once; exit code 1 if something is missing or wrong."""
    if args.system.endswith(".py"):
        msg = (
            f"FILE:CLASS {args.system}: expected the class behind a colon, as in "
            f"{args.system}:MyTrainer"
        )
        raise InputError(msg)
    try:
        spec, chosen = asked_system(args)
    except InputError as error:  # which names the option of the other commands
        msg = str(error).replace("--system ", "FILE:CLASS ", 1)
        raise InputError(msg) from None
    if spec.system == "builtin":
        msg = "FILE:CLASS builtin: expected an adapter, which the builtin system has no need of"
        raise InputError(msg)
    with tempfile.TemporaryDirectory(prefix="samebits-") as name:
        config, note = gate_setting(chosen, Path(name))
        data = config.data
        say(f"{short_name(spec)}, under the gate's own small configuration")
        crop = f"{data.input_height} x {data.input_width} px"
        say(f"{note}; crop {crop}, unless it has one of its own")
        say("")
        found, wrong = _checked(spec, config, Path(name), _gate_command(args))
    write_json(args.json, found)
    return EXIT_BROKEN if wrong else EXIT_DONE


def _checked(
    spec: SystemSpec, config: Config, folder: Path, again: str
) -> tuple[dict[str, object], int]:
    """Return everything that was found, and how much of it is wrong; say each as it comes."""
    from harness.promises.adapter_calls import Called
    from harness.promises.adapter_check import check_adapter
    from harness.reporting.adapter import as_json, call_lines, head_lines, summary_lines
    from harness.systems.remote import Workers

    def on_result(called: Called) -> None:
        for line in call_lines(called):
            say(line)

    for line in head_lines():
        say(line)
    workers = Workers()
    try:
        seen = check_adapter(spec, workers, config, folder, on_result)
    finally:
        workers.close()
    for line in summary_lines(seen, again):
        say(line)
    return {"system": short_name(spec), **as_json(seen)}, seen.wrong


def _gate_command(args: Namespace) -> str:
    """Return the command that asks the gate of the same system."""
    words = ["harness", "gate", "--system", args.system]
    for option in ("system_root", "system_python", "config", "fc2_root"):
        if getattr(args, option):
            words += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
    return shlex.join([*words, "--tier", "smoke"])
