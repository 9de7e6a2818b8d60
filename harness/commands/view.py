"""``harness view``: look at samples, as they lie there or as a run evaluates them."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__
from harness.commands.common import (
    EXIT_DONE,
    check_with_data,
    config_of_run,
    require_crops,
    require_data,
    say,
    write_json,
)
from harness.commands.interrupts import command_line
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.config import Config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.fc2.crop import Window
from harness.ranges import Range
from harness.whole import write_text
from harness.wording import counted, quoted

if TYPE_CHECKING:
    from harness.fc2.batch import Batch
    from harness.reporting.samples import Sample

__all__ = ["add_parser", "run"]

_MOST = 64
"""Samples of one page."""
_BATCH = "batch:"


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "samples", nargs="+", metavar="SAMPLE|batch:N",
        help="id of a sample, such as 0000007; or, of a run, the N-th batch that it evaluates on",
    )  # fmt: skip
    parser.add_path(
        "--fc2-root", kind=PathKind.DATA, metavar="DIR", help="folder with train/ and val/"
    )
    parser.add_argument(
        "--split", choices=("train", "val"), default="val", help="default: %(default)s"
    )
    parser.add_path(
        "--run", kind=PathKind.RUN, metavar="DIR", help="show what this run evaluates of it"
    )
    parser.add_argument(
        "--arch", nargs="+", type=_arch, default=[], metavar="CODE",
        help="with --run: show what these archs predict, and how far they are off",
    )  # fmt: skip
    parser.add_path(
        "--checkpoint", kind=PathKind.RUN, words=("best", "last"), default="best",
        metavar="best|last|PATH", help="whose weights predict (default: %(default)s)",
    )  # fmt: skip
    parser.add_path(
        "--out", kind=PathKind.NEW_FILE, required=True, metavar="FILE", help="HTML to write"
    )


def _arch(text: str) -> tuple[int, ...]:
    from harness.supernet.space import parse_arch

    try:
        return parse_arch(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def run(args: Namespace) -> int:
    """Write a page that shows samples; exit code 2 where there is none of that name."""
    config = _config(args)
    batches = [name for name in args.samples if name.startswith(_BATCH)]
    if config is None:
        if batches or args.arch:
            what = batches[0] if batches else "--arch"
            msg = f"{what}: is of a run; name it with --run DIR"
            raise InputError(msg)
        samples = _whole(args.samples, _split_folder(args, None), None)
    elif batches or args.arch:
        samples = _evaluated(args, config)
    else:
        samples = _whole(args.samples, _split_folder(args, config), config.eval_crop)
    from harness.reporting.samples import sample_page

    title = f"{counted(len(samples), 'sample')}: {', '.join(args.samples)}"
    text = sample_page(samples, title=title, command=command_line(args.words), version=__version__)
    write_text(args.out, text)
    say(f"{args.out}: {counted(len(samples), 'sample')} written")
    write_json(args.json, {"out": str(args.out), "samples": [_told(one) for one in samples]})
    return EXIT_DONE


def _config(args: Namespace) -> Config | None:
    if args.run is None:
        if args.fc2_root is None:
            msg = "expected --fc2-root DIR, where the samples lie, or --run DIR"
            raise InputError(msg)
        return None
    config = config_of_run(args)
    check_with_data(args, config)
    return config


def _split_folder(args: Namespace, config: Config | None) -> Path:
    return Path(args.fc2_root, args.split) if config is None else config.data.split_dir(args.split)


def _whole(names: Sequence[str], folder: Path, crop: tuple[int, int] | None) -> list["Sample"]:
    """Return samples as they lie in a folder, with the window that an evaluation takes."""
    from harness.fc2.crop import center_window
    from harness.fc2.decode import decode_triplet
    from harness.fc2.layout import list_triplets
    from harness.reporting.samples import Sample

    _require_few(len(names))
    there = {triplet.id: triplet for triplet in list_triplets(folder)}
    found = []
    for name in names:
        if name not in there:
            raise _absent(name, list(there), str(folder))
        decoded = decode_triplet(there[name])
        window: Window | None = None
        if crop is not None:
            height, width = decoded.valid.shape
            try:
                window = center_window((height, width), crop)
            except ValueError as error:
                raise InputError(f"{name}: {error}") from None
        found.append(Sample(name, decoded.frames, decoded.flow, decoded.valid, window))
    return found


def _absent(name: str, there: Sequence[str], where: str) -> InputError:
    ends = there[0] if len(there) == 1 else f"{there[0]} to {there[-1]}"
    return InputError(
        f"{where}: no sample {quoted(name)}, expected one of {len(there)}, from {ends}"
        if there
        else f"{where}: no sample is there"
    )


def _require_few(count: int) -> None:
    if count > _MOST:
        msg = f"{count} samples, expected at most {_MOST} on one page"
        raise InputError(msg)


def _evaluated(args: Namespace, config: Config) -> list["Sample"]:
    """Return samples as a run evaluates them, with what archs predict."""
    if args.split != "val":
        msg = "--split train: a run evaluates on val; leave out --arch and batch:N"
        raise InputError(msg)
    require_crops(config)
    require_data(config)
    from harness.training.checkpoint import CheckpointStore

    checkpoint = CheckpointStore(args.run / "checkpoints").load(str(args.checkpoint))
    say(apply_environment(config).line())
    from harness.runs.session import open_session

    session = open_session(config)
    session.parts.train.restore(session.model, checkpoint.arrays)
    epoch = int(checkpoint.progress["epoch"])
    protocol = session.fixed.checked_protocol(epoch)
    places = _places(args.samples, protocol.eval_batches)
    weights, evaluator = session.model.weight_tensors(), session.evaluator
    from harness.reporting.samples import Predicted, Sample
    from harness.supernet.space import format_arch

    predicted: dict[tuple[int, int], list[Predicted]] = {place: [] for place in places}
    for arch in args.arch:
        stats = evaluator.recalibrate(weights, arch, protocol.recal_batches)
        for number in dict.fromkeys(number for number, _ in places):
            batch = protocol.eval_batches[number]
            flow = evaluator.predict(weights, arch, stats, batch)
            epe = evaluator.parts.epe(flow, batch.flow, batch.valid)
            for n, i in places:
                if n == number:
                    predicted[n, i].append(Predicted(format_arch(arch), flow[i], float(epe[i])))
    say(f"checkpoint {checkpoint.path.name} (epoch {epoch}, digest {checkpoint.digest})")
    return [
        Sample(
            batch.ids[i], batch.frames[i], batch.flow[i], batch.valid[i], None,
            tuple(predicted[n, i]),
        )
        for (n, i), batch in ((place, protocol.eval_batches[place[0]]) for place in places)
    ]  # fmt: skip


def _places(names: Sequence[str], batches: Sequence["Batch"]) -> list[tuple[int, int]]:
    """Return batch and place of each sample that is named."""
    known = {name: (n, i) for n, batch in enumerate(batches) for i, name in enumerate(batch.ids)}
    found: list[tuple[int, int]] = []
    for name in names:
        if name.startswith(_BATCH):
            try:
                number = Range(1, len(batches), "batches")(name.removeprefix(_BATCH))
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
            found += [(number - 1, place) for place in range(batches[number - 1].size)]
        elif name in known:
            found.append(known[name])
        else:
            raise _absent(name, list(known), "the batches that this run evaluates on")
    _require_few(len(found))
    return list(dict.fromkeys(found))


def _told(sample: "Sample") -> dict[str, object]:
    height, width = sample.valid.shape
    return {
        "id": sample.id, "height": height, "width": width, "longest_flow": sample.longest,
        "zero_flow_epe": sample.zero_flow,
        "unknown_pixels": int(sample.valid.size - sample.valid.sum()),
        "predicted": {one.arch: one.epe for one in sample.predicted},
    }  # fmt: skip
