"""Moving statistics follow every micro-batch of a step, whatever its size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError, UnseenError
from harness.promises.arch_codes import covers, space_of
from harness.promises.bench import Bench
from harness.promises.gradients import adam_slots
from harness.promises.moved_statistics import USUAL_SHARE
from harness.promises.one_batch import crop_of_random_draws, one_batch_sections
from harness.promises.one_step import LOSS_TOLERANCE
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.samples import FEW_SAMPLES, copy_samples, listed_samples, split_folder
from harness.promises.several_devices import BATCHES, require_one_device
from harness.promises.statistic_candidates import statistic_size
from harness.promises.training_outputs import recalibrations
from harness.systems.protocol import Arrays, Recalibration
from harness.wording import counted

__all__ = [
    "STATISTICS_OF_MICRO_BATCHES", "MicroStatistics", "every_micro_batch_is_followed",
    "micro_statistics",
]  # fmt: skip

_MICRO = 2

_CLIP = 1e-3
"""A threshold that every gradient is above: whether a clip fires is nothing to the statistics."""


@dataclass(frozen=True)
class MicroStatistics:
    """One step on copies of a sample: its statistics are the same in every micro-batch.

    Attributes
    ----------
    moving, moved : mapping of str to numpy.ndarray
        Moving statistics before and after the step.
    recalibrated : sequence of Recalibration or None
        For each arch of the step, in order, its statistics on the copies, with inputs.
    pieces : tuple of int
        Samples of each micro-batch.
    kept : float
        What an update keeps of a moving statistic.
    """

    moving: Arrays
    moved: Arrays
    recalibrated: Sequence[Recalibration] | None
    pieces: tuple[int, ...]
    kept: float = USUAL_SHARE


@needs("train", "state", "recalibrate", "describe", says=("slots",))
def micro_statistics(bench: Bench) -> MicroStatistics:
    """Train a step on copies of one sample, in micro-batches of 2, 2 and 1."""
    require_one_device(bench.describe().devices, BATCHES)
    source, folder = split_folder(bench, "train"), bench.folder / "copies-of-one"
    clipped = bench.settable("train", {"grad_clip_global_norm": _CLIP})
    clip: dict[str, Any] = {"clip": _CLIP} if clipped else {}
    sections = one_batch_sections(bench, folder, FEW_SAMPLES, micro=_MICRO, **clip)
    ids = [f"{i:07d}" for i in range(FEW_SAMPLES)]
    first = listed_samples(source)[0]
    copy_samples(source, dict.fromkeys(ids, first), folder, crop=crop_of_random_draws(bench))
    with bench.open(**sections) as system:
        start = {name: np.array(array) for name, array in system.state().items()}
        run = system.train(1, evaluate=False)
        require_seen(run.steps, "no training step was recorded (Training.steps)")
        archs = run.steps[0].archs
        if not covers(archs, space_of(system.describe())):
            msg = "the archs of a step do not run every option of every block"
            raise NotApplicableError(msg)
        moved = {n: np.array(a) for n, a in system.state().items() if "moving_" in n}
        # Statistics of the step are those with the weights before it.
        weights = {name: start[name] for name in (*adam_slots(system), *moved)}
        system.state(weights)
        found = recalibrations(system, archs)
        kept = system.describe().statistics_kept or USUAL_SHARE
    pieces = tuple(min(_MICRO, FEW_SAMPLES - at) for at in range(0, FEW_SAMPLES, _MICRO))
    return MicroStatistics({n: start[n] for n in moved}, moved, found, pieces, kept)


def _followed(evidence: MicroStatistics, name: str, pieces: Sequence[int]) -> NDArray[np.float64]:
    """Return a moving statistic after micro-batches of so many samples, for each arch.

    ``moving - 0.1 * (moving - batch)``, or what is declared in place of 0.1, once per
    micro-batch, the variance corrected by N / (N - 1) over the N values of a channel in it
    (TensorFlow's fused kernel).
    """
    unit, kind = name.rsplit("/", 1)
    found = np.asarray(evidence.moving[name], np.float64)
    for recal in evidence.recalibrated or ():
        if unit not in recal.stats or unit not in recal.inputs:
            continue
        values = np.asarray(recal.inputs[unit][0], np.float64)[0]  # of one copy
        values = values.reshape(-1, values.shape[-1])
        for samples in pieces:
            count = samples * len(values)
            factor = count / max(count - 1, 1)
            batch = values.mean(axis=0) if kind == "moving_mean" else values.var(axis=0) * factor
            found = evidence.kept * found + (1 - evidence.kept) * batch
    return found


def every_micro_batch_is_followed(evidence: MicroStatistics) -> Outcome:
    """Require moving statistics to take in each micro-batch of each arch once."""
    if evidence.recalibrated is None:
        msg = "the system recalibrates nothing, so the statistics of its batches are not known"
        raise NotApplicableError(msg)
    if evidence.recalibrated and not any(recal.inputs for recal in evidence.recalibrated):
        raise UnseenError("no unit's inputs were given (recalibrate(inputs=True))")
    violations, worst = [], 0.0
    for name in evidence.moved:
        distance = _distance(evidence, name, evidence.pieces)
        worst = max(worst, distance)
        if not distance <= LOSS_TOLERANCE:
            violations.append(
                Violation(
                    f"{name} after micro-batches of {_sizes(evidence.pieces)}",
                    f"an update by each of them for each arch that runs it, {evidence.kept:g} kept",
                    f"relative distance {distance:.1e}{_instead(evidence, name)}",
                )
            )
    figures = (
        f"{counted(len(evidence.moved), 'statistic')} of micro-batches of "
        f"{_sizes(evidence.pieces)}, worst {worst:.1e}"
    )
    return outcome(violations[:6], len(evidence.moved), figures)


def _sizes(pieces: Sequence[int]) -> str:
    return ", ".join(map(str, pieces)) or "none"


def _distance(evidence: MicroStatistics, name: str, pieces: Sequence[int]) -> float:
    """Return how far a statistic is from one after these micro-batches, relative to its size."""
    expected = _followed(evidence, name, pieces)
    error = np.asarray(evidence.moved[name], np.float64) - expected
    size = statistic_size(expected, name, evidence.recalibrated or ())
    return float(np.linalg.norm(error)) / size


def _instead(evidence: MicroStatistics, name: str) -> str:
    """Return by which micro-batches a statistic was updated instead, in words."""
    pieces = evidence.pieces
    ways = {
        "no micro-batch": (), "the last micro-batch alone": pieces[-1:],
        "the first micro-batch alone": pieces[:1], "all but the last": pieces[:-1],
        "all but the first": pieces[1:], "the whole batch once": (sum(pieces),),
        "each micro-batch twice": pieces * 2,
    }  # fmt: skip
    near = (
        f", as {words} would give" for words, some in ways.items()
        if _distance(evidence, name, some) <= LOSS_TOLERANCE
    )  # fmt: skip
    return next(near, "")


STATISTICS_OF_MICRO_BATCHES = Promise(
    id="micro-batches-followed",
    sentence="moving statistics follow every micro-batch, whatever its size",
    evidence=micro_statistics,
    check=every_micro_batch_is_followed,
    hint=(
        "The statistics of some micro-batches are lost: the last one's alone are kept, or partial "
        "ones are left out."
    ),
    explained_by=("moving-statistics", "unrun-statistics-still"),
)
