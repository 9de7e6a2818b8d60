"""Each training step's loss is of its own batch's labels, not of those of a batch before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from harness.systems.protocol import System, Training
from harness.wording import counted

__all__ = ["LABELS_OF_THEIR_STEP", "LabelledStep", "Labels", "labels", "losses_follow_labels"]

_LONGEST = 64.0
"""The longest flow, px, where no label is clipped."""

_ENOUGH = 1.0
"""The longest flow, px, below which no label would move a loss by more than rounding does."""

_APART = 5.0
"""From one sample's flow to the next longer, and from a flow to what it is changed to at least."""

_SAMPLES = 4

_STILL = 1e-12
"""A learning rate that moves no weight by a bit that matters."""

_MOVED = 1e-4
"""Relative change of a loss whose label changed: any that is no rounding. A loss whose label stays
is the same number, but for what the learning rate above moves."""


@dataclass(frozen=True)
class LabelledStep:
    """A step on one sample, trained under two sets of labels.

    Attributes
    ----------
    sample : str
        Its only sample.
    lengths : (float, float)
        How long the sample's flow is in either set, px.
    losses : (float, float)
        The step's mean loss under either.
    """

    epoch: int
    step: int
    sample: str
    lengths: tuple[float, float]
    losses: tuple[float, float]

    @property
    def changed(self) -> bool:
        """Whether the sample's label is another in the second set."""
        return self.lengths[0] != self.lengths[1]

    @property
    def moved(self) -> bool:
        """Whether the loss is another under the second set."""
        return not math.isclose(*self.losses, rel_tol=_MOVED)


@dataclass(frozen=True)
class Labels:
    """Two epochs of steps on one sample each, trained twice: some labels differ, nothing else."""

    steps: tuple[LabelledStep, ...]


@dataclass(frozen=True)
class _Run:
    """Two epochs: what was served, and what was recorded."""

    samples: tuple[tuple[str, ...], ...]
    """By epoch and step."""
    epochs: tuple[Training, ...]


@needs("train", "batches", "describe")
def labels(bench: Bench) -> Labels:
    """Train two epochs on samples of one batch each, and again with every second label changed."""
    if crop_of_random_draws(bench) is not None:
        msg = "the system draws its training samples at random, perhaps always the same"
        raise NotApplicableError(msg)
    longest = min(bench.config["data"].get("flow_clip") or _LONGEST, _LONGEST)
    if longest < _ENOUGH:
        msg = f"flows of {_ENOUGH:g} px are needed, and labels are clipped at {longest:g} px"
        raise NotApplicableError(msg)
    rate = bench.settable("train", {"lr": _STILL})
    lengths = {f"{i:07d}": longest / _APART ** ((3 * i + 1) % _SAMPLES) for i in range(_SAMPLES)}
    first = _train(bench, rate, lengths)
    # Every second of epoch 1's own order: a label that lags there changes each step's.
    changed = set(first.samples[0][1::2])
    other = {i: longest / _APART if length == longest else longest for i, length in lengths.items()}
    both = {i: (length, other[i] if i in changed else length) for i, length in lengths.items()}
    second = _train(bench, rate, {sample: pair[1] for sample, pair in both.items()})
    steps = _in_pairs(first, second, both)
    if not rate:
        # Weights that another label moved change every later loss.
        steps = steps[: 1 + next((i for i, one in enumerate(steps) if one.changed), len(steps))]
    return Labels(tuple(steps))


def _train(bench: Bench, rate: Mapping[str, Any], lengths: Mapping[str, float]) -> _Run:
    """Train two epochs on copies of one sample under flows of these lengths, px."""
    folder = bench.folder / f"own-labels-{len(list(bench.folder.glob('own-labels-*')))}"
    _write(split_folder(bench, "train"), folder, lengths)
    train = {
        "num_epochs": 3, "epoch_mode": "full_pass", "train_sampling_mode": None,
        "train_crop_mode": "center", "batch_size": 1, "micro_batch_size": 1, **rate,
    }  # fmt: skip
    data = {"base_path": str(folder), "train_dir": "train", "val_dir": "val"}
    # Recalibration has the batches of training, or it would need more samples than there are.
    small = {"bn_recal_batches": 1, "eval_batches_per_arch": 1, "batch_size": 1}
    with bench.open_cheaply(small, data=data, train=train) as system:
        return _trained(system, lengths)


def _write(source: Path, folder: Path, lengths: Mapping[str, float]) -> None:
    """Write copies of one sample under flows that point one way."""
    copy_samples(source, dict.fromkeys(lengths, listed_samples(source)[0]), folder)
    for split in ("train", "val"):
        for sample, length in lengths.items():
            flow = np.zeros_like(decode_independently(folder / split, sample)[1])
            flow[..., 0] = length
            write_flow(folder / split / f"{sample}-flow_01.flo", flow)


def _trained(system: System, lengths: Mapping[str, float]) -> _Run:
    samples, epochs = [], []
    for epoch in (1, 2):
        served = tuple(batch.ids for batch in system.batches("train", epoch=epoch))
        run = system.train(epoch, evaluate=False)
        require_seen(served and run.steps, "no training batch was served, or no step recorded")
        for ids in served:
            if len(ids) != 1 or ids[0] not in lengths:
                msg = f"batches of one sample of the split are needed, {ids} was served"
                raise NotApplicableError(msg)
        samples.append(tuple(ids[0] for ids in served))
        epochs.append(run)
    return _Run(tuple(samples), tuple(epochs))


def _in_pairs(
    first: _Run, second: _Run, lengths: Mapping[str, tuple[float, float]]
) -> list[LabelledStep]:
    """Return each step with its losses of both runs."""
    archs = [[[step.archs for step in run.steps] for run in one.epochs] for one in (first, second)]
    if first.samples != second.samples or archs[0] != archs[1]:
        msg = "the same seed trains other samples or archs when labels change: nothing to compare"
        raise NotApplicableError(msg)
    return [
        LabelledStep(a.epoch, a.step, sample, lengths[sample], (a.loss, b.loss))
        for samples, one, other in zip(first.samples, first.epochs, second.epochs, strict=True)
        for sample, a, b in zip(samples, one.steps, other.steps, strict=False)
    ]


def losses_follow_labels(evidence: Labels) -> Outcome:
    """Require a step's loss to move where its own sample's label changes, and only there."""
    steps, violations = evidence.steps, []
    for place, one in enumerate(steps):
        if not all(math.isfinite(loss) for loss in one.losses):
            violations.append(_of(one, "a number", f"{one.losses[0]}, then {one.losses[1]}"))
        elif one.moved != one.changed:
            violations.append(_unlike_its_label(steps, place))
    changed = sum(one.changed for one in steps)
    if steps and not 0 < changed < len(steps):
        violations.append(Violation("labels of the steps", "some changed", f"{changed}"))
    figures = (
        f"{counted(changed, 'loss moves', 'losses move')} with its label of {len(steps)}, trained "
        "twice"
    )
    return outcome(violations[:6], len(steps), figures)


def _of(one: LabelledStep, expected: str, found: str) -> Violation:
    return Violation(f"loss of step {one.step} of epoch {one.epoch}, on {one.sample}",
                     expected, found)  # fmt: skip


def _unlike_its_label(steps: Sequence[LabelledStep], place: int) -> Violation:
    one = steps[place]
    was, is_now = (f"{length:.3g} px" for length in one.lengths)
    expected = (
        f"another than {one.losses[0]:.6g} once its flow is {is_now} long, not {was}"
        if one.changed
        else f"{one.losses[0]:.6g} as before, its flow is {was} long as before"
    )
    # Named where all that can be told apart move with the label of the step before.
    before = list(zip(steps[1:], steps, strict=False))
    lags = all(step.moved == earlier.changed for step, earlier in before)
    what = ": every step moves with the label of the step before" if lags else ""
    return _of(one, expected, f"{one.losses[1]:.6g}{what}")


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
    blocked_by=("same-run-elsewhere",),
)
