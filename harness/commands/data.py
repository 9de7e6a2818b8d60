"""``harness synth``, ``subset`` and ``freeze``: data sets and frozen batches."""

import zipfile
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from harness.commands.common import (
    EXIT_DONE,
    add_config_options,
    configured,
    require_data,
    say,
    write_json,
)
from harness.commands.parsing import CommandParser, add_number
from harness.commands.paths import PathKind
from harness.environment import apply_environment
from harness.errors import InputError
from harness.ranges import SEED, SIDE, Range
from harness.whole import check_target
from harness.wording import counted, quoted

__all__ = [
    "add_freeze_parser",
    "add_subset_parser",
    "add_synth_parser",
    "run_freeze",
    "run_subset",
    "run_synth",
]


_MOST_SAMPLES = 1_000_000
"""Of a split: from this number on those of the other are numbered."""


def _add_counts(parser: CommandParser) -> None:
    samples = Range(1, _MOST_SAMPLES, "samples")
    add_number(parser, "--train", samples, "for training", required=True, metavar="N")
    add_number(parser, "--val", samples, "for validation", required=True, metavar="M")
    add_number(parser, "--seed", SEED, "which are chosen or made", default=0, metavar="S")


def add_synth_parser(parser: CommandParser) -> None:
    """Declare the options of ``synth``."""
    parser.add_path("out", kind=PathKind.NEW_FOLDER, metavar="OUT", help="new folder")
    _add_counts(parser)
    parser.add_argument(
        "--size", type=_size, default="512x384", metavar="WxH",
        help=f"frame size, each side {SIDE} (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--look", choices=("varied", "even"), default="varied",
        help="varied, as FlyingChairs, or even, which small nets learn within minutes "
        "(default: %(default)s)",
    )  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    """Return the width and height in px that a text such as ``512x384`` names."""
    width, _, height = text.partition("x")
    try:
        return SIDE(width), SIDE(height)
    except InputError:
        msg = f"expected WIDTHxHEIGHT such as 512x384, each side {SIDE}, got {quoted(text)}"
        raise ArgumentTypeError(msg) from None


def run_synth(args: Namespace) -> int:
    """Write a synthetic data set."""
    from harness.fc2.synthetic import write_dataset

    width, height = args.size
    try:
        write_dataset(
            args.out, train=args.train, val=args.val, height=height, width=width,
            seed=args.seed, look=args.look, progress=True,
        )  # fmt: skip
    except FileExistsError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(str(error)) from None
    say(f"{args.out}: {args.train} training and {args.val} validation samples of {width}x{height}")
    write_json(args.json, {"out": str(args.out), "train": args.train, "val": args.val})
    return EXIT_DONE


def add_subset_parser(parser: CommandParser) -> None:
    """Declare the options of ``subset``."""
    parser.add_path(
        "source", kind=PathKind.FOLDER, metavar="SRC", help="folder with train/ and val/"
    )
    parser.add_path("out", kind=PathKind.NEW_FOLDER, metavar="OUT", help="new folder")
    _add_counts(parser)


def run_subset(args: Namespace) -> int:
    """Copy a deterministic subset."""
    from harness.fc2.subset import write_subset

    manifest = write_subset(
        args.source, args.out, train=args.train, val=args.val, seed=args.seed, tell=say
    )
    say(f"{args.out}: {args.train} training and {args.val} validation samples; {manifest}")
    write_json(args.json, {"out": str(args.out), "manifest": str(manifest)})
    return EXIT_DONE


def add_freeze_parser(parser: CommandParser) -> None:
    """Declare the options of ``freeze``."""
    add_config_options(parser)
    parser.add_path(
        "--out", kind=PathKind.NEW_FILE, required=True, metavar="FILE", help="new .npz file"
    )


def run_freeze(args: Namespace) -> int:
    """Write the evaluation's batches to one artifact."""
    config = configured(args)
    require_data(config)
    check_target(args.out, new=True)
    _refuse_something_else(args.out)
    apply_environment(config)
    from harness.evaluation.batches import FixedBatches, require_scorable
    from harness.fc2.batch import join_digests
    from harness.fc2.frozen import FrozenBatches, write_frozen
    from harness.fc2.layout import left_lines

    fixed = FixedBatches(config)
    for line in left_lines(fixed.samples("train"), fixed.samples("val")):
        say(line)
    # Epoch 0 is that of an evaluation outside of training.
    batches = FrozenBatches(fixed.eval_batches(), fixed.recal_batches(0))
    require_scorable(batches.eval_batches)
    write_frozen(args.out, batches)
    scored, recalibrated = batches.eval_batches, batches.recal_batches
    hashes = join_digests(scored), join_digests(recalibrated)
    say(
        f"{args.out}: {counted(len(scored), 'validation batch')} (digest {hashes[0]}) and "
        f"{counted(len(recalibrated), 'recalibration batch')} (digest {hashes[1]})"
    )
    write_json(args.json, {
        "out": str(args.out), "eval_batches": len(scored), "recal_batches": len(recalibrated),
        "eval_batch_hash": hashes[0], "bn_recal_batch_hash": hashes[1],
    })  # fmt: skip
    return EXIT_DONE


def _refuse_something_else(out: Path) -> None:
    """Refuse what is surely no artifact; whether one that is there is the same, shows later."""
    if out.exists() and not zipfile.is_zipfile(out):
        msg = f"--out {out}: exists and is no frozen artifact; name another, or remove it"
        raise InputError(msg)
