"""First training steps on copies of one sample, of another, and of both: what they add up to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import NotApplicableError, UnseenError
from harness.promises.bench import Bench
from harness.promises.copies import (
    SmallerLast,
    last_differs,
    require_digests,
    smaller_last,
    with_other_draws,
)
from harness.promises.gradients import (
    Gradient,
    adam_slots,
    first_step_gradient,
    gradient_between,
    gradient_norm,
    gradient_of_loss,
)
from harness.promises.micro_laws import Accumulation, StepRun, broken_last, broken_laws
from harness.promises.one_batch import crop_of_random_draws, one_batch_sections
from harness.promises.own_slopes import require_norm_clip
from harness.promises.promise import needs, require_seen
from harness.promises.samples import (
    FEW_SAMPLES,
    copy_samples,
    listed_samples,
    same_content,
    split_folder,
)
from harness.promises.several_devices import MICRO_BATCHES, several_devices
from harness.promises.states import require_named
from harness.systems.declared import ADAM
from harness.systems.protocol import Arrays, ServedBatch, System, Training

__all__ = ["accumulation", "require_last_alone"]


@needs("train", "state", "describe", says=("slots",))
def accumulation(bench: Bench) -> Accumulation:
    """Train first steps on copies of two samples, in one and in uneven micro-batches."""
    require_norm_clip(bench.describe())
    source, crop = split_folder(bench, "train"), crop_of_random_draws(bench)
    # Of many copies, a draw with replacement hardly takes one twice.
    ids = [f"{i:07d}" for i in range(FEW_SAMPLES if crop is None else _MANY_COPIES)]
    samples, same = listed_samples(source), bench.folder / "copies-a"
    copy_samples(source, dict.fromkeys(ids, samples[0]), same, crop=crop)
    whole = _first_step(bench, same, micro=FEW_SAMPLES)
    # A threshold of 0 would be refused as a configuration; a
    # gradient of 0 is for the check to report.
    threshold = gradient_norm(whole.gradient) / 3 or 1.0
    fixed = bench.describe().settings.get("train.clip_position")
    shared_out = several_devices(bench.describe().devices, MICRO_BATCHES)
    one_norm = _CLIP in bench.describe().settings
    update, micro = (
        _first_step(bench, same, micro=FEW_SAMPLES, position=position, clip=threshold)
        if fixed in (None, position)
        and not (shared_out and position == "micro_step")
        and not one_norm
        else None
        for position in ("update", "micro_step")
    )
    if shared_out or bench.describe().augmentation:
        # Copies that are augmented are none.
        why = shared_out or "the system augments samples at random (describe()['augmentation'])"
        return Accumulation(whole, None, None, None, threshold, update, micro, why)
    try:
        pieces, absent = _first_step(bench, same, micro=2), ""
    except UnseenError:
        raise
    except NotApplicableError as error:  # clips are judged all the same
        smaller = _smaller(bench, samples[0], whole.gradient, FEW_SAMPLES)
        found = Accumulation(
            whole, None, None, None, threshold, update, micro, str(error), smaller=smaller
        )
        return _beside_noise(bench, found, same) if broken_last(smaller) else found
    other, mixed = None, None
    second = next((s for s in samples if not same_content(source, samples[0], s)), None)
    if second is None:
        absent = f"{len(samples)} training samples, all alike; another one is needed"
    else:
        try:
            other, mixed = _of_another(bench, ids, (samples[0], second))
        except UnseenError:
            raise
        except NotApplicableError as error:
            absent = str(error)
    smaller = _smaller(bench, samples[0], pieces.gradient, 2)
    found = Accumulation(
        whole, pieces, other, mixed, threshold, update, micro, absent, smaller=smaller
    )
    if broken_laws(found):
        return _beside_noise(bench, found, same)
    return replace(found, clipped_pieces=_clipped_pieces(bench, found, same))


def _clipped_pieces(bench: Bench, found: Accumulation, same: Path) -> Mapping[str, StepRun]:
    """Return the clipped first steps again, in micro-batches of 2, 2 and 1, by where they clip."""
    clipped = {"update": found.clipped_update, "micro_step": found.clipped_micro}
    runs = {}
    for position in (name for name, run in clipped.items() if run is not None):
        options = {"micro": 2, "position": position, "clip": found.threshold}
        with bench.open(**_sections(bench, same, **options)) as system:
            runs[position] = _trained(system)
    return runs


def _beside_noise(bench: Bench, found: Accumulation, same: Path) -> Accumulation:
    """Add what tells a fault from noise; opening a system costs seconds where nothing is amiss."""
    drawn = with_other_draws(bench, FEW_SAMPLES, same.name)
    return replace(found, repeated=_first_step(bench, same, micro=FEW_SAMPLES), drawn=drawn)


def _smaller(bench: Bench, content: str, first: Gradient, micro: int) -> SmallerLast | None:
    """Return the pass with a smaller last batch; None of a system that cannot be asked for one."""
    try:
        return smaller_last(bench, content, first, micro=micro)
    except UnseenError:
        raise
    except NotApplicableError:
        return None


def _of_another(bench: Bench, ids: Sequence[str], pair: tuple[str, str]) -> tuple[StepRun, StepRun]:
    """Return first steps on copies of sample B, and on copies of A with one B among them."""
    source, crop = split_folder(bench, "train"), crop_of_random_draws(bench)
    other, mix = bench.folder / "copies-b", bench.folder / "copies-mixed"
    copy_samples(source, dict.fromkeys(ids, pair[1]), other, crop=crop)
    with bench.open(**_sections(bench, other, micro=2)) as system:
        served = _served(bench, system)
        of_b = _trained(system)
    if served is None:
        return of_b, _mixed_by_digests(bench, ids, pair)
    require_seen(served, "no training batch was served (batches('train'))")
    # The order is drawn: whichever sample comes last is
    # alone in its micro-batch of 2, 2 and 1.
    alone = served[0].ids[-1]
    copy_samples(source, {**dict.fromkeys(ids, pair[0]), alone: pair[1]}, mix, crop=crop)
    with bench.open(**_sections(bench, mix, micro=2)) as system:
        require_last_alone(system.batches("train", epoch=1)[0])
        return of_b, _trained(system)


def _served(bench: Bench, system: System) -> Sequence[ServedBatch] | None:
    """Return the batches of epoch 1; None of a system that serves none of training."""
    if "batches" not in bench.describe().can:
        return None
    try:
        return system.batches("train", epoch=1)
    except NotApplicableError:
        return None


def _mixed_by_digests(bench: Bench, ids: Sequence[str], pair: tuple[str, str]) -> StepRun:
    """Return a first step on copies of A with one B that comes last, found by trying each."""
    source, crop = split_folder(bench, "train"), crop_of_random_draws(bench)
    for place, alone in enumerate(ids[:FEW_SAMPLES]):
        mix = bench.folder / f"copies-mixed-{place}"
        copy_samples(source, {**dict.fromkeys(ids, pair[0]), alone: pair[1]}, mix, crop=crop)
        with bench.open(**_sections(bench, mix, micro=2)) as system:
            runs: list[Training] = []
            found = _trained(system, runs)
        if require_digests(last_differs(runs[0])):
            return found
    msg = "no sample was found to come last in a step, by what it says that it trained on"
    raise NotApplicableError(msg)


_MANY_COPIES = 64
_CLIP = "train.grad_clip_global_norm"


def require_last_alone(batch: ServedBatch) -> None:
    """Require a batch whose last sample, and it alone, is another.

    Raises
    ------
    NotApplicableError
        If that sample was drawn twice, or not drawn again at all.
    """
    first = [np.array_equal(frames, batch.frames[0]) for frames in batch.frames]
    if first != [True] * (len(first) - 1) + [False]:
        msg = "training draws with replacement, and drew the sample of the last micro-batch twice"
        raise NotApplicableError(msg)


def _sections(bench: Bench, folder: Path, **options: Any) -> dict[str, Any]:
    """Return the sections of a run of one batch; it clips nothing unless that is asked for."""
    return one_batch_sections(bench, folder, FEW_SAMPLES, **options)


def _first_step(bench: Bench, folder: Path, **options: Any) -> StepRun:
    with bench.open(**_sections(bench, folder, **options)) as system:
        first = _trained(system)
        return replace(first, later=_later_norm(system)) if "clip" in options else first


def _later_norm(system: System) -> float:
    """Return the norm of the gradient that a step of the second epoch gives to the moments."""
    slots, rule = adam_slots(system), system.describe().update or ADAM
    before = {name: np.array(array) for name, array in system.state().items()}
    system.train(2, evaluate=False)
    after = system.state()
    old, new = ({n: state[m] for n, (m, _) in slots.items()} for state in (before, after))
    return gradient_norm(gradient_of_loss(rule, gradient_between(rule, old, new), before))


def _trained(system: System, runs: list[Training] | None = None) -> StepRun:
    slots = adam_slots(system)
    before = {name: np.array(array) for name, array in system.state().items()}
    run: Training = system.train(1, evaluate=False)
    if runs is not None:
        runs.append(run)
    state = system.state()
    require_named(state, (first for first, _ in slots.values()), "describe().slots")
    require_seen(run.steps, "no training step was recorded (Training.steps)")
    archs: Sequence[str] = run.steps[0].archs
    rule = system.describe().update or ADAM
    if len(run.steps) > 1:
        msg = f"a batch of {FEW_SAMPLES} samples was asked for, and {len(run.steps)} steps made"
        raise NotApplicableError(f"{msg} of it: which micro-batches are a step's is not told")
    # A decay of the optimizer's own is added behind accumulation and clip.
    gradient = gradient_of_loss(rule, first_step_gradient(state, slots, rule), before)
    return StepRun(
        tuple(archs), gradient, run.losses, run.checks, beside=_without_slots(before, state, slots)
    )


def _without_slots(
    before: Arrays, after: Arrays, slots: Mapping[str, tuple[str, str]]
) -> tuple[str, ...]:
    """Return what a step moved beside weights with slots, their moments, averages, statistics."""
    known = {*slots, *(name for pair in slots.values() for name in pair)}
    own = ("moving_mean", "moving_variance")
    return tuple(
        name
        for name, array in after.items()
        if name not in known
        and not name.startswith("progress/")
        and not name.endswith((*own, *(f"/{weight}" for weight in slots)))
        and np.asarray(array).dtype.kind == "f"
        and np.asarray(array).ndim  # a number is no weight: a power of Adam's beta
        and not (name in before and np.array_equal(before[name], array))
    )
