"""A system that a command asks by itself: options as those of the gate, and its setting."""

from argparse import Namespace
from pathlib import Path

from harness.asked import named_configuration, named_system
from harness.commands.parsing import CommandParser, add_number
from harness.commands.paths import PathKind
from harness.config import Config, ConfigError
from harness.errors import InputError
from harness.ranges import MEMORY, SECONDS
from harness.systems.spec import CALL_SECONDS, SystemSpec

__all__ = ["add_system_options", "asked_system", "gate_setting"]


def add_system_options(parser: CommandParser) -> None:
    """Add what names a system's code, interpreter, limits, configuration and data."""
    parser.add_path(
        "--system-root", kind=PathKind.CODE, metavar="DIR", help="its own code's folder"
    )
    parser.add_argument("--system-python", default="", metavar="EXE", help="its interpreter")
    add_number(
        parser, "--system-timeout", SECONDS, "limit of each call of a system in its process",
        default=CALL_SECONDS, metavar="SECONDS",
    )  # fmt: skip
    add_number(
        parser, "--system-memory", MEMORY, "limit of that process's own memory",
        metavar="MIB",
    )  # fmt: skip
    parser.add_path(
        "--config", kind=PathKind.FILE, metavar="FILE", help="the run's YAML configuration"
    )
    parser.add_path(
        "--fc2-root", kind=PathKind.DATA, metavar="DIR",
        help="folder with train/ and val/ (default: synthetic frames)",
    )  # fmt: skip


def asked_system(args: Namespace) -> tuple[SystemSpec, Config | None]:
    """Return the system and the configuration that options name; None: the embedded one.

    Raises
    ------
    InputError
        If one of them names nothing that is there.
    """
    try:
        spec = named_system(
            args.system, root=str(args.system_root or ""), python=args.system_python,
            timeout=str(args.system_timeout), memory=str(args.system_memory or ""),
        )  # fmt: skip
        config_file, data = str(args.config or ""), str(args.fc2_root or "")
        return spec, named_configuration(config_file, data, own=spec.system == "builtin")
    except (ConfigError, ValueError) as error:
        raise InputError(str(error)) from None


def gate_setting(chosen: Config | None, folder: Path) -> tuple[Config, str]:
    """Return the gate's configuration, on frames in a folder, and what to say of it."""
    from harness.fc2.synthetic import write_dataset
    from harness.promises import setting

    if chosen is None:
        height, width = setting.EMBEDDED_SIZE
        frames, sizes = folder / "frames", (setting.EMBEDDED_TRAIN, setting.EMBEDDED_VAL)
        write_dataset(frames, train=sizes[0], val=sizes[1], height=height, width=width)
        return setting.embedded_config(frames), "frames: embedded synthetic ones"
    linked, note = setting.link_gate_frames(chosen, folder / "frames")
    return setting.gate_config(linked), note
