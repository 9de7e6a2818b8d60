"""Steps at the edge: where no gradient of the loss arrives, and where outputs are far off."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.candidates import instead
from harness.promises.far_weights import (
    FAR_WEIGHT,
    FarUpdate,
    far_update,
    far_weights,
    huge_second_moments,
)
from harness.promises.gradients import (
    GRADIENT_TOLERANCE,
    adam_slots,
    gradient_between,
    gradient_norm,
)
from harness.promises.loss import loss_is_recomputed
from harness.promises.one_batch import one_batch_folder, one_batch_sections
from harness.promises.one_step import OneStep, one_step, unsettle
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, require_seen
from harness.promises.recorded_run import rate_in_plan
from harness.promises.samples import decode_independently, listed_samples
from harness.promises.states import require_named
from harness.promises.training_outputs import outputs_of_training
from harness.systems.declared import ADAM, OWN_LOSSES
from harness.systems.protocol import Arrays, Description, ServedBatch, System, Training
from harness.wording import counted

__all__ = [
    "DECAY_ALONE", "FAR_OUTPUTS", "EdgeSteps", "decay_alone_is_left", "edge_steps",
    "far_outputs_are_trained_on",
]  # fmt: skip


@dataclass(frozen=True)
class EdgeSteps:
    """Two steps with heads of zero, and one with heads so large that outputs are far off.

    Each is an epoch of its own.

    Attributes
    ----------
    gradients : sequence of mapping of str to numpy.ndarray
        Of the first step and of the second, by weight, without the heads.
    weights : mapping of str to numpy.ndarray
        Those weights before each of them.
    decays : mapping of str to float
        What of each is to be in its gradient.
    reached : str
        Where outputs vary although their heads are zero; empty where the loss cannot reach
        another weight.
    far : OneStep or None
        The third step, as far as its loss and norm are concerned; None where the system records
        no losses, or has one of its own.
    far_norm : float
        Global norm of the gradient that its moments took in.
    far_weights : mapping of str to numpy.ndarray
        Weights before the second step, of which one element of each array is far; none where
        outputs would grow too far by them.
    updates : sequence of FarUpdate
        The second step, whose second moments were huge, and the third, where there is one, whose
        are as they were after the first.
    """

    gradients: Sequence[Mapping[str, NDArray[Any]]]
    weights: Arrays
    decays: Mapping[str, float]
    reached: str = ""
    far: OneStep | None = None
    far_norm: float = 0.0
    far_weights: Arrays = field(default_factory=dict)
    updates: Sequence[FarUpdate] = ()

    def started(self, epoch: int, name: str) -> NDArray[np.float64]:
        """Return a weight before the step of an epoch."""
        far = self.far_weights if epoch == 2 else {}
        return np.asarray(far.get(name, self.weights[name]), np.float64)


_FAR = 300.0
"""px: the root mean square of outputs that are far off. Farther than FlyingChairs moves, than what
a cap spares, and than logarithms of variances that anybody clamps."""


@needs(
    "train", "state", "save", "restore", "predict", "batches", "describe", says=("slots", "heads")
)
def edge_steps(bench: Bench) -> EdgeSteps:
    """Train two steps with heads of zero and one with huge heads, on one batch."""
    one = bench.evidence(one_step)
    if one.loss in OWN_LOSSES:
        msg = "the system declares a loss of its own, in which there may be more than is known"
        raise NotApplicableError(msg)
    if not one.archs:
        raise NotApplicableError("steps do not tell the archs that they train (Training.steps)")
    folder = one_batch_folder(bench, "edge-steps")
    count = len(listed_samples(folder / "train"))
    with bench.open(**one_batch_sections(bench, folder, count, micro=count)) as system:
        about = system.describe()
        heads = [name for names in about.heads.values() for name in names]
        require_named(system.state(), heads, "heads")
        unsettle(system, adam_slots(system))
        state = system.state()
        sound = {name: np.array(state[name]) for name in heads}
        found, usual = _with_heads_of_zero(bench, system, about, sound)
        # All of them: an epoch may draw other samples than that of the one step.
        decoded = {n: decode_independently(folder / "train", n)
                   for n in listed_samples(folder / "train")}  # fmt: skip
        one = dataclasses.replace(one, decoded=decoded)
        return _far_off(bench, system, found, one, usual | sound)


def _with_heads_of_zero(
    bench: Bench, system: System, about: Description, heads: Arrays
) -> tuple[EdgeSteps, dict[str, NDArray[Any]]]:
    """Return two steps, and the weights and moments between them."""
    slots, rule = adam_slots(system), about.update or ADAM
    before = system.state()
    none = {name: np.zeros_like(kernel) for name, kernel in heads.items()}
    weights = {n: np.array(before[n]) for n in slots if n not in heads}
    # Of EdgeFlowNAS's loss the decay is a term, of every kernel; of another it is the optimizer's.
    term = 0.0 if about.loss else float(bench.config["train"]["weight_decay"])
    decays = {
        name: (term if array.ndim == 4 else 0.0) + (0 if rule.decoupled else rule.decay_of(name))
        for name, array in weights.items()
    }
    # Of the second step, too, these are what decays.
    first = _one_step(bench, system, 1, {**none, **weights})
    usual = {n: first.after[n] for pair in slots.values() for n in pair} | weights
    batch, arch = system.batches("train", epoch=2)[0], first.run.steps[0].archs[0]
    system.state(heads)
    far = far_weights(system, arch, batch, weights, decays)
    huge = huge_second_moments(rule, first.after, slots)
    second = _one_step(bench, system, 2, {**none, **weights, **far, **huge})
    gradients = [
        gradient_between(
            rule, *({n: s[slots[n][0]] for n in weights} for s in (one.before, one.after))
        )
        for one in (first, second)
    ]
    system.state({**none, **weights})
    outputs = system.predict(second.run.steps[0].archs[0], batch)
    spread = [float(np.ptp(output.reshape(-1, output.shape[-1]), axis=0).max())
              for output in outputs]  # fmt: skip
    reached = next((f"output {i}, by {s:.3g}" for i, s in enumerate(spread) if s), "")
    update = far_update("step 2, far weights", rule, slots, second.before, second.after,
                        lr=second.lr, number=2)  # fmt: skip
    found = EdgeSteps(gradients, weights, decays, reached, far_weights=far, updates=(update,))
    # A bias of a head, and what else lies behind one, moves outputs whatever the heads are.
    names = {name for _, name, *_ in _off(found) if weights[name].ndim <= 1}
    behind = {n for n in names if _moves(system, n, second.run, batch)}
    system.state({name: second.after[name] for name in heads})
    own = [{n: g for n, g in each.items() if n not in behind} for each in gradients]
    return dataclasses.replace(found, gradients=own), usual


def _moves(system: System, name: str, run: Training, batch: ServedBatch) -> bool:
    """Return whether outputs follow a weight, by itself."""
    arch, kept = run.steps[0].archs[0], np.array(system.state()[name])
    outputs = system.predict(arch, batch)
    system.state({name: kept + np.ones_like(kept)})
    others = system.predict(arch, batch)
    system.state({name: kept})
    return any(not np.array_equal(a, b) for a, b in zip(outputs, others, strict=True))


class _Step(NamedTuple):
    """One step, an epoch of its own, with the whole state before it and after it."""

    run: Training
    before: Arrays
    after: Arrays
    lr: float


def _one_step(bench: Bench, system: System, epoch: int, changes: Arrays) -> _Step:
    system.state(changes)
    # Copies: a system may hand out the arrays that it goes on to change.
    before = {n: np.array(a) for n, a in system.state().items()}
    run = system.train(epoch, evaluate=False)
    require_seen(run.steps, "no training step was recorded (Training.steps)")
    record = dataclasses.replace(run.steps[0], epoch=epoch, step=1)
    after = {n: np.array(a) for n, a in system.state().items()}
    return _Step(run, before, after, rate_in_plan(bench, record, planned=1, epochs=3))


def _far_off(
    bench: Bench, system: System, found: EdgeSteps, one: OneStep, usual: Arrays
) -> EdgeSteps:
    """Add a step with heads that are larger by as much as outputs are to be."""
    if not one.losses or one.outputs is None:
        return found
    slots, rule = adam_slots(system), system.describe().update or ADAM
    size = max(float(np.sqrt(np.mean(np.square(o)))) for out in one.outputs.values() for o in out)
    factor = np.float32(_FAR / max(size, 1e-6))
    heads = {n: factor * usual[n] for n in slots if n in usual and n not in found.weights}
    step = _one_step(bench, system, 3, {**usual, **heads})
    run, batch, archs = step.run, system.batches("train", epoch=3)[0], step.run.steps[0].archs
    update = far_update("step 3, far heads", rule, slots, step.before, step.after,
                        lr=step.lr, number=3)  # fmt: skip
    # The loss was taken with the weights before the step, so the outputs are, too.
    system.state(update.moved.before)
    outputs = outputs_of_training(system, archs, batch)
    checks = run.checks if len(run.checks) == 1 else ()  # per micro-step, one is of an arch alone
    far = dataclasses.replace(
        one, before=update.moved.before, batch=batch, losses=run.losses, archs=archs,
        outputs=outputs, norm=checks[0].before if checks and one.norm is not None else None,
    )  # fmt: skip
    return dataclasses.replace(
        found, far=far, far_norm=gradient_norm(update.moved.gradient),
        updates=(*found.updates, update),
    )  # fmt: skip


def decay_alone_is_left(evidence: EdgeSteps) -> Outcome:
    """Require of every gradient but the heads' to be the weight's configured decay, or nothing.

    Raises
    ------
    NotApplicableError
        If outputs depend on more than their heads, so that the loss may reach other weights.
    """
    if evidence.reached:
        msg = f"with heads of zero outputs still vary ({evidence.reached}): the loss reaches more"
        raise NotApplicableError(msg)
    violations, usual = list[Violation](), max(evidence.decays.values(), default=0.0)
    for epoch, name, found, weight in _off(evidence):
        decay, size = evidence.decays[name], float(np.linalg.norm(weight))
        off = float(np.linalg.norm(found - decay * weight))
        share = float((found * weight).sum()) / max(size * size, 1e-300)
        what = instead(
            share, {"none": 0.0, "twice that": 2 * decay, "half of that": decay / 2,
                    "that of kernels": usual, "that of kernels twice": 2 * usual},
            rel_tol=_DECAY_TOLERANCE,
        )  # fmt: skip
        violations.append(
            Violation(f"gradient of {name} with heads of zero, epoch {epoch}",
                      f"{decay:.4g} of the weight", f"{share:.4g} of it{what}, {off:.3g} away")
        )  # fmt: skip
    kernels = sum(decay > 0 for decay in evidence.decays.values())
    weights = len(next(iter(evidence.gradients), ()))
    figures = f"{counted(weights, 'weight')} that no loss reaches: {kernels} decay"
    figures += f" by {usual:.3g} in {counted(len(evidence.gradients), 'epoch')}, no other does"
    return outcome(violations[:6], weights, figures)


def _off(
    evidence: EdgeSteps,
) -> Iterator[tuple[int, str, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield step, name, gradient and weights of what is not decay alone, beyond rounding."""
    usual = max(evidence.decays.values(), default=0.0)
    each = (
        (e, n, np.asarray(g, np.float64), part)
        for e, found in enumerate(evidence.gradients, 1) for n, g in found.items()
        for part in _parts(evidence.started(e, n))
    )  # fmt: skip
    for epoch, name, whole, part in each:
        found, weight = whole[part], evidence.started(epoch, name)[part]
        off = float(np.linalg.norm(found - evidence.decays[name] * weight))
        # Of a configured decay of 0 any gradient is one too many.
        most = _DECAY_TOLERANCE * (usual or 1e-9) * float(np.linalg.norm(weight)) + 1e-12
        if off > most:
            yield epoch, name, found, weight


def _parts(weight: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
    """Return which elements are as usual, and which are far: beside these those are nothing."""
    far = np.abs(weight) >= FAR_WEIGHT
    return [part for part in (~far, far) if part.any()]


_DECAY_TOLERANCE = 1e-3
"""Relative: a moment is stored in float32, and three archs add a third each."""


DECAY_ALONE = Promise(
    id="decay-alone",
    sentence="where no gradient of the loss arrives, kernels decay as configured and nothing else",
    evidence=edge_steps,
    check=decay_alone_is_left,
    hint=(
        "Weight decay is added twice (as a term of the loss and by the optimizer), reaches norms "
        "and biases, or leaves out a layer: too little to be seen beside the loss's own gradient."
    ),
    explained_by=("loss-recomputed:loss", "update-is-adam", "gradient-of-loss"),
)


def far_outputs_are_trained_on(evidence: EdgeSteps) -> Outcome:
    """Require the same loss of outputs far from every label, and its gradient in the moments.

    Raises
    ------
    NotApplicableError
        If the system records no losses, or its outputs in training cannot be had.
    """
    if evidence.far is None:
        if not evidence.weights:
            return outcome([], 0, "")
        msg = "the system records no losses (Training.losses), or cannot be asked for outputs"
        raise NotApplicableError(msg)
    far = evidence.far
    found = loss_is_recomputed(far)
    # What is wrong with a usual step as well, is told by a promise of its own.
    violations, norm = (
        [v for v in found.violations if v.where.startswith("training loss")],
        far.norm,
    )
    applied = evidence.far_norm
    if not applied > 0:
        violations.append(Violation("gradient of outputs far off", "above 0", f"{applied:.3g}"))
    elif norm is not None and not math.isclose(applied, norm, rel_tol=GRADIENT_TOLERANCE):
        violations.append(
            Violation("gradient of outputs far off", f"norm {norm:.6g}, as checked",
                      f"{applied:.6g} in the moments")
        )  # fmt: skip
    outputs = [o for each in (far.outputs or {}).values() for o in each]
    size = max((float(np.abs(o).max()) for o in outputs), default=0.0)
    figures = f"outputs of up to {size:.4g}: {found.figures}, gradient of norm {applied:.4g}"
    return outcome(violations[:6], len(far.losses), figures, unseen=found.unseen)


FAR_OUTPUTS = Promise(
    id="far-outputs-trained",
    sentence="outputs far from every label have the same loss, and their gradient is applied",
    evidence=edge_steps,
    check=far_outputs_are_trained_on,
    further=("Training.losses",),
    hint=(
        "A cap, a clamp or a guard that a short run never meets: errors or log-variances are cut "
        "off, or a step of a large gradient is passed over in silence."
    ),
    explained_by=("loss-recomputed", "update-is-adam", "gradient-of-loss"),
)
