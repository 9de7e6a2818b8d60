"""``harness import-checkpoint`` and ``harness digest``: what a checkpoint holds."""

from argparse import Namespace
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.config import (
    Config,
    ConfigError,
    dump_config,
    load_config,
    parse_config,
    with_overrides,
)
from harness.digest import digest_arrays
from harness.environment import apply_environment
from harness.errors import InputError
from harness.supernet.import_names import CARRIES_NOTHING
from harness.supernet.space import SKELETONS, check_crop
from harness.training.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from harness.training.differences import Difference, differences
from harness.training.fairness import fairness_gap
from harness.whole import list_entries, whole_folder

if TYPE_CHECKING:
    from harness.training.importing import Imported

__all__ = ["add_digest_parser", "add_import_parser", "run_digest", "run_import"]


def add_import_parser(parser: CommandParser) -> None:
    """Declare the options of ``import-checkpoint``."""
    parser.add_path(
        "prefix", kind=PathKind.PREFIX, metavar="PREFIX",
        help="EdgeFlowNAS's checkpoint without .index, such as checkpoints/supernet_best.ckpt",
    )  # fmt: skip
    parser.add_path("out", kind=PathKind.NEW_FOLDER, metavar="OUT", help="new run directory")
    parser.add_path(
        "--config", kind=PathKind.FILE, metavar="FILE",
        help="EdgeFlowNAS's YAML or ours (default: ours); skeleton and width are read off the "
        "checkpoint",
    )  # fmt: skip


def run_import(args: Namespace) -> int:
    """Write a new run directory from EdgeFlowNAS's files; both are whole or it is refused."""
    _check_out(args.out)
    given = parse_config({}) if args.config is None else load_config(args.config)
    apply_environment(given)
    from harness.training.importing import imported_meta, read_edgeflownas

    imported = read_edgeflownas(args.prefix)
    config, notes = _fitting_config(given, imported, args.config)
    # Attempt 0: before any of ours, so that no checkpoint of a later attempt has this name.
    name = f"epoch-{imported.progress.epoch:04d}-step-00000-attempt-0"
    with whole_folder(args.out) as folder:
        digest = _save(folder, name, imported, imported_meta(imported, config))
        (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    result = _import_result(imported, args.out, name, digest, notes)
    for line in _import_lines(result):
        say(line)
    write_json(args.json, result)
    return EXIT_DONE


def _check_out(out: Path) -> None:
    """Refuse a folder of anything but an import, which may be this one, killed at its end."""
    if out.exists() and not (
        out.is_dir() and list_entries(out) in ([], ["checkpoints"], ["checkpoints", "config.yaml"])
    ):
        msg = f"{out}: expected a new run directory or an empty folder; name another OUT"
        raise InputError(msg)


def _save(folder: Path, name: str, imported: "Imported", meta: dict[str, Any]) -> str:
    try:
        return CheckpointStore(folder / "checkpoints").save(
            name, imported.arrays, imported.progress.get_state(), meta, best=True
        )
    except CheckpointError as error:
        # What was saved before, and where, says nothing: the folder is not yet what it will be.
        raise error.__cause__ or error from None


def _fitting_config(
    given: Config, imported: "Imported", path: Path | None
) -> tuple[Config, list[str]]:
    """Return the configuration with skeleton, width and a crop that fit, and what to note."""
    held = {"skeleton": imported.fit.skeleton, "width": imported.fit.width}
    # What the file says itself: a default is no claim about the checkpoint.
    for key in sorted(given.model.model_fields_set):
        if getattr(given.model, key) != held[key]:
            msg = (
                f"{path}: `model.{key}` is {getattr(given.model, key)!r}, but the checkpoint "
                f"holds {held[key]!r}; remove the key or name the checkpoint that it describes"
            )
            raise InputError(msg)
    config = with_overrides(given, [f"model.{key}={value}" for key, value in held.items()])
    notes = []
    if not imported.fit.optimizer:
        notes.append("the checkpoint holds nothing of Adam: moments are 0, powers initial")
    step = SKELETONS[imported.fit.skeleton].stride
    height, width = (side // step * step for side in config.train_crop)
    # The default crop gives way to the skeleton's stride; one
    # that somebody wrote is refused below.
    if path is None and (height, width) != config.train_crop:
        default = " x ".join(map(str, config.train_crop))
        config = with_overrides(
            config, [f"data.input_height={height}", f"data.input_width={width}"]
        )
        notes.append(f"crop {height} x {width}: the default {default} is no multiple of {step}")
    for crop in (config.train_crop, config.eval_crop):
        try:
            check_crop(SKELETONS[config.model.skeleton], crop)
        except ValueError as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from None
    return config, notes


def _import_result(
    imported: "Imported", out: Path, name: str, digest: str, notes: list[str]
) -> dict[str, Any]:
    progress, fit = imported.progress, imported.fit
    return {
        "run": str(out), "checkpoint": name, "checkpoint_digest": digest,
        "skeleton": fit.skeleton, "width": fit.width,
        "variables": len(fit.sources), "left_out": len(fit.ignored), "optimizer": fit.optimizer,
        "epoch": progress.epoch, "global_step": progress.global_step,
        "best_metric": progress.best_metric, "bad_epochs": progress.bad_epochs,
        "fairness_gap": fairness_gap(progress.counts),
        "source": imported.source, "source_digest": imported.digest, "notes": notes,
    }  # fmt: skip


def _import_lines(result: dict[str, Any]) -> list[str]:
    why = "; ".join(CARRIES_NOTHING.values())
    best = result["best_metric"]
    metric = "none yet" if best is None else f"{best:.4f} px, as EdgeFlowNAS measured it"
    return [
        f"skeleton {result['skeleton']}, width {result['width']}",
        f"{result['variables']} variables used, {result['left_out']} carry nothing ({why})",
        f"Adam's moments and powers: {'yes' if result['optimizer'] else 'no'}",
        f"epoch {result['epoch']}, global step {result['global_step']}, "
        f"fairness gap {result['fairness_gap']}",
        f"best metric {metric}; bad epochs {result['bad_epochs']}",
        f"digest of {result['source']}: {result['source_digest']}",
        *(f"note: {note}" for note in result["notes"]),
        f"{result['run']}: checkpoint {result['checkpoint']}, digest {result['checkpoint_digest']}",
    ]


def add_digest_parser(parser: CommandParser) -> None:
    """Declare the options of ``digest``."""
    text = "a checkpoint's directory, a pointer such as checkpoints/last, or a run's directory"
    parser.add_path("checkpoint", kind=PathKind.RUN, metavar="CHECKPOINT", help=text)
    parser.add_path(
        "other", kind=PathKind.RUN, nargs="?", metavar="OTHER",
        help="compare: exit code 0 if all is equal, else 1 and the first difference",
    )  # fmt: skip


def run_digest(args: Namespace) -> int:
    """Print the digests of one checkpoint, or what differs between two."""
    one = _load_checkpoint(args.checkpoint)
    if args.other is None:
        say("\n".join(_digest_lines(one)))
        write_json(args.json, _digest_result(one))
        return EXIT_DONE
    other = _load_checkpoint(args.other)
    found = differences(one, other)
    write_json(args.json, _comparison_result(one, other, found))
    if not found:
        say(f"equal: digest {one.digest}, {len(one.arrays)} variables")
        return EXIT_DONE
    say(f"DIFFERENT: {found[0]}")
    say(_totals_text(found, len(one.arrays.keys() | other.arrays.keys())))
    return EXIT_BROKEN


def _load_checkpoint(path: Path) -> Checkpoint:
    """Load and verify what a path names; a run's directory stands for its ``last``."""
    if (path / "checkpoints").is_dir():
        return CheckpointStore(path / "checkpoints").load("last")
    if not path.exists():
        msg = f"{path}: no such checkpoint, pointer or run directory"
        raise InputError(msg)
    return CheckpointStore(path.parent).load(str(path))


def _identity_text(checkpoint: Checkpoint) -> str:
    origin = checkpoint.meta.get("imported_from")
    imported = f"none, imported from {origin['prefix']}" if origin else "none"
    return checkpoint.meta.get("identity") or imported


def _digest_lines(checkpoint: Checkpoint) -> list[str]:
    progress = checkpoint.progress
    names = max(map(len, checkpoint.arrays), default=0)
    return [
        f"{checkpoint.path}",
        f"identity {_identity_text(checkpoint)}",
        f"epoch {progress['epoch']}, step {progress['step']}, "
        f"global step {progress['global_step']}",
        f"digest {checkpoint.digest}",
        *(
            f"{name:{names}}  {array.dtype} {array.shape!s:15} {digest_arrays({name: array})}"
            for name, array in sorted(checkpoint.arrays.items())
        ),
    ]


def _digest_result(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint.path),
        "identity": checkpoint.meta.get("identity", ""),
        "imported_from": checkpoint.meta.get("imported_from"),
        "progress": {key: value for key, value in checkpoint.progress.items() if key != "row"},
        "digest": checkpoint.digest,
        "variables": {
            name: {
                "dtype": str(array.dtype),
                "shape": array.shape,
                "digest": digest_arrays({name: array}),
            }
            for name, array in sorted(checkpoint.arrays.items())
        },
    }


def _comparison_result(
    one: Checkpoint, other: Checkpoint, found: tuple[Difference, ...]
) -> dict[str, Any]:
    return {
        "equal": not found,
        "checkpoints": [str(one.path), str(other.path)],
        "digests": [one.digest, other.digest],
        "differences": [{"text": str(difference)} | asdict(difference) for difference in found],
    }


def _totals_text(found: tuple[Difference, ...], variables: int) -> str:
    number = Counter(difference.kind for difference in found)
    identity = "the identity, " if number["identity"] else ""
    return (
        f"in all: {identity}{number['counter']} counters and {number['variable']} of "
        f"{variables} variables differ"
    )
