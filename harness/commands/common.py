"""What several commands share: configuration from arguments, JSON results."""

import json
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from harness.commands.parsing import CommandParser, given_paths
from harness.commands.paths import Named, PathKind, check_paths
from harness.config import Config, ConfigError, load_config, with_fc2_root, with_overrides
from harness.errors import InputError
from harness.fc2.layout import list_triplets
from harness.foreign.recognise import FOREIGN_FILES
from harness.records.ledger import LedgerContent, read_ledger
from harness.runs.stop import StopFlag, say
from harness.supernet.space import SKELETONS, check_crop
from harness.whole import write_text

__all__ = [
    "EXIT_BROKEN",
    "EXIT_DONE",
    "EXIT_INPUT",
    "EXIT_INTERRUPTED",
    "StopFlag",
    "add_config_options",
    "check_with_data",
    "config_of_run",
    "configured",
    "ledger_file",
    "read_run_ledger",
    "require_crops",
    "require_data",
    "say",
    "write_json",
]

EXIT_DONE, EXIT_BROKEN, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 75


def add_config_options(parser: CommandParser, *, required: bool = True) -> None:
    """Add ``--config``, ``--fc2-root`` and ``--set``."""
    parser.add_path(
        "--config", kind=PathKind.FILE, required=required, metavar="FILE", help="YAML file"
    )
    parser.add_path(
        "--fc2-root", kind=PathKind.DATA, metavar="DIR",
        help="folder with train/ and val/; overrides paths",
    )  # fmt: skip
    parser.add_argument(
        "--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE",
        help="override one key, such as train.lr=1e-3; may be repeated",
    )  # fmt: skip


def configured(args: Namespace) -> Config:
    """Return the configuration that the arguments name; its data hold none of the outputs.

    Raises
    ------
    InputError
        If it is wrong, or something is to be written into the data.
    """
    config = with_overrides(load_config(args.config), args.assignments)
    config = with_fc2_root(config, args.fc2_root)
    check_with_data(args, config)
    return config


def config_of_run(args: Namespace) -> Config:
    """Return the configuration of the run that ``--run`` names, on what ``--fc2-root`` names.

    Raises
    ------
    InputError
        If it is no run directory.
    """
    path = args.run / "config.yaml"
    if not path.exists():
        msg = f"{args.run}: not a run directory, no config.yaml there"
        raise InputError(msg)
    return with_fc2_root(load_config(path), args.fc2_root)


def check_with_data(args: Namespace, config: Config, *more: Named) -> None:
    """Look at the paths of a command line again, now that it is known where the data lie.

    Parameters
    ----------
    more : Named
        Paths that follow from others, such as the run directory that a configuration names.
    """
    known = [*given_paths(args.named_paths, vars(args)), *more]
    known += [
        Named(f"data.{role}_dir", config.data.split_dir(role), PathKind.FOLDER) for role in _SPLITS
    ]
    if config.eval.frozen:
        known.append(Named("eval.frozen", Path(config.eval.frozen), PathKind.FILE))
    check_paths(known)


def require_crops(config: Config) -> None:
    """Refuse a crop that the skeleton's strides do not divide; needs no TensorFlow.

    Raises
    ------
    ConfigError
        Naming the crop.
    """
    for key, crop in (("data.input_height, data.input_width", config.train_crop),
                      ("eval.crop", config.eval_crop)):  # fmt: skip
        try:
            check_crop(SKELETONS[config.model.skeleton], crop)
        except ValueError as error:
            msg = f"`{key}`: {error}"
            raise ConfigError(msg) from None


def require_data(config: Config) -> None:
    """Refuse data that are not there, or lack a file; reads names alone and needs no TensorFlow.

    Raises
    ------
    InputError
        Naming the folder and what it lacks.
    """
    for role in _SPLITS:
        try:
            list_triplets(config.data.split_dir(role))
        except ValueError as error:
            raise InputError(str(error)) from None
    frozen = Path(config.eval.frozen)
    if config.eval.frozen and not (frozen.is_file() and zipfile.is_zipfile(frozen)):
        what = "is no frozen artifact" if frozen.exists() else "no such file"
        msg = f"eval.frozen {frozen}: {what}; `harness freeze` writes one"
        raise InputError(msg)


_SPLITS: tuple[Literal["train"], Literal["val"]] = ("train", "val")


def ledger_file(path: Path) -> Path:
    """Return the ledger that a run directory holds, or that `path` is.

    Raises
    ------
    InputError
        If there is none.
    """
    file = path / "ledger.jsonl" if path.is_dir() else path
    if not file.exists():
        msg = f"{file}: no such ledger; name a run directory, or the ledger.jsonl in it"
        if path.is_dir():
            msg += f"; of other trainers' runs, {FOREIGN_FILES} are known"
        raise InputError(msg)
    return file


def read_run_ledger(file: Path) -> LedgerContent:
    """Read a ledger for a command that is about something else; say aloud what is lost in it."""
    content = read_ledger(file)
    for line in content.lost():
        say(f"warning: {file}: {line}")
    return content


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a command's result for machines, if asked to."""
    if path is not None:
        text = json.dumps(result, indent=2, allow_nan=False, default=str)
        write_text(path, text + "\n")
