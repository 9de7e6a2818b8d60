"""First training steps on copies of one sample, of another, and of both: what they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import NotApplicableError, UnseenError
from harness.promises.bench import Bench
from harness.promises.gradient_candidates import combined, gradient_distance, weighed_instead
from harness.promises.gradients import Gradient, adam_slots, first_step_gradient, gradient_norm
from harness.promises.one_batch import crop_of_random_draws, one_batch_sections
from harness.promises.promise import Violation, needs, require_seen
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
from harness.systems.protocol import Arrays, Check, ServedBatch, System, Training

__all__ = [
    "Accumulation",
    "StepRun",
    "accumulation",
    "broken_laws",
    "distances",
    "require_last_alone",
]


@dataclass(frozen=True)
class StepRun:
    """The first step of a run: its archs, its gradient, and what was checked."""

    archs: tuple[str, ...]
    gradient: Arrays
    losses: tuple[float, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Accumulation:
    """First steps on five copies of sample A, of sample B, and on four A and one B.

    Attributes
    ----------
    whole, pieces : StepRun
        Five copies of A as one micro-batch, and as micro-batches of 2, 2 and 1. No pieces of a
        system whose micro-batches are of one size.
    other, mixed : StepRun or None
        Five copies of B, and A, A, A, A, B, in micro-batches of 2, 2 and 1; None where there
        is no sample B.
    threshold : float
        A third of the norm of `whole`.
    clipped_update, clipped_micro : StepRun
        `whole` again, clipped at `threshold` once per update and once per micro-step; None
        where the system does not clip there.
    absent : str
        Why there are no pieces, or no B.
    repeated : StepRun or None
        `whole` once more, where the pieces do not add up to it: what repeats nothing cannot be
        told from noise.
    """

    whole: StepRun
    pieces: StepRun | None
    other: StepRun | None
    mixed: StepRun | None
    threshold: float
    clipped_update: StepRun | None
    clipped_micro: StepRun | None
    absent: str = ""
    repeated: StepRun | None = None


@needs("train", "state", "batches", "describe", says=("slots",))
def accumulation(bench: Bench) -> Accumulation:
    """Train first steps on copies of two samples, in one and in uneven micro-batches."""
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
    update, micro = (
        _first_step(bench, same, micro=FEW_SAMPLES, position=position, clip=threshold)
        if fixed in (None, position) and not (shared_out and position == "micro_step")
        else None
        for position in ("update", "micro_step")
    )
    if shared_out:
        return Accumulation(whole, None, None, None, threshold, update, micro, shared_out)
    try:
        pieces, absent = _first_step(bench, same, micro=2), ""
    except UnseenError:
        raise
    except NotApplicableError as error:  # clips are judged all the same
        return Accumulation(whole, None, None, None, threshold, update, micro, str(error))
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
    found = Accumulation(whole, pieces, other, mixed, threshold, update, micro, absent)
    if not broken_laws(found):
        return found
    # Made where something is amiss alone: opening a system costs seconds.
    return replace(found, repeated=_first_step(bench, same, micro=FEW_SAMPLES))


def _of_another(bench: Bench, ids: Sequence[str], pair: tuple[str, str]) -> tuple[StepRun, StepRun]:
    """Return first steps on copies of sample B, and on copies of A with one B among them."""
    source, crop = split_folder(bench, "train"), crop_of_random_draws(bench)
    other, mix = bench.folder / "copies-b", bench.folder / "copies-mixed"
    copy_samples(source, dict.fromkeys(ids, pair[1]), other, crop=crop)
    with bench.open(**_sections(bench, other, micro=2)) as system:
        served = system.batches("train", epoch=1)
        require_seen(served, "no training batch was served (batches('train'))")
        # The order is drawn: whichever sample comes last is
        # alone in its micro-batch of 2, 2 and 1.
        alone = served[0].ids[-1]
        of_b = _trained(system)
    copy_samples(source, {**dict.fromkeys(ids, pair[0]), alone: pair[1]}, mix, crop=crop)
    with bench.open(**_sections(bench, mix, micro=2)) as system:
        require_last_alone(system.batches("train", epoch=1)[0])
        return of_b, _trained(system)


_MANY_COPIES = 64


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
        return _trained(system)


def _trained(system: System) -> StepRun:
    slots = adam_slots(system)
    run: Training = system.train(1, evaluate=False)
    state = system.state()
    require_named(state, (first for first, _ in slots.values()), "describe().slots")
    require_seen(run.steps, "no training step was recorded (Training.steps)")
    archs: Sequence[str] = run.steps[0].archs
    rule = system.describe().update or ADAM
    gradient = first_step_gradient(state, slots, rule)
    return StepRun(tuple(archs), gradient, run.losses, run.checks)


_COPIES_TOLERANCE = 0.05
"""The same for micro-batches of other sizes: rounding differs, and one ReLU that flips moved
the gradient by 1 % (as nudging the weights by a relative 1e-6 did). Faults move it by 20 %."""


_MIXED_TOLERANCE = 0.04
"""The same where one of three micro-batches has another size: 2.3 % was the most seen over 50
random configurations. Weighing three micro-batches alike moves the gradient by 13 % of what sets
A and B apart."""


@dataclass(frozen=True)
class _Law:
    """What a run's gradient must be, how near, and the gradients of A and of the last sample."""

    name: str
    expected: Gradient
    run: StepRun
    allowed: float
    pair: tuple[Gradient, Gradient]

    @property
    def distance(self) -> float:
        return gradient_distance(self.expected, self.run.gradient)


def _laws(evidence: Accumulation) -> list[_Law]:
    assert evidence.pieces is not None
    whole, pieces = evidence.whole.gradient, evidence.pieces
    laws = [_Law("A, A | A, A | A", whole, pieces, _COPIES_TOLERANCE, (whole, whole))]
    if evidence.other is not None and evidence.mixed is not None:
        pair = (pieces.gradient, evidence.other.gradient)
        weighed = combined([(0.8, pair[0]), (0.2, pair[1])])
        laws.append(_Law("A, A | A, A | B", weighed, evidence.mixed, _MIXED_TOLERANCE, pair))
    return laws


def distances(evidence: Accumulation) -> list[str]:
    """Return how far each law's gradient is from what it should be, relative."""
    return [f"{law.distance:.1e}" for law in _laws(evidence)]


def broken_laws(evidence: Accumulation) -> list[Violation]:
    """Return where accumulated gradients, or the micro-batches behind them, are not as planned."""
    laws, violations = _laws(evidence), list[Violation]()
    runs = [evidence.whole, *(law.run for law in laws)]
    others = [evidence.other] if evidence.other is not None else []
    same_archs = {run.archs for run in (*runs, *others)}
    if len(same_archs) != 1:
        violations.append(
            Violation("archs of the first step", "the same in each run", str(same_archs))
        )
    violations += [_broken_law(law) for law in laws if not law.distance <= law.allowed]
    whole = len(evidence.whole.losses)
    # A system may record no losses at all; the gradients tell then.
    recorded = any(run.losses for run in runs)
    violations += [
        Violation(f"micro-batches of {law.name}", f"3 times the {whole} of A, A, A, A, A",
                  f"{len(law.run.losses)}", "pieces")
        for law in laws
        if recorded and not len(law.run.losses) == 3 * whole > 0
    ]  # fmt: skip
    return violations


def _broken_law(law: _Law) -> Violation:
    expected, found = gradient_norm(law.expected), law.run.gradient
    ratio = gradient_norm(found) / max(expected, 1e-300)
    what = weighed_instead(*law.pair, found, law.distance, law.allowed)
    return Violation(
        f"gradient of {law.name}", f"norm {expected:.6g}",
        f"{ratio:.4g} times that, relative distance {law.distance:.2g}{what}",
        "gradient",
    )  # fmt: skip
