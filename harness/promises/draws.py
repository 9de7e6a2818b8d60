"""What training draws: new in every epoch and for every seed, and what is served."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.promises.asked_draws import can_shuffle
from harness.promises.bench import Bench
from harness.promises.candidates import order_instead
from harness.promises.pixel_differences import first_pixel_differences
from harness.promises.promise import (
    COINCIDENCE,
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.recorded_run import joined, planned_sizes
from harness.promises.samples import decoded_samples, listed_samples, split_folder
from harness.promises.shown import Row, orders_beside, values_beside
from harness.promises.states import END, START
from harness.promises.training import TwoWays, same_training
from harness.systems.protocol import ServedBatch, System
from harness.wording import counted

__all__ = [
    "DRAWN_AS_SERVED", "TRAIN_DRAWS_DECLARED", "TrainingDraws", "asked_for", "drawn", "draws",
    "training_draws_are_declared",
]  # fmt: skip


@dataclass(frozen=True)
class TrainingDraws:
    """Training batches of two epochs, the first one served twice, and another seed's.

    ``other_seed`` is None of a system that has one seed alone; ``shuffled`` is False of one that
    declares an order of its own. ``later`` are the samples of so many further epochs that each is
    drawn once, but for a chance of :data:`_UNDRAWN`; none where an epoch has them all. ``decoded``
    has nothing of a system that augments what it serves. With ``drop_last`` a last batch that the
    split does not fill is left out.
    """

    full_pass: bool
    random_crop: bool
    flow_clip: float | None
    split: tuple[str, ...]
    planned_sizes: tuple[int, ...]
    first: Sequence[ServedBatch]
    first_again: Sequence[ServedBatch]
    second: Sequence[ServedBatch]
    other_seed: Sequence[ServedBatch] | None
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    shuffled: bool = True
    later: tuple[str, ...] = ()
    drop_last: bool = False


_UNDRAWN = 1e-9
"""Chance that one of the samples is drawn by none of the epochs that are asked for."""


def _needed(samples: int) -> int:
    """Return how many draws with replacement leave out any of so many samples that rarely.

    By the union bound: ``n * (1 - 1/n)**k <= n * exp(-k/n)``.
    """
    return math.ceil(samples * math.log(samples / _UNDRAWN))


def _later(system: System, drawn: int, samples: int) -> tuple[str, ...]:
    """Return the samples of epochs from the third on, as many as may be needed; or none."""
    epochs = -(-_needed(samples) // max(drawn, 1))
    found = tuple(
        sample for epoch in range(3, 3 + epochs)
        for batch in system.batches("train", epoch=epoch) for sample in batch.ids
    )  # fmt: skip
    # Some systems serve no epoch beyond their last one.
    return found if len(found) >= _needed(samples) else ()


@needs("batches")
def draws(bench: Bench) -> TrainingDraws:
    """Ask for two training epochs, the first one twice, and for another seed's first one."""
    with bench.open() as system:
        first, again = system.batches("train", epoch=1), system.batches("train", epoch=1)
        second = system.batches("train", epoch=2)
        split = listed_samples(split_folder(bench, "train"))
        full_pass = bench.config["train"].get("epoch_mode") == "full_pass"
        later = () if full_pass else _later(system, len(_ids(first)), len(split))
    require_seen(first and second, "no training batch was served (batches('train'))")
    other_seed: Sequence[ServedBatch] | None = None
    if "runtime.seed" not in bench.describe().settings:
        with bench.open(runtime={"seed": bench.config["runtime"]["seed"] + 1}) as other:
            other_seed = other.batches("train", epoch=1)
    train, folder, about = bench.config["train"], split_folder(bench, "train"), bench.describe()
    # What is augmented is held against no file.
    decoded = {} if about.augmentation else decoded_samples(folder, [*first, *second])
    return TrainingDraws(
        full_pass, train.get("train_crop_mode", "random") == "random",
        bench.config["data"].get("flow_clip"), split,
        planned_sizes(bench.config, about), first, again, second,
        other_seed, decoded, can_shuffle(bench), later, about.drop_last,
    )  # fmt: skip


def training_draws_are_declared(evidence: TrainingDraws) -> Outcome:
    """Require declared training draws: a permutation per epoch, new each epoch, per seed."""
    first = _ids(evidence.first)
    violations: list[Violation] = []
    sizes = [len(batch.ids) for batch in evidence.first]
    if sizes != list(evidence.planned_sizes):
        violations.append(
            Violation("training batch sizes", str(list(evidence.planned_sizes)), str(sizes), "plan")
        )
    violations += _no_full_pass(evidence, first)
    if undrawn := sorted(set(evidence.split) - set(evidence.later)) if evidence.later else []:
        draws = f"{len(evidence.later)} draws of {counted(len(evidence.split), 'sample')}"
        where = f"epochs 3 and later, {draws}"
        violations.append(Violation(where, "each sample drawn", f"never {undrawn[:3]}", "plan"))
    if foreign := sorted({*first, *evidence.later} - set(evidence.split)):
        what = f"{counted(len(foreign), 'other')}, such as {foreign[0]}"
        violations.append(Violation("training ids", "ids of the split", what, "plan"))
    violations += [
        dataclasses.replace(v, kind="draws") for v in _epoch_and_seed_differences(evidence)
    ]
    for batch in (*evidence.first, *evidence.second):
        for position, window in enumerate(batch.windows):
            # A foreign id is reported above, and six violations are all that is shown.
            if batch.ids[position] in evidence.decoded and len(violations) < 6:
                violations += first_pixel_differences(
                    batch, position, window, evidence.decoded, evidence.flow_clip
                )
    telling = "too few to tell epochs apart"
    if _epochs_can_be_told(evidence):
        one_seed = evidence.other_seed is None
        telling = "epochs differ, one seed alone" if one_seed else "epochs and seeds differ"
    batches = counted(len(sizes), "batch")
    figures = f"{counted(len(first), 'draw')} in {batches}; {telling}"
    return outcome(violations[:6], len(first), figures)


def _no_full_pass(evidence: TrainingDraws, first: Sequence[str]) -> list[Violation]:
    """Return that an epoch serves samples twice, or leaves out others than its plan does."""
    planned = sum(evidence.planned_sizes)
    left_out = evidence.drop_last and len(first) == planned == len({*first} & {*evidence.split})
    if not evidence.full_pass or left_out or sorted(first) == sorted(evidence.split):
        return []
    of_all = f"{planned} of" if evidence.drop_last else "each of"
    missing = sorted(set(evidence.split) - set(first))
    found = f"{counted(len(first), 'draw')} of {counted(len(set(first)), 'sample')}"
    found += f", missing {missing[:3]}"
    expected = f"{of_all} {len(evidence.split)} samples once"
    times = Counter(first)
    rows = [Row(one, 1, times[one], times[one] != 1) for one in evidence.split]
    shown = (values_beside("how often an epoch draws each sample", "draws", rows),)
    # A last batch that is filled says nothing of what else is served, or to whom.
    filled = not missing and len(first) == planned
    return [Violation("full pass", expected, found, "filled" if filled else "plan", shown)]


TRAIN_DRAWS_DECLARED = Promise(
    id="train-draws-declared",
    sentence="training draws are as declared, new each epoch and per seed",
    evidence=draws,
    check=training_draws_are_declared,
    hint="Epochs that repeat one order or one set of crops train on less data than they seem to.",
    explained_by=("eval-crop-centred", "resume-exact"),
    varied=True,
)


def _epochs_can_be_told(evidence: TrainingDraws) -> bool:
    """Return whether two epochs of one order would be no coincidence."""
    if not evidence.shuffled:
        return False
    draws, samples = len(_ids(evidence.first)), len(evidence.split)
    # A last batch that is filled draws more than there are samples to order.
    full = math.factorial(min(draws, samples))
    orders = full if evidence.full_pass else samples**draws
    return orders >= COINCIDENCE


def _places(evidence: TrainingDraws) -> int:
    """Return at how many places the crop fits the smallest frame; 1 if it is not random."""
    if not evidence.random_crop:
        return 1
    windows = [window for batch in evidence.first for window in batch.windows]
    sizes = [flow.shape[:2] for _, flow in evidence.decoded.values()]
    return min(((h - w[2] + 1) * (v - w[3] + 1) for h, v in sizes for w in windows[:1]), default=1)


def _ids(batches: Sequence[ServedBatch]) -> list[str]:
    return [sample for batch in batches for sample in batch.ids]


def _draws(batches: Sequence[ServedBatch]) -> list[tuple[str, tuple[int, ...]]]:
    return [d for batch in batches for d in zip(batch.ids, batch.windows, strict=True)]


_Draw = tuple[str, tuple[int, ...]]


def _draw(draw: _Draw) -> str:
    return f"{_sample(draw)}, {_place(draw)}"


def _sample(draw: _Draw) -> str:
    return draw[0]


def _place(draw: _Draw) -> str:
    top, left, height, width = draw[1]
    return f"{height} x {width} px at ({top}, {left})"


def _epoch_and_seed_differences(evidence: TrainingDraws) -> list[Violation]:
    first, places = _draws(evidence.first), _places(evidence)
    violations = []
    if _draws(evidence.first_again) != first:
        again = _draws(evidence.first_again)
        order, what = order_instead(first, again), "draws of epoch 1, with their windows"
        names = ("first", "again")
        shown = (orders_beside(what, map(_draw, first), map(_draw, again), names),)
        violations.append(
            Violation("epoch 1 served again", "the same draws", f"others{order}", shown=shown)
        )
    orders_tell = _epochs_can_be_told(evidence)
    draws_tell = orders_tell or places ** len(first) >= COINCIDENCE
    for name, other in (("epoch 2", evidence.second), ("another seed", evidence.other_seed)):
        if other is None:
            continue
        crops_tell = places ** len(first) >= COINCIDENCE
        for what, expected, tells, text in (
            ("draws", "others", draws_tell, _draw), ("order", "another", orders_tell, _sample),
            ("crops", "others", crops_tell, _place),
        ):  # fmt: skip
            one, two = list(map(text, first)), list(map(text, _draws(other)))
            if tells and one == two:
                pair, title = ("epoch 1", name), f"{what} of epoch 1 and of {name}"
                shown = (orders_beside(title, one, two, pair, differ=True),)
                violations.append(
                    Violation(f"{what} of {name}", f"{expected} than epoch 1", "the same",
                              shown=shown)
                )  # fmt: skip
    # The first window may lie anywhere; it takes the others to tell that all share it.
    windows = {window for _, window in first}
    if len(windows) == 1 and places ** (len(first) - 1) >= COINCIDENCE:
        violations.append(Violation("random crops", "several windows", f"one: {windows}"))
    return violations


@needs("train", "batches")
def asked_for(bench: Bench) -> tuple[ServedBatch, ...]:
    """Ask the trained system for the batches of the two epochs that it was trained on."""
    with bench.at(END) as system:
        asked = tuple(batch for epoch in (1, 2) for batch in system.batches("train", epoch=epoch))
    require_seen(asked, "no training batch was served (batches('train'))")
    return asked


@needs("train", "batches")
def drawn(bench: Bench) -> TwoWays:
    """Hold the batches that training drew against those that are served when asked for."""
    trained = bench.trained
    steps = (*trained.first.steps, *trained.second.steps)
    require_seen(steps, "no training step was recorded (Training.steps)")
    asked = [batch.digest for batch in bench.evidence(asked_for)]
    used = {f"batch {i}": step.batch for i, step in enumerate(steps)}
    served = {f"batch {i}": digest for i, digest in enumerate(asked)}
    run = joined(trained.first, trained.second)
    kind = ""
    if served != used:
        kind = "draws" if _served_where_trained(bench) else _NEVER_RESUMED
    # The batches are compared above, under names; compared as steps, they would be reported twice.
    return TwoWays(
        "asked for", "trained on", (served, used), (run, dataclasses.replace(run, steps=())), kind
    )


_NEVER_RESUMED = "never resumed"
"""Kind of a difference that is there too where nothing was restored in between."""


def _served_where_trained(bench: Bench) -> bool:
    """Return whether a system that has trained two epochs at a stretch serves what it drew."""
    with bench.at(START) as system:
        steps = system.train(2, evaluate=False).steps
        asked = [batch for epoch in (1, 2) for batch in system.batches("train", epoch=epoch)]
    return [step.batch for step in steps] == [batch.digest for batch in asked]


DRAWN_AS_SERVED = Promise(
    id="drawn-as-served",
    sentence="training uses the batches that its provider serves, in order",
    evidence=drawn,
    check=same_training,
    hint="Workers, prefetching or a resumed loader hand out other batches than declared.",
    explained_by=(
        "train-draws-declared:draws",
        "train-draws-declared:plan",
        "eval-pure:other each time",
        "resume-exact",
    ),
    varied=True,
)
