"""Each training step's loss is of its own batch's labels, not of those of a batch before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.one_batch import crop_of_random_draws
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.samples import (
    copy_samples,
    decode_independently,
    listed_samples,
    split_folder,
    write_flow,
)
from harness.systems.protocol import System

__all__ = ["LABELS_OF_THEIR_STEP", "LabelledStep", "Labels", "labels", "losses_follow_labels"]

_APART = 3.0
"""From one sample's flow to the next longer: archs change a loss by a third at most."""

_LONGEST = 64.0
"""The longest flow, px, where no label is clipped: an untrained net predicts less than any."""

_ENOUGH = 20.0
"""The longest flow, px, below which the shortest would drown in an untrained net's outputs."""

_SAMPLES = 4

_STILL = 1e-12
"""A learning rate that moves no weight by a bit that matters."""


@dataclass(frozen=True)
class LabelledStep:
    """A step on one sample: which, how long its flow is in px, and the step's mean loss."""

    epoch: int
    step: int
    sample: str
    length: float
    loss: float


@dataclass(frozen=True)
class Labels:
    """Two epochs of steps on one sample each; frames are alike, flows differ in length alone."""

    steps: tuple[LabelledStep, ...]


@needs("train", "batches", "describe")
def labels(bench: Bench) -> Labels:
    """Train two epochs on samples of one pair of frames under flows of very different lengths."""
    if crop_of_random_draws(bench) is not None:
        msg = "the system draws its training samples at random, perhaps always the same"
        raise NotApplicableError(msg)
    longest = min(bench.config["data"].get("flow_clip") or _LONGEST, _LONGEST)
    if longest < _ENOUGH:
        msg = f"flows of {_ENOUGH:g} px are needed, and labels are clipped at {longest:g} px"
        raise NotApplicableError(msg)
    folder = bench.folder / "own-labels"
    lengths = _write(split_folder(bench, "train"), folder, longest)
    train = {
        "num_epochs": 3, "epoch_mode": "full_pass", "train_sampling_mode": None,
        "train_crop_mode": "center", "batch_size": 1, "micro_batch_size": 1,
        **bench.settable("train", {"lr": _STILL}),
    }  # fmt: skip
    data = {"base_path": str(folder), "train_dir": "train", "val_dir": "val"}
    # Recalibration has the batches of training, or it would need more samples than there are.
    small = {"bn_recal_batches": 1, "eval_batches_per_arch": 1, "batch_size": 1}
    with bench.open_cheaply(small, data=data, train=train) as system:
        return Labels(tuple(_trained(system, lengths)))


def _write(source: Path, folder: Path, longest: float) -> Mapping[str, float]:
    """Write copies of one sample under flows that point one way; return their lengths, px."""
    ids = [f"{i:07d}" for i in range(_SAMPLES)]
    copy_samples(source, dict.fromkeys(ids, listed_samples(source)[0]), folder)
    # Not in the order of the samples: who serves them sorted must not be right by luck.
    lengths = {one: longest / _APART ** ((3 * i + 1) % _SAMPLES) for i, one in enumerate(ids)}
    for split in ("train", "val"):
        for sample, length in lengths.items():
            flow = np.zeros_like(decode_independently(folder / split, sample)[1])
            flow[..., 0] = length
            write_flow(folder / split / f"{sample}-flow_01.flo", flow)
    return lengths


def _trained(system: System, lengths: Mapping[str, float]) -> list[LabelledStep]:
    found = []
    for epoch in (1, 2):
        served = system.batches("train", epoch=epoch)
        run = system.train(epoch, evaluate=False)
        require_seen(served and run.steps, "no training batch was served, or no step recorded")
        for batch, record in zip(served, run.steps, strict=False):
            (sample, *others) = batch.ids
            if others or sample not in lengths:
                msg = f"batches of one sample of the split are needed, {batch.ids} was served"
                raise NotApplicableError(msg)
            found.append(
                LabelledStep(record.epoch, record.step, sample, lengths[sample], record.loss)
            )
    return found


def losses_follow_labels(evidence: Labels) -> Outcome:
    """Require a longer flow to cost more, in every step."""
    steps = evidence.steps
    lengths = sorted({one.length for one in steps})
    # How many others a step is out of order with: the one that is wrong, with most.
    disorder = {place: _disorder(one, steps) for place, one in enumerate(steps)}
    worst = max(disorder.values(), default=0)
    violations = [
        _out_of_order(steps, place) for place, count in disorder.items() if 2 * count > worst > 0
    ]
    if steps and len(lengths) < 2:
        violations.append(Violation("labels of the steps", "of different lengths", f"{lengths}"))
    figures = f"{len(steps)} steps, losses in the order of {len(lengths)} lengths of flow"
    return outcome(violations[:6], len(steps), figures)


def _disorder(one: LabelledStep, steps: Sequence[LabelledStep]) -> int:
    others = [other for other in steps if other.length != one.length]
    if not math.isfinite(one.loss):
        return len(others) or 1
    return sum((one.loss > other.loss) != (one.length > other.length) for other in others)


def _out_of_order(steps: Sequence[LabelledStep], place: int) -> Violation:
    one = steps[place]
    in_order = sorted(steps, key=lambda step: step.loss)
    # The length that has this place among all, had every loss its own label.
    length = sorted(step.length for step in steps)[in_order.index(one)]
    lag = place > 0 and length == steps[place - 1].length != one.length
    return Violation(
        f"step {one.step} of epoch {one.epoch}, on a flow of {one.length:.3g} px",
        "a loss above those of shorter flows and below those of longer ones",
        f"{one.loss:.6g}, the place of a flow of {length:.3g} px"
        f"{', the label of the step before' if lag else ''}",
    )


LABELS_OF_THEIR_STEP = Promise(
    id="labels-of-their-step",
    sentence="each step's loss is of its own batch's labels",
    evidence=labels,
    check=losses_follow_labels,
    hint=(
        "Labels lag behind their frames: a buffer, an accumulator or a prefetching loader still "
        "holds those of another batch."
    ),
    explained_by=("loss-recomputed", "drawn-as-served"),
)
