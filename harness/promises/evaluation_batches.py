"""Batches of an evaluation, served twice, beside an independent decode of the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import needs, require_seen
from harness.promises.samples import (
    data_section,
    decoded_samples,
    listed_samples,
    odd_files,
    split_folder,
    with_a_larger_sample,
)
from harness.promises.scores import repeat_again
from harness.promises.setting import WHOLE_FRAMES
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import Role, ServedBatch

__all__ = ["Served", "odd_served", "served", "served_in", "served_recal"]


@dataclass(frozen=True)
class Served:
    """Evaluation batches, served twice, beside an independent decode of the same files.

    Attributes
    ----------
    crop : (height, width) or None
        px; None of a system that scores whole frames.
    batch_size : int
    split : tuple of str
        Every sample id of the split, sorted.
    batches, again : sequence of ServedBatch
    decoded : mapping of str to (frames, flow)
        Uncropped: (H, W, 6) uint8 BGR and (H, W, 2) float32, px.
    flow_clip : float or None
        Label clip that the configuration asks for, px.
    count : int
        Batches that the configuration asks for, at most.
    scored_otherwise : bool
        Whether an evaluation that was repeated used other batches than before.
    """

    crop: tuple[int, int] | None
    batch_size: int
    flow_clip: float | None
    count: int
    split: tuple[str, ...]
    batches: Sequence[ServedBatch]
    again: Sequence[ServedBatch]
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    scored_otherwise: bool = False
    all_of_split: Sequence[str] | None = None
    """Samples that are served where more batches are asked for than there are; None: not asked."""
    larger: str = ""
    """A sample whose frames are larger than those of all others; empty: there is none."""


@needs("batches")
def served(bench: Bench) -> Served:
    """Ask for the evaluation batches twice and decode the same files independently."""
    with bench.open() as system:
        batches, again = system.batches("eval"), system.batches("eval")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    found = _served(bench, "val", batches, again)
    return replace(found, all_of_split=_all_of_split(bench, found, "eval", ({},)))


@needs("batches", "recalibrate")
def served_recal(bench: Bench) -> Served:
    """Ask for the recalibration batches twice and decode the same files independently."""
    if bench.config["eval"].get("recal_mode", "fixed") != "fixed":
        msg = "eval.recal_mode is random"
        raise NotApplicableError(msg)
    with bench.open() as system:
        batches, again = system.batches("recal"), system.batches("recal")
    if not batches and "recalibrate" not in bench.describe().can:
        msg = "the system does not recalibrate"
        raise NotApplicableError(msg)
    require_seen(batches, "no recalibration batch was served (batches('recal'))")
    found = _served(bench, "train", batches, again)
    # Of one sample each they are more than any cap on a number of batches; as configured, the last
    # of them need not be full.
    sizes: Sequence[Mapping[str, int]] = ({}, {"batch_size": 1})
    return replace(found, all_of_split=_all_of_split(bench, found, "recal", sizes))


def _all_of_split(
    bench: Bench, found: Served, role: Role, sizes: Sequence[Mapping[str, int]]
) -> Sequence[str] | None:  # fmt: skip
    """Return the samples that are served where more batches are asked for than there are.

    A gate asks for fewer than a run does. None of other trainers: what they do at a split's end
    is theirs to say.
    """
    if not hasattr(bench.factory(), "parts"):
        return None
    samples: list[str] = []
    for size in sizes:
        with bench.open(eval={_COUNTS[role]: len(found.split) + 1, **size}) as system:
            samples = [sample for batch in system.batches(role) for sample in batch.ids]
        if samples != list(found.split):
            break
    return samples


_COUNTS: Mapping[Role, str] = {"eval": "eval_batches_per_arch", "recal": "bn_recal_batches"}


def _served(
    bench: Bench, split: str, batches: Sequence[ServedBatch], again: Sequence[ServedBatch]
) -> Served:
    folder = split_folder(bench, split)
    asked = bench.config["eval"][_COUNTS["recal" if split == "train" else "eval"]]
    return served_in(bench, folder, batches, again, asked=asked)


def served_in(
    bench: Bench, folder: Path, batches: Sequence[ServedBatch], again: Sequence[ServedBatch],
    *, asked: int | str = "full",
) -> Served:  # fmt: skip
    """Put served batches beside an independent decode of the files in a folder."""
    evaluation, data, train = (bench.config.get(s, {}) for s in ("eval", "data", "train"))
    split = listed_samples(folder)
    whole = bench.describe().settings.get("eval.crop") == WHOLE_FRAMES
    crop = tuple(evaluation.get("crop") or (data["input_height"], data["input_width"]))
    return Served(
        crop=None if whole else crop,
        batch_size=evaluation.get("batch_size") or train["batch_size"],
        flow_clip=evaluation.get("flow_clip"),
        # No split has more batches than samples.
        count=len(split) if asked == "full" else int(asked),
        split=split, batches=batches, again=again, decoded=decoded_samples(folder, batches),
        scored_otherwise=_scored_otherwise(bench),
    )  # fmt: skip


def _scored_otherwise(bench: Bench) -> bool:
    """Return whether an evaluation is known to have used other batches when it was repeated."""
    # Batches that a system serves for us may repeat where those that it scores do not.
    twice = bench.made(repeat_again)
    return twice is not None and any(
        getattr(twice.first, name) != getattr(twice.again, name)
        for name in ("eval_batch_hash", "bn_recal_batch_hash")
    )


@needs("batches")
def odd_served(bench: Bench) -> Served:
    """Serve evaluation batches of samples with unknown flow, very large flow, and other frames."""
    folder = bench.evidence(odd_files)
    whole = bench.describe().settings.get("eval.crop") == WHOLE_FRAMES
    larger = "" if whole else with_a_larger_sample(folder, folder / "larger")
    if not larger:
        return _odd_served(bench, folder)
    try:
        return replace(_odd_served(bench, folder / "larger"), larger=larger)
    except (AnswerError, NotApplicableError, WorkerError):
        raise
    # It may want frames of one size alone.
    except Exception:  # noqa: BLE001 -- whatever a system raises is its refusal
        return _odd_served(bench, folder)


def _odd_served(bench: Bench, folder: Path) -> Served:
    with bench.open(data=data_section(folder)) as system:
        batches, again = system.batches("eval"), system.batches("eval")
    require_seen(batches, "no evaluation batch was served (batches('eval'))")
    return served_in(bench, folder / "val", batches, again)
