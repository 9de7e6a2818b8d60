"""Scenarios around data, evaluation, recalibration and the metric."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.evidence.bundles import (
    Oracle,
    RecalHashes,
    RecalPair,
    Recomputation,
    Repeat,
    Response,
    Served,
    TrainingDraws,
)
from harness.evidence.observations import Evaluation, ServedBatch
from harness.relations.base import NotApplicableError
from harness.relations.metric import independent_epe
from harness.scenarios.book import Book
from harness.scenarios.decode import decode_independently
from harness.scenarios.files import listed_samples
from harness.scenarios.setting import link_samples
from harness.systems.protocol import System

__all__ = [
    "base_evaluation",
    "draws",
    "oracle",
    "recal_hashes",
    "recal_pair",
    "recomputation",
    "recomputed_rows",
    "repeat_again",
    "repeat_alone",
    "repeat_fresh",
    "repeat_permuted",
    "repeat_prefix",
    "repeat_subset",
    "response",
    "served",
    "served_in",
    "served_recal",
    "split_folder",
]


def split_folder(book: Book, split: str) -> Path:
    """Return the folder of one split of the gate's data."""
    data = book.config["data"]
    return Path(data.get("base_path", "."), data.get(f"{split}_dir", split))


def _decoded(folder: Path, batches: Iterable[ServedBatch]) -> dict[str, Any]:
    """Decode every sample of the folder that the batches name; a foreign one stays out."""
    ids = {sample for batch in batches for sample in batch.ids}
    return {
        sample: decode_independently(folder, sample)
        for sample in listed_samples(folder)
        if sample in ids
    }


def _base(book: Book) -> Evaluation:
    return book["base_evaluation"]  # type: ignore[no-any-return]


def base_evaluation(book: Book) -> Evaluation:
    """Evaluate the trained system once."""
    return book.measured.evaluate()


def repeat_again(book: Book) -> Repeat:
    """Evaluate again in the same process."""
    return Repeat(_base(book), book.measured.evaluate(), "evaluated again")


def repeat_fresh(book: Book) -> Repeat:
    """Evaluate the saved checkpoint in a fresh process."""
    return Repeat(_base(book), book.evaluated(), "in a fresh process")


def repeat_permuted(book: Book) -> Repeat:
    """Evaluate the pool in reversed order."""
    _require_several(book)
    again = book.measured.evaluate(tuple(reversed(_base(book).archs)))
    return Repeat(_base(book), again, "pool reversed")


def repeat_subset(book: Book) -> Repeat:
    """Evaluate one arch of the pool alone, and not the first."""
    _require_several(book)
    again = book.measured.evaluate(_base(book).archs[-1:])
    return Repeat(_base(book), again, "one arch alone")


def _require_several(book: Book) -> None:
    if len(_base(book).archs) < 2:
        msg = "the pool is one arch, which has no order and no part"
        raise NotApplicableError(msg)


def repeat_alone(book: Book) -> Repeat:
    """Evaluate neighbours together, which share the most, and each of them alone."""
    system, arch = book.measured, _base(book).archs[-1]
    if not arch.isdigit():
        msg = f"the system's archs are no codes of options, but {arch}"
        raise NotApplicableError(msg)
    pool = (arch, *(_changed(arch, place) for place in range(len(arch))))
    together = system.evaluate(pool)
    alone = [system.evaluate((neighbour,)) for neighbour in pool]
    merged = dataclasses.replace(
        together,
        per_arch_epe=tuple(score for found in alone for score in found.per_arch_epe),
        per_sample={name: epe for found in alone for name, epe in found.per_sample.items()},
    )
    return Repeat(together, merged, "each arch alone")


def _changed(arch: str, place: int) -> str:
    """Return the arch with another option at one place."""
    return arch[:place] + str((int(arch[place]) + 1) % 3) + arch[place + 1 :]


def repeat_prefix(book: Book) -> Repeat:
    """Evaluate on fewer batches per arch."""
    system = book.measured
    fewer = len(system.batches("eval")) - 1
    if fewer < 1:
        msg = "the validation split gives one batch, a prefix needs at least two"
        raise NotApplicableError(msg)
    again = system.evaluate(batches_per_arch=fewer)
    return Repeat(_base(book), again, f"K = {fewer}", prefix=True)


def served(book: Book) -> Served:
    """Ask for the evaluation batches twice and decode the same files independently."""
    system = book.open()
    batches, again = system.batches("eval"), system.batches("eval")
    system.close()
    return _served(book, "val", batches, again)


def served_recal(book: Book) -> Served:
    """Ask for the recalibration batches twice and decode the same files independently."""
    if book.config["eval"].get("recal_mode", "fixed") != "fixed":
        msg = "eval.recal_mode is random"
        raise NotApplicableError(msg)
    system = book.open()
    batches, again = system.batches("recal"), system.batches("recal")
    system.close()
    if not batches and "recalibrate" not in book.describe().can:
        msg = "the system does not recalibrate"
        raise NotApplicableError(msg)
    return _served(book, "train", batches, again)


def _served(
    book: Book, split: str, batches: Sequence[ServedBatch], again: Sequence[ServedBatch]
) -> Served:
    folder = split_folder(book, split)
    asked = book.config["eval"]["bn_recal_batches" if split == "train" else "eval_batches_per_arch"]
    return served_in(book, folder, batches, again, asked=asked)


def served_in(
    book: Book, folder: Path, batches: Sequence[ServedBatch], again: Sequence[ServedBatch],
    *, asked: int | str = "full",
) -> Served:  # fmt: skip
    """Put served batches beside an independent decode of the files in a folder."""
    evaluation, data, train = (book.config.get(s, {}) for s in ("eval", "data", "train"))
    split = listed_samples(folder)
    return Served(
        crop=tuple(evaluation.get("crop") or (data["input_height"], data["input_width"])),
        batch_size=evaluation.get("batch_size") or train["batch_size"],
        flow_clip=evaluation.get("flow_clip"),
        count=len(split) if asked == "full" else int(asked),
        split=split, batches=batches, again=again, decoded=_decoded(folder, batches),
    )  # fmt: skip


def draws(book: Book) -> TrainingDraws:
    """Ask for two training epochs, the first one twice, and for another seed's first one."""
    system, other = book.open(), book.open(runtime={"seed": book.config["runtime"]["seed"] + 1})
    first, again = system.batches("train", epoch=1), system.batches("train", epoch=1)
    second, other_seed = system.batches("train", epoch=2), other.batches("train", epoch=1)
    system.close()
    other.close()
    train, folder = book.config["train"], split_folder(book, "train")
    split = listed_samples(folder)
    full = train.get("epoch_mode") == "full_pass"
    size = train["batch_size"]
    sizes = [size] * (len(split) // size) + [len(split) % size] * (len(split) % size > 0)
    return TrainingDraws(
        full, train.get("train_crop_mode", "random") == "random",
        book.config["data"].get("flow_clip"), split,
        tuple(sizes if full else [size] * train["steps_per_epoch"]), first, again, second,
        other_seed, _decoded(folder, [*first, *second]),
    )  # fmt: skip


def recal_pair(book: Book) -> RecalPair:
    """Recalibrate an arch, disturb every moving statistic, and recalibrate again."""
    system, arch = book.measured, _base(book).archs[-1]
    state = system.state()
    moving = {n: np.array(a) for n, a in state.items() if "moving_" in n.rsplit("/", 1)[-1]}
    first = system.recalibrate(arch, inputs=True)
    system.state({name: array + 0.7 for name, array in moving.items()})
    second, disturbed = system.recalibrate(arch), system.evaluate([arch])
    system.state(moving)
    return RecalPair(
        first, second, len(moving), moving, _base(book).per_sample[arch], disturbed.per_sample[arch]
    )


def recal_hashes(book: Book) -> RecalHashes:
    """Collect the recalibration hashes of epochs, processes and archs, and of changed data."""
    trained = book.trained
    hashes = {
        f"epoch {row.epoch}": str(row.bn_recal_batch_hash)
        for row in trained.first.epochs + trained.second.epochs
    }
    hashes["standalone"] = _base(book).bn_recal_batch_hash
    hashes["fresh process"] = book.evaluated().bn_recal_batch_hash
    for arch in _base(book).archs[:2]:
        hashes[f"arch {arch}"] = trained.system.recalibrate(arch).batch_hash
    mode = book.config.get("eval", {}).get("recal_mode", "fixed")
    return RecalHashes(mode == "fixed", hashes, _hash_with_one_pixel_changed(book))


def _hash_with_one_pixel_changed(book: Book) -> str:
    """Return the hash that a system computes when one pixel of a recal frame differs."""
    system = book.trained.system
    copy, batches = book.folder / "one-pixel", system.batches("recal")
    first = batches[0]
    chosen = {"train": batches, "val": system.batches("eval")[:1]}
    for split, served_batches in chosen.items():
        ids = [sample for batch in served_batches for sample in batch.ids]
        link_samples(split_folder(book, split), dict.fromkeys(ids), copy / split)
    target = copy / "train" / f"{first.ids[0]}-img_1.png"
    image = np.array(cv2.imread(str(target), cv2.IMREAD_UNCHANGED))
    top, left, height, width = first.windows[0]
    image[top + height // 2, left + width // 2, 1] ^= 1
    target.unlink()
    cv2.imwrite(str(target), image)
    altered = book.open(data={"base_path": str(copy), "train_dir": "train", "val_dir": "val"})
    arch = _base(book).archs[0]
    found = altered.recalibrate(arch).batch_hash
    altered.close()
    return found


def oracle(book: Book) -> Oracle:
    """Feed the metric residual outputs whose accumulated flow is known.

    They have the shapes of what the system predicts, where it can be asked.
    """
    system = book.measured
    batch = system.batches("eval")[0]
    label, valid = batch.flow, batch.valid
    constant = np.broadcast_to(np.asarray([3.0, 4.0], np.float32), label.shape)
    ones, shapes = [1.0] * len(batch.ids), _shapes(book, batch)
    cases, alone = [], {}
    for case, flow, expected in (
        ("a perfect prediction", label, 0.0),
        ("ground truth plus (3, 4)", label + constant, 5.0),
        ("ground truth minus (3, 4)", label - constant, 5.0),
    ):
        for split, outputs in _residuals(flow, constant, shapes).items():
            found = system.score(outputs, label, valid)
            name = f"{case}, {split}"
            cases.append((name, [e * expected for e in ones], list(map(float, found))))
            alone[name] = independent_epe(outputs[-1][..., :2], label, valid)
    return Oracle(cases, system.describe().epe_epsilon, alone)


def _shapes(book: Book, batch: ServedBatch) -> list[tuple[int, ...]]:
    """Return (h, w, channels) of each output of the system, coarse to fine."""
    if book.describe().can.issuperset(("predict", "evaluate")):
        outputs = book.measured.predict(_base(book).archs[0], batch)
        return [output.shape[1:] for output in outputs]
    height, width = batch.flow.shape[1:3]
    return [(height // scale, width // scale, 4) for scale in (4, 2, 1)]


def _residuals(
    flow: NDArray[np.float32], constant: NDArray[np.float32], shapes: Sequence[tuple[int, ...]]
) -> dict[str, list[NDArray[np.float32]]]:
    """Return ways to write a flow as residual outputs of given shapes."""

    def output(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        height, width, _ = shape
        rows, columns = flow.shape[1] // height, flow.shape[2] // width
        full = np.zeros((len(flow), *shape), np.float32)
        full[..., :2] = values[:, ::rows, ::columns][:, :height, :width]
        full[..., 2:] = 0.5  # log-variance, which a metric must not look at
        return full

    shares = [(0.25, -1.0)[index % 2] for index in range(len(shapes) - 1)]
    found = {}
    for name, parts in (("all in the last scale", [0.0] * len(shares)), (_SPREAD, shares)):
        coarse = [output(s * constant, shape) for s, shape in zip(parts, shapes, strict=False)]
        found[name] = [*coarse, output(flow - sum(parts) * constant, shapes[-1])]
    return found if shares else {"in the one output": found[_SPREAD]}


_SPREAD = "spread over three scales"


def recomputation(book: Book) -> Recomputation:
    """Collect residual outputs for every evaluation batch beside the reported EPE."""
    return recomputed_rows(book.measured, _base(book))


def recomputed_rows(system: System, base: Evaluation) -> Recomputation:
    """Collect the outputs of three archs beside what an evaluation reported for them."""
    rows, own, batches = [], [], system.batches("eval")
    about = system.describe()
    for arch in base.archs[:3]:
        position = 0
        for batch in batches:
            reported = base.per_sample[arch][position : position + len(batch.ids)]
            position += len(batch.ids)
            outputs = system.predict(arch, batch)
            rows.append((arch, batch.ids, outputs, batch.flow, batch.valid, reported))
            if "score" in about.can:
                own.append(list(map(float, system.score(outputs, batch.flow, batch.valid))))
    scores = dict(zip(base.archs, base.per_arch_epe, strict=True))
    return Recomputation(rows, scores, base.zero_flow_epe, about.epe_epsilon, own)


def response(book: Book) -> Response:
    """Scale the kernels of one output head at a time and evaluate."""
    system, base = book.measured, _base(book)
    state, found, heads = system.state(), {}, system.describe().heads
    if not heads:
        msg = "the system names no output head (describe().heads)"
        raise NotApplicableError(msg)
    for head, names in heads.items():
        kept = {name: np.array(state[name]) for name in names}
        system.state({name: array * 1.5 for name, array in kept.items()})
        found[head] = system.evaluate()
        system.state(kept)
    return Response(base, found, book["repeat_again"].again)
