"""``harness synth``, ``subset`` and ``freeze``: data sets and frozen batches."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.commands.common import EXIT_DONE, add_config_options, configured, say, write_json
from harness.environment import apply_environment
from harness.errors import InputError
from harness.whole import check_target

__all__ = [
    "add_freeze_parser",
    "add_subset_parser",
    "add_synth_parser",
    "run_freeze",
    "run_subset",
    "run_synth",
]


def _add_counts(parser: ArgumentParser) -> None:
    parser.add_argument("--train", type=int, required=True, metavar="N", help="training samples")
    parser.add_argument("--val", type=int, required=True, metavar="M", help="validation samples")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")


def add_synth_parser(parser: ArgumentParser) -> None:
    """Declare the options of ``synth``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    _add_counts(parser)
    parser.add_argument(
        "--size", default="512x384", metavar="WxH", help="frame size in px (default: %(default)s)"
    )
    parser.add_argument(
        "--look", default="varied", metavar="LOOK",
        help="varied, as FlyingChairs, or even, which small nets learn within minutes "
        "(default: %(default)s)",
    )  # fmt: skip


def run_synth(args: Namespace) -> int:
    """Write a synthetic data set."""
    from harness.fc2.synthetic import write_dataset

    width, _, height = args.size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        msg = f"--size: expected WIDTHxHEIGHT such as 512x384, got {args.size!r}"
        raise InputError(msg)
    try:
        write_dataset(
            args.out, train=args.train, val=args.val, height=int(height), width=int(width),
            seed=args.seed, look=args.look, progress=True,
        )  # fmt: skip
    except FileExistsError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise InputError(str(error)) from None
    say(f"{args.out}: {args.train} training and {args.val} validation samples of {args.size}")
    write_json(args.json, {"out": str(args.out), "train": args.train, "val": args.val})
    return EXIT_DONE


def add_subset_parser(parser: ArgumentParser) -> None:
    """Declare the options of ``subset``."""
    parser.add_argument("source", type=Path, metavar="SRC", help="folder with train/ and val/")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
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


def add_freeze_parser(parser: ArgumentParser) -> None:
    """Declare the options of ``freeze``."""
    add_config_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="new .npz file")


def run_freeze(args: Namespace) -> int:
    """Write the evaluation's batches to one artifact."""
    config = configured(args)
    apply_environment(config)
    from harness.evaluation.batches import FixedBatches
    from harness.fc2.batch import join_digests
    from harness.fc2.frozen import FrozenBatches, write_frozen
    from harness.fc2.layout import left_lines

    # Before any file is decoded.
    check_target(args.out, new=True)
    fixed = FixedBatches(config)
    for line in left_lines(fixed.samples("train"), fixed.samples("val")):
        say(line)
    # Epoch 0 is that of an evaluation outside of training.
    batches = FrozenBatches(fixed.eval_batches(), fixed.recal_batches(0))
    write_frozen(args.out, batches)
    result = {
        "out": str(args.out),
        "eval_batches": len(batches.eval_batches),
        "recal_batches": len(batches.recal_batches),
        "eval_batch_hash": join_digests(batches.eval_batches),
        "bn_recal_batch_hash": join_digests(batches.recal_batches),
    }
    say(", ".join(f"{key} {value}" for key, value in result.items()))
    write_json(args.json, result)
    return EXIT_DONE
