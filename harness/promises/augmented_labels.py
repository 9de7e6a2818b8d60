"""Augmented labels follow their frames: on scenes of known flow, and with no file beside them.

What an augmentation makes of a sample no file tells. But a flow that belongs to two frames takes
the second back to the first, whatever was done to all three; so that a flip that leaves the
sign of u as it is, or a crop of the frames alone, is seen in what a step is given.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.known_scenes import known_scene
from harness.promises.one_pixel import one_pixel_beside
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.samples import (
    data_section,
    decode_independently,
    listed_samples,
    split_folder,
    write_flow,
    write_image,
)
from harness.promises.setting import link_samples
from harness.promises.shown import Flows, Frames, Shown
from harness.promises.warping import FITS, Pair, best_other, misfit, pair_of, taken_back
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import TrainingSample
from harness.wording import counted

__all__ = [
    "AUGMENTED_LABELS_FOLLOW", "AugmentedSamples", "augmented_labels_follow", "augmented_samples",
]  # fmt: skip

_SCENES, _SAMPLES = 6, 40
"""Scenes, and samples of an epoch at least: what is done to one of ten is missed in 1.5 % of gates
(0.9^40)."""

_TRIED = 2
"""Samples, the worst, of which other flows are tried."""

_EXPLAINED = 3.0
"""So many times better another flow must explain the frames: a right flow's neighbours all explain
less than it does."""

_UNRELATED = 0.4
"""A misfit of half of the samples, from which on frames and flow belong to different scenes."""


@dataclass(frozen=True)
class AugmentedSamples:
    """What an epoch's steps were given of scenes of known flow.

    Attributes
    ----------
    samples : sequence of TrainingSample
        In order.
    hole : int
        Pixels of each scene whose flow is unknown; 0: it is known everywhere.
    """

    samples: Sequence[TrainingSample]
    hole: int = 0


@needs("training_samples", says=("augmentation",))
def augmented_samples(bench: Bench) -> AugmentedSamples:
    """Let a system augment scenes whose flow is known but for a corner, in its second epoch.

    In the first one a sample that is kept in memory is still as its files have it.

    Raises
    ------
    NotApplicableError
        If it declares no augmentation.
    """
    if not bench.describe().augmentation:
        msg = "the system declares no augmentation (describe().augmentation)"
        raise NotApplicableError(msg)
    try:
        return _augmented(bench, "scenes", hole=True)
    except (AnswerError, NotApplicableError, WorkerError):
        raise
    # Of labels that are all known training may want no mask, and stops at what this one has.
    except Exception:  # noqa: BLE001 -- what it cannot do without a hole either is raised below
        return _augmented(bench, "whole-scenes", hole=False)


def _augmented(bench: Bench, name: str, *, hole: bool) -> AugmentedSamples:
    sections, pixels = _on_scenes(bench, bench.folder / name, hole=hole)
    with bench.open(**sections) as system:
        if "train" in bench.describe().can:
            system.train(1, evaluate=False, observe=False)
        return AugmentedSamples(tuple(system.training_samples()), pixels)


def _on_scenes(
    bench: Bench, folder: Path, *, hole: bool
) -> tuple[dict[str, dict[str, Any]], int]:  # fmt: skip
    """Write the scenes, as large as the split's frames.

    Returns
    -------
    sections : mapping
        Keys of training on them.
    pixels : int
        Of each scene, whose flow is unknown.
    """
    source = split_folder(bench, "train")
    height, width = decode_independently(source, listed_samples(source)[0])[1].shape[:2]
    (folder / "made").mkdir(parents=True)
    made = [f"{number:07d}" for number in range(_SCENES)]
    for number, name in enumerate(made):
        first, second, flow = known_scene(number, height=height, width=width)
        write_image(folder / "made" / f"{name}-img_0.png", first)
        write_image(folder / "made" / f"{name}-img_1.png", second)
        # In one corner, so that whatever turns or flips the frames takes it elsewhere; small, or
        # too little would be left to see of what is enlarged.
        unknown = flow[height // 8 :, width // 8 :][: hole * height // 8, : width // 8]
        unknown[:] = _UNKNOWN
        write_flow(folder / "made" / f"{name}-flow_01.flo", flow)
    size = int(bench.config["train"]["batch_size"])
    steps = math.ceil(_SAMPLES / size)
    names = [f"{number:07d}" for number in range(steps * size)]
    often = [made[number % _SCENES] for number in range(len(names))]
    link_samples(folder / "made", often, folder / "train", names=names)
    val = split_folder(bench, "val")
    link_samples(val, listed_samples(val), folder / "val")
    fixed = bench.config["train"].get("epoch_mode") != "full_pass"
    train = bench.settable("train", {"steps_per_epoch": steps}) if fixed else {}
    return {"data": data_section(folder), "train": train}, unknown[..., 0].size


def augmented_labels_follow(evidence: AugmentedSamples) -> Outcome:
    """Require the flow that a step is given to take one of its frames to the other."""
    found: dict[int, float] = {}
    for number, sample in enumerate(evidence.samples):
        value = misfit(_pair(sample))
        if value is not None:
            found[number] = value
    worst = sorted(found, key=lambda n: -found[n])
    violations: dict[str, Violation] = {}
    for number in [n for n in worst if found[n] > FITS][:_TRIED]:
        enough = found[number] / _EXPLAINED
        name, value = best_other(_pair(evidence.samples[number]), enough)
        if value <= enough:
            what = f"{value:.1%} with that flow {name}"
            violations.setdefault(name, _breach(number, evidence, found, what))
    middle = sorted(found.values())[len(found) // 2] if found else 0.0
    if not violations and middle > _UNRELATED:
        what = "nothing in common, with any sign, order, length or window of it"
        violations["unrelated"] = _breach(worst[0], evidence, found, what)
    if not violations and (near := one_pixel_beside([_pair(s) for s in evidence.samples])):
        violations[near[0]] = _off_by_one(near, worst[0], evidence)
    if not violations:
        violations |= _unmasked(evidence)
    figures = (
        f"{counted(len(found), 'augmented sample')}, {middle:.1%} of a frame left unexplained by "
        "the other, taken back by the flow"
    )
    return outcome(
        list(violations.values()), len(found), figures,
        without="no augmented sample shows where its flow leads",
    )  # fmt: skip


def _unmasked(evidence: AugmentedSamples) -> dict[str, Violation]:
    """Return how a mask lies elsewhere than what its scene does not know.

    Each scene moves everywhere by more than a pixel: what stands still, or is huge, is not known.
    Where no pixel is masked the system has no mask, which is told elsewhere.
    """
    if all(sample.valid.all() for sample in evidence.samples):
        return {}
    for number, sample in enumerate(evidence.samples):
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(sample.flow).max(axis=-1)
            known = _pair(sample).valid & ((size == 0) | ~(size <= _LARGEST))
        if 0 < evidence.hole <= _LEAST * known.sum():
            where = f"sample {number + 1} of {len(evidence.samples)}, flow that its scene lacks"
            found = f"{counted(int(known.sum()), 'pixel')} of it counted as known"
            return {"mask": Violation(where, "masked", found, shown=_shown(number, evidence))}
    return {}


_UNKNOWN, _LARGEST = 1e10, 1e9
"""px: what a file marks an unknown flow by, and the largest that is known to Middlebury's files."""

_LEAST = 2
"""One part in so many of what is unknown, from which on it is no border of a resized mask."""


def _breach(
    number: int, evidence: AugmentedSamples, found: Mapping[int, float], what: str
) -> Violation:  # fmt: skip
    where = (
        f"sample {number + 1} of {len(evidence.samples)}, its second frame taken back by its flow"
    )
    text = f"{found[number]:.1%} of it unexplained; {what}"
    return Violation(where, "the first one", text, shown=_shown(number, evidence))


def _off_by_one(
    near: tuple[str, float, float], worst: int, evidence: AugmentedSamples
) -> Violation:  # fmt: skip
    name, here, there = near
    return Violation(
        "samples, their second frames taken back by their flow", "the first ones",
        f"{here:.1%} of them unexplained; {there:.1%} with that flow {name}",
        shown=_shown(worst, evidence),
    )  # fmt: skip


def _shown(number: int, evidence: AugmentedSamples) -> tuple[Shown, ...]:
    """Return a sample's first frame beside its second, taken back by its flow, and that flow."""
    sample, which = evidence.samples[number], f"sample {number + 1} of {len(evidence.samples)}"
    back, seen = taken_back(sample.second, sample.flow, sample.valid)
    names, what = ("first frame", "second, taken back"), "what its flow makes of its second frame"
    return (
        Frames(f"{which}: {what}", sample.first, back, seen, names),
        Frames(f"{which}: its frames", sample.first, sample.second, None, ("first", "second")),
        Flows(f"{which}: its flow", None, sample.flow, sample.valid, names=("", "as given")),
    )


def _pair(sample: TrainingSample) -> Pair:
    return pair_of(sample.first, sample.second, sample.flow, sample.valid)


AUGMENTED_LABELS_FOLLOW = Promise(
    id="augmented-labels-follow",
    sentence="the flow that a step is given belongs to its frames, as they were augmented",
    evidence=augmented_samples,
    check=augmented_labels_follow,
    hint=(
        "A flip negates the component across it, a change of size scales both, a turn turns them, "
        "and a crop is one window of frames, flow and mask. Where training takes another unit than "
        "px on purpose, let training_samples() (trained_on() of the PyTorch base) give it in px."
    ),
)
