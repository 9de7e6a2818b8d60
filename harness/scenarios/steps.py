"""Scenarios that look at single training steps from outside."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.evidence.observations import Arrays, Recalibration, Training
from harness.evidence.stepping import Accumulation, OneStep, StepRun
from harness.relations.base import NotApplicableError
from harness.scenarios.book import Book
from harness.scenarios.decode import decode_independently
from harness.scenarios.files import listed_samples
from harness.scenarios.measuring import split_folder
from harness.scenarios.setting import link_samples
from harness.systems.protocol import System

__all__ = ["accumulation", "odd_samples", "one_step"]

_BATCH = 5
_MEMBERS = ("img_0.png", "img_1.png", "flow_01.flo")
_NO_CLIP = 1e9
_BETA = 0.9


def one_step(book: Book) -> OneStep:
    """Train two steps on one batch that is also the recalibration batch."""
    folder = odd_samples(book, "one-step")
    count = len(listed_samples(folder / "train"))
    with book.open(**_one_batch(folder, count, micro=count)) as system:
        return _two_steps(book, system, folder)


def _two_steps(book: Book, system: System, folder: Path) -> OneStep:
    slots = _slots(system)
    start = _named(system.state(), slots)
    moving = {n: np.array(a) for n, a in system.state().items() if "moving_" in n}
    first = system.train(1, evaluate=False)
    middle = system.state()
    system.save(str(book.folder / "one-step-middle"))
    second = system.train(2, evaluate=False)
    end = system.state()
    batch = system.batches("train", epoch=2)[0]
    archs = second.steps[0].archs
    system.state(_named(middle, slots))
    outputs = {arch: system.predict(arch, batch) for arch in archs}
    config = book.config["train"]
    gradient = _second_gradient(middle, end, slots)
    nudged = _nudged(book, system, _named(middle, slots), gradient, archs)
    system.state(start)
    recalibrated = _recalibrated(system, first.steps[0].archs)
    return OneStep(
        start=start, before=_named(middle, slots), after=_named(end, slots),
        first=_moments(middle, slots), second=_moments(end, slots), batch=batch,
        decoded={i: decode_independently(folder / "train", i) for i in batch.ids},
        flow_clip=book.config["data"].get("flow_clip"), losses=second.losses, archs=archs,
        outputs=outputs, norm=second.checks[0].before,
        lr=config["lr"] * (1 + math.cos(math.pi / 3)) / 2, decay=config["weight_decay"],
        nudged=nudged, moving=moving, recalibrated=recalibrated,
        moved={n: np.array(middle[n]) for n in moving},
    )  # fmt: skip


def _recalibrated(system: System, archs: Sequence[str]) -> list[Recalibration] | None:
    """Return each arch's statistics and inputs; None of a system that does not recalibrate."""
    try:
        return [system.recalibrate(arch, inputs=True) for arch in archs]
    except NotApplicableError:
        return None


def odd_samples(book: Book, name: str) -> Path:
    """Link a few samples; one has unknown flow in its middle, another a flow of 80 px."""
    folder = book.folder / name
    for split in ("train", "val"):
        source = split_folder(book, split)
        link_samples(source, listed_samples(source)[:_BATCH], folder / split)
        samples = listed_samples(folder / split)
        _write_block(folder / split, samples[0], 1e10)
        _write_block(folder / split, samples[-1], 80.0)
    return folder


def _write_block(folder: Path, sample: str, value: float) -> None:
    """Overwrite the flow of a few pixels in a sample's middle."""
    path = folder / f"{sample}-flow_01.flo"
    flow = np.array(decode_independently(folder, sample)[1])
    row, column = flow.shape[0] // 2, flow.shape[1] // 2
    flow[row - 2 : row + 2, column - 3 : column + 4] = value
    path.unlink()
    cv2.writeOpticalFlow(str(path), flow)


def _one_batch(
    folder: Path, size: int, *, micro: int, position: str = "update", clip: float = _NO_CLIP
) -> dict[str, Mapping[str, Any]]:
    """Return the sections of a run whose every step sees the whole split, centre crop."""
    return {
        "data": {"base_path": str(folder), "train_dir": "train", "val_dir": "val"},
        "train": {
            "num_epochs": 3, "epoch_mode": "full_pass", "train_sampling_mode": None,
            "train_crop_mode": "center", "batch_size": size, "micro_batch_size": micro,
            "clip_position": position, "grad_clip_global_norm": clip,
        },
        "eval": {
            "bn_recal_batches": 1, "batch_size": size, "crop": None, "recal_mode": "fixed",
            "eval_batches_per_arch": 1,
        },
    }  # fmt: skip


def _slots(system: System) -> Mapping[str, tuple[str, str]]:
    slots = system.describe().slots
    if not slots:
        msg = "the system names no optimizer slots, of which a step's gradient could be read"
        raise NotApplicableError(msg)
    return slots


def _named(state: Arrays, names: Any) -> dict[str, NDArray[Any]]:
    return {name: np.array(state[name]) for name in names}


def _moments(state: Arrays, slots: Mapping[str, tuple[str, str]]) -> tuple[Arrays, Arrays]:
    first = {weight: np.array(state[m]) for weight, (m, _) in slots.items()}
    return first, {weight: np.array(state[v]) for weight, (_, v) in slots.items()}


def _gradient(after_one: Arrays, slots: Mapping[str, tuple[str, str]]) -> dict[str, NDArray[Any]]:
    """Return the first step's gradient: Adam's first moment over 1 - beta_1."""
    return {
        weight: np.asarray(after_one[m], np.float64) / (1 - _BETA)
        for weight, (m, _) in slots.items()
    }


def _second_gradient(
    middle: Arrays, end: Arrays, slots: Mapping[str, tuple[str, str]]
) -> dict[str, NDArray[Any]]:
    """Return the second step's gradient, from both first moments."""
    return {
        weight: (np.asarray(end[m], np.float64) - _BETA * middle[m]) / (1 - _BETA)
        for weight, (m, _) in slots.items()
    }


def _norm(gradient: Arrays) -> float:
    return math.sqrt(sum(float(np.square(g).sum()) for g in gradient.values()))


def _nudged(
    book: Book, system: System, start: Arrays, gradient: Arrays, archs: Sequence[str]
) -> tuple[tuple[float, float, float], ...] | None:
    """Return two lengths, each with step 2's mean loss forth and back along the gradient.

    None of a system that, restored, does not train step 2's archs: its losses are of others.
    """
    norm, found = _norm(gradient), []
    base = str(book.folder / "one-step-middle")
    system.restore(base)
    again = system.train(2, evaluate=False)
    if again.steps[0].archs != archs:
        return None
    level = float(np.mean(again.losses))
    for share in (2e-4, 5e-5):
        length, losses = share * level / max(norm, 1e-12), []
        for sign in (1.0, -1.0):
            system.restore(base)
            system.state(
                {
                    name: (start[name] + sign * length / max(norm, 1e-12) * g).astype(np.float32)
                    for name, g in gradient.items()
                }
            )
            losses.append(float(np.mean(system.train(2, evaluate=False).losses)))
        found.append((length, losses[0], losses[1]))
    return tuple(found)


def accumulation(book: Book) -> Accumulation:
    """Train first steps on copies of two samples, in one and in uneven micro-batches."""
    source = split_folder(book, "train")
    one, two = listed_samples(source)[:2]
    ids = [f"{i:07d}" for i in range(_BATCH)]
    same, other, mix = (book.folder / f"copies-{name}" for name in ("a", "b", "mixed"))
    _copies(source, dict.fromkeys(ids, one), same)
    _copies(source, dict.fromkeys(ids, two), other)
    with book.open(**_one_batch(same, _BATCH, micro=2)) as system:
        _slots(system)
        alone = system.batches("train", epoch=1)[0].ids[-1]
    _copies(source, {**dict.fromkeys(ids, one), alone: two}, mix)
    whole = _first_step(book, same, micro=_BATCH)
    threshold = _norm(whole.gradient) / 3 or 1.0
    fixed = book.describe().settings.get("train.clip_position")
    update, micro = (
        _first_step(book, same, micro=_BATCH, position=position, clip=threshold)
        if fixed in (None, position)
        else None
        for position in ("update", "micro_step")
    )
    return Accumulation(
        whole=whole, pieces=_first_step(book, same, micro=2),
        other=_first_step(book, other, micro=2), mixed=_first_step(book, mix, micro=2),
        threshold=threshold, clipped_update=update, clipped_micro=micro,
    )  # fmt: skip


def _copies(source: Path, contents: Mapping[str, str], folder: Path) -> None:
    """Make a split whose samples have the named contents; validation is a copy of it."""
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for sample, content in contents.items():
            for member in _MEMBERS:
                shutil.copyfile(
                    source / f"{content}-{member}", folder / split / f"{sample}-{member}"
                )


def _first_step(book: Book, folder: Path, *, micro: int, **options: Any) -> StepRun:
    with book.open(**_one_batch(folder, _BATCH, micro=micro, **options)) as system:
        slots = _slots(system)
        run: Training = system.train(1, evaluate=False)
        gradient = _gradient(system.state(), slots)
    archs: Sequence[str] = run.steps[0].archs
    return StepRun(tuple(archs), gradient, run.losses, run.checks)
