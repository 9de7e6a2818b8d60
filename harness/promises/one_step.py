"""One training step, looked at from outside: what it saw, gave and left behind."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.archs import array_of, slices_of
from harness.promises.arch_codes import covers, space_of
from harness.promises.bench import Bench
from harness.promises.gradients import (
    REPEATED,
    SHARES,
    Gradient,
    adam_slots,
    first_step_gradient,
    gradient_between,
    gradient_norm,
    gradient_of_first,
)
from harness.promises.moved_statistics import USUAL_SHARE
from harness.promises.one_batch import one_batch_folder, one_batch_sections
from harness.promises.option_arrays import may_rest
from harness.promises.promise import needs, require_seen
from harness.promises.recorded_run import rate_in_plan, schedule_of
from harness.promises.samples import decode_independently, listed_samples
from harness.promises.slices import parts_of, unshared
from harness.promises.slopes import Nudge
from harness.promises.states import require_named
from harness.promises.training_outputs import outputs_of_training, recalibrations
from harness.schedules import COSINE, Schedule
from harness.systems.declared import ADAM, UpdateRule
from harness.systems.protocol import (
    Arrays,
    Description,
    Recalibration,
    ServedBatch,
    System,
    Training,
)

__all__ = [
    "LOSS_TOLERANCE", "OneStep", "nudged_gradient", "one_step", "second_step_gradient", "unsettle",
]  # fmt: skip


@dataclass(frozen=True)
class OneStep:
    """The second step of a run, on one batch that is also the recalibration batch.

    A step's gradient is read from the first moment, of Adam ``m = 0.9 m' + 0.1 G``, so that
    nothing has to be told by the system.

    Attributes
    ----------
    start, before, after : mapping of str to numpy.ndarray
        Weights before step 1, after it, and after step 2.
    first, second : pair of mapping
        Both moments after step 1 and after step 2, by weight; of SGD its buffer twice.
    batch : ServedBatch
        What step 2 trained on.
    decoded : mapping
        Its samples by an independent decoder, uncropped.
    flow_clip : float or None
        Label clip of training, px.
    losses : tuple of float
        Step 2's mean loss per arch, in the order of `archs`.
    archs : tuple of str
        Step 2's fair cycle.
    outputs : mapping of str to sequence of numpy.ndarray, or None
        Arch to its three residual outputs on `batch`, with the weights before step 2,
        normalised by the batch as training is; None of a system that cannot be made to.
    norm : float or None
        Reported global norm of step 2's update; None where no check reports it.
    lr, decay : float
        Planned learning rate of step 2; weight decay.
    nudged : sequence of Nudge or None
        A training step with the weights moved forth and back along its gradient.
    nudged_step : int
        Which training step: 2, or 1 where a restored run repeats that one alone.
    moving, moved : mapping of str to numpy.ndarray
        Moving statistics before and after step 1.
    recalibrated : sequence of Recalibration or None
        For each arch of step 1, in order, the statistics of its only batch, with inputs.
    fair : bool
        Whether the archs of step 1 run every option of every block; so do nets that have none.
    rule : UpdateRule or None
        By which a gradient becomes a step, as the system declares. None: it does not.
    parts : mapping of str to mapping of str to numpy.ndarray
        Of kernels that options share in slices: by slice, the elements that no smaller one has.
    devices : int
        That a batch is shared out to.
    loss : str
        Which the system declares, of :data:`harness.systems.declared.LOSSES`.
    schedule : Schedule
        Of the learning rate.
    kept : float
        What an update keeps of a moving statistic.
    clip : str
        How gradients are clipped, of :data:`harness.systems.declared.CLIPS`.
    rests : frozenset of str or None, default none
        Weights that a step may pass over; None: any.
    """

    start: Arrays
    before: Arrays
    after: Arrays
    first: tuple[Arrays, Arrays]
    second: tuple[Arrays, Arrays]
    batch: ServedBatch
    decoded: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]
    flow_clip: float | None
    losses: tuple[float, ...]
    archs: tuple[str, ...]
    outputs: Mapping[str, Sequence[NDArray[Any]]] | None
    norm: float | None
    lr: float
    decay: float
    nudged: Sequence[Nudge] | None
    moving: Arrays
    moved: Arrays
    recalibrated: Sequence[Recalibration] | None
    nudged_step: int = 2
    fair: bool = True
    rule: UpdateRule | None = None
    parts: Mapping[str, Mapping[str, NDArray[np.bool_]]] = field(default_factory=dict)
    devices: int = 1
    loss: str = ""
    schedule: Schedule = COSINE
    kept: float = USUAL_SHARE
    clip: str = "norm"
    rests: frozenset[str] | None = frozenset()

    @property
    def by(self) -> UpdateRule:
        """The declared rule, else Adam."""
        return self.rule or ADAM


LOSS_TOLERANCE = 1e-4
"""Relative; float32 graph against float64 NumPy."""


@needs("train", "state", "save", "restore", "predict", "batches", "describe", says=("slots",))
def one_step(bench: Bench) -> OneStep:
    """Train two steps on one batch that is also the recalibration batch."""
    folder = one_batch_folder(bench, "one-step")
    count = len(listed_samples(folder / "train"))
    sections = one_batch_sections(bench, folder, count, micro=count)
    with bench.open(**sections) as system:
        return _two_steps(bench, system, folder, sections["train"]["clip_position"])


def _two_steps(bench: Bench, system: System, folder: Path, position: str) -> OneStep:
    slots, rule = adam_slots(system), system.describe().update or ADAM
    require_named(system.state(), (n for k, v in slots.items() for n in (k, *v)), "slots")
    unsettle(system, slots)
    start = _named(system.state(), slots)
    moving = {n: np.array(a) for n, a in system.state().items() if "moving_" in n}
    system.save(str(bench.folder / "one-step-start"))
    first = system.train(1, evaluate=False)
    middle = system.state()
    system.save(str(bench.folder / "one-step-middle"))
    second = system.train(2, evaluate=False)
    end = system.state()
    served = system.batches("train", epoch=2)
    require_seen(served, "no training batch was served (batches('train'))")
    require_seen(first.steps and second.steps, "no training step was recorded (Training.steps)")
    batch = served[0]
    # The loss was taken with the weights before the step, so the outputs are, too.
    archs = second.steps[0].archs
    system.state(_named(middle, slots))
    outputs = outputs_of_training(system, archs, batch)
    config = bench.config["train"]
    nudged, nudged_step = _nudged(
        _Repeated(str(bench.folder / "one-step-middle"), 2, second, _named(middle, slots),
               gradient_between(rule, _moments(middle, slots)[0], _moments(end, slots)[0])), system,
    ), 2  # fmt: skip
    if nudged is None:
        # EdgeFlowNAS restarts its generators when it resumes: it then repeats its first step alone.
        nudged, nudged_step = _nudged(
            _Repeated(str(bench.folder / "one-step-start"), 1, first, start,
                   first_step_gradient(middle, slots, rule)), system,
        ), 1  # fmt: skip
    # The statistics that are judged are those of step 1, which ran with the weights before it.
    system.state(start)
    recalibrated = recalibrations(system, first.steps[0].archs)
    # Per micro-step, a check is of one arch alone.
    whole = position == "update" and system.describe().clip == "norm"
    reported = second.checks[0].before if second.checks and whole else None
    return OneStep(
        start=start, before=_named(middle, slots), after=_named(end, slots),
        first=_moments(middle, slots), second=_moments(end, slots), batch=batch,
        decoded={i: decode_independently(folder / "train", i) for i in batch.ids},
        flow_clip=bench.config["data"].get("flow_clip"), losses=second.losses, archs=archs,
        outputs=outputs, norm=reported,
        lr=_planned_rate(bench, second), decay=config["weight_decay"],
        nudged=nudged, nudged_step=nudged_step, moving=moving, recalibrated=recalibrated,
        moved={n: np.array(middle[n]) for n in moving},
        fair=_is_fair(system.describe(), first.steps[0].archs),
        rule=system.describe().update, parts=_parts(system.describe(), start),
        devices=system.describe().devices, loss=system.describe().loss,
        schedule=schedule_of(system.describe()),
        kept=system.describe().statistics_kept or USUAL_SHARE, clip=system.describe().clip,
        rests=may_rest(system.describe(), list(middle)),
    )  # fmt: skip


def unsettle(system: System, slots: Iterable[str]) -> None:
    """Move every vector of the weights: while all gammas are 1, nobody sees them left out."""
    state, moved = system.state(), {}
    for number, name in enumerate(slots):
        vector = np.array(state[name])
        if vector.ndim == 1:
            places = np.arange(vector.size) + number
            moved[name] = (vector + 0.3 * np.cos(places)).astype(vector.dtype)
    if moved:
        system.state(moved)


def _is_fair(about: Description, archs: Sequence[str]) -> bool:
    # Of a net of options that tells no archs, which options a step runs is not known.
    return bool(archs or not about.options) and covers(archs, space_of(about))


def _planned_rate(bench: Bench, second: Training) -> float:
    """Return step 2's learning rate: as planned on a known schedule, else as the system says."""
    # An epoch is one step, of three: whatever number the system gives to the second.
    record = dataclasses.replace(second.steps[0], epoch=2, step=1)
    return rate_in_plan(bench, record, planned=1, epochs=3)


def _parts(about: Description, weights: Arrays) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return the slices of kernels that options run, each without the smaller ones."""
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    entries = {e for block in about.options for names in block for e in names}
    cut = {array_of(entry) for entry in entries if slices_of(entry)}
    sliced = [e for e in entries if array_of(e) in cut and array_of(e) in weights]
    masks = {entry: parts_of([entry], weights) for entry in sliced}
    ordered = sorted(masks, key=lambda e: sum(int(m.sum()) for m in masks[e].values()))
    for place, entry in enumerate(ordered):
        own = unshared(masks[entry], [masks[smaller] for smaller in ordered[:place]])
        for name, mask in own.items():
            found.setdefault(name, {})[entry] = mask
    return found


def _named(state: Arrays, names: Any) -> dict[str, NDArray[Any]]:
    return {name: np.array(state[name]) for name in names}


def _moments(state: Arrays, slots: Mapping[str, tuple[str, str]]) -> tuple[Arrays, Arrays]:
    first = {weight: np.array(state[m]) for weight, (m, _) in slots.items()}
    return first, {weight: np.array(state[v]) for weight, (_, v) in slots.items()}


@dataclass(frozen=True)
class _Repeated:
    """A training step that is repeated: from which checkpoint, and along which gradient."""

    checkpoint: str
    step: int
    straight: Training
    weights: Arrays
    gradient: Gradient


def _nudged(nudge: _Repeated, system: System) -> tuple[Nudge, ...] | None:
    """Return two lengths, each with a step's mean loss forth and back along the gradient.

    None of a system that, restored, does not repeat the step: its losses are of other archs, or
    move by themselves. None, too, of one that records no losses.
    """
    norm, found = gradient_norm(nudge.gradient), []
    system.restore(nudge.checkpoint)
    again = system.train(nudge.step, evaluate=False)
    straight = nudge.straight
    same = bool(again.steps) and again.steps[0].archs == straight.steps[0].archs
    if not same or not again.losses or not straight.losses:
        return None
    level = float(np.mean(again.losses))
    if not math.isclose(level, float(np.mean(straight.losses)), rel_tol=REPEATED):
        return None
    for share in SHARES:
        length, losses = share * level / max(norm, 1e-12), []
        for sign in (1.0, -1.0):
            system.restore(nudge.checkpoint)
            way = sign * length / max(norm, 1e-12)
            system.state(
                {
                    name: (nudge.weights[name] + way * g).astype(np.float32)
                    for name, g in nudge.gradient.items()
                }
            )
            losses.append(float(np.mean(system.train(nudge.step, evaluate=False).losses)))
        found.append(Nudge(length, losses[0], losses[1], level))
    return tuple(found)


def nudged_gradient(evidence: OneStep) -> dict[str, NDArray[np.float64]]:
    """Return the gradient along which the weights were moved."""
    if evidence.nudged_step == 2:
        return second_step_gradient(evidence)
    return gradient_of_first(evidence.by, evidence.first[0])


def second_step_gradient(evidence: OneStep) -> dict[str, NDArray[np.float64]]:
    """Return step 2's gradient from the first moments."""
    return gradient_between(evidence.by, evidence.first[0], evidence.second[0])
