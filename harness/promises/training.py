"""Training moves everything, stays finite, stops at a NaN, and does not notice being watched."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.errors import NotApplicableError, plain_line
from harness.promises.bench import Bench
from harness.promises.candidates import order_instead
from harness.promises.idle_vectors import idle_vectors
from harness.promises.modes import (
    Mode,
    left_in_evaluation,
    modes_of_steps,
    statistics_of_every_step,
    statistics_stand_still,
)
from harness.promises.option_arrays import arrays_not_drawn
from harness.promises.promise import (
    Digests,
    Outcome,
    Promise,
    Violation,
    differences,
    grouped_differences,
    needs,
    outcome,
    require_seen,
)
from harness.promises.recorded_run import joined
from harness.promises.refusals import names_word, whose_finite_check
from harness.promises.states import CUT, END, START, a_kernel, require_named
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import Arrays, System, Training, digests_of
from harness.wording import counted

__all__ = [
    "ALL_FINITE", "NAN_STOPS", "TRAINING_MOVES", "TRAIN_UNOBSERVED", "FiniteEvidence", "Moves",
    "PlantedNan", "TwoWays", "everything_is_finite", "finite", "moves", "planted_nan",
    "planted_nan_stops", "same_training", "training_moves_everything", "with_and_without",
]  # fmt: skip


@dataclass(frozen=True)
class TwoWays:
    """The same training done in two ways that must not differ.

    ``kind`` is that of whatever differs, where it is known what it is due to.
    """

    one: str
    other: str
    states: tuple[Digests, Digests]
    trainings: tuple[Training, Training]
    kind: str = ""


@needs("train", "state", "save", "restore")
def with_and_without(bench: Bench) -> TwoWays:
    """Train again from the start, without evaluation and without observers.

    Where it ends elsewhere, train once more with both: what differs then too was not restored.
    """
    trained = bench.trained
    with bench.at(START) as system:
        bare = system.train(2, evaluate=False, observe=False)
        state = _weights(digests_of(system))
    ways, kind = (_weights(trained.end_state), state), ""
    if ways[0] != ways[1]:
        with bench.at(START) as system:
            system.train(2)
            kind = _INTERFERES if _weights(digests_of(system)) == ways[0] else ""
    return TwoWays(
        "with evaluation and diagnostics", "without", ways,
        (joined(trained.first, trained.second), bare), kind,
    )  # fmt: skip


_INTERFERES = "interferes"
"""Kind of a difference that an evaluation, or who looks on, makes."""


def _weights(state: Mapping[str, str]) -> dict[str, str]:
    """Leave out the counters: without evaluation there is no best metric."""
    return {name: digest for name, digest in state.items() if not name.startswith("progress/")}


def same_training(evidence: TwoWays) -> Outcome:
    """Require equal weights and draws from two ways of training that must not differ."""
    one, other = (dict(state) for state in evidence.states)
    violations = _digest_differences(one, other, f"{evidence.one} against {evidence.other}:")
    drawn = [tuple(s.batch for s in t.steps) for t in evidence.trainings if t.steps]
    if len(drawn) == 2 and drawn[0] != drawn[1]:
        what = f"others{order_instead(*drawn)}"
        violations.append(Violation("training batches", "the same draws", what))
    violations = [dataclasses.replace(v, kind=v.kind or evidence.kind) for v in violations]
    figures = f"{counted(len(one), 'array')} bit-identical: {evidence.one} and {evidence.other}"
    steps = sum(len(training.steps) for training in evidence.trainings)
    unseen = "" if one and steps else "no array or no training step (Training.steps) to compare"
    return outcome(violations, min(len(one), steps), figures, unseen=unseen)


def _digest_differences(one: Digests, other: Digests, what: str) -> list[Violation]:
    """Return how batches or arrays differ: batches have an order, arrays have a kind."""
    if not all(name.startswith("batch ") for name in one):
        return grouped_differences(one, other, what=what)
    found = differences(one, other, what=what)
    order = order_instead([*one.values()], [*other.values()])
    return [dataclasses.replace(v, found=f"{v.found}{order}") for v in found[:1]] + found[1:]


TRAIN_UNOBSERVED = Promise(
    id="train-unobserved",
    sentence="evaluation and diagnostics do not change what is learnt",
    evidence=with_and_without,
    check=same_training,
    hint="Training with evaluation and logging ends elsewhere than without: they interfere.",
    # A checkpoint that is not complete has no part in what is other without an evaluation alone.
    explained_by=("eval-pure:state", "eval-pure:other each time", "checkpoint-complete"),
)


@dataclass(frozen=True)
class Moves:
    """State digests before and after training, and what was trained in between.

    Attributes
    ----------
    between : mapping of str to str
        After the first of two epochs and its evaluation; empty: not looked at.
    statistics : frozenset of str
        Moving statistics that every step moves.
    modes : sequence of Mode
        In which the modules of each step were; empty where the system does not tell.
    frozen : frozenset of str
        What training leaves as it is by design, as the system declares.
    undrawn : frozenset of str
        What only options run that no step drew, or may have drawn, where steps draw them freely.
    idle : frozenset of str
        Vectors that stayed as they were, and that no loss depends on: biases that a normalisation
        takes out again, whose gradient is what rounding makes of zero.
    """

    before: Digests
    after: Digests
    between: Digests = field(default_factory=dict)
    statistics: frozenset[str] = frozenset()
    modes: Sequence[Mode] = ()
    frozen: frozenset[str] = frozenset()
    undrawn: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()


@needs("train", "state", "save")
def moves(bench: Bench) -> Moves:
    """Hold the state after training against the state before, and that between two epochs."""
    trained = bench.trained
    names = statistics_of_every_step(trained.description, list(trained.start_state))
    modes = modes_of_steps(joined(trained.first, trained.second))
    about, start = trained.description, trained.start_state
    require_named(start, (n for n in about.frozen if not set("*?[") & set(n)), "frozen")
    frozen = frozenset(name for name in start if about.is_frozen(name))
    return Moves(
        start, trained.end_state, trained.cut_state, names, modes, frozen,
        arrays_not_drawn(about, list(start), joined(trained.first, trained.second)),
        idle_vectors(bench, [n for n, old in start.items() if trained.end_state.get(n) == old]),
    )  # fmt: skip


def training_moves_everything(evidence: Moves) -> Outcome:
    """Require every weight, statistic and optimizer slot changed by training.

    Weight decay reaches all kernels and strict fairness trains all options, so nothing may
    stay where it was. Statistics that move in the first epoch move in the second too: an
    evaluation puts a net into evaluation mode, and who trains on puts it back.
    """
    still = [name for name, old in evidence.before.items() if evidence.after.get(name) == old]
    moved = len(evidence.before) - len(still)
    kept = evidence.frozen
    passed = kept | evidence.undrawn | evidence.idle
    still = [name for name in still if not name.startswith("progress/") and name not in passed]
    violations = [
        Violation(f"{name} after training", "another value", "unchanged") for name in still
    ]
    violations += [
        Violation(f"{name} after training", "unchanged, frozen as declared", "another value")
        for name in sorted(kept)
        if evidence.after.get(name) != evidence.before[name]
    ]
    if evidence.modes:  # who freezes a part of a net stops its statistics by design
        violations += left_in_evaluation(evidence.modes)
    else:
        states = evidence.before, evidence.between, evidence.after
        violations += statistics_stand_still(states, evidence.statistics)
    figures = f"{moved} of {counted(len(evidence.before), 'array')} moved"
    figures += f", {len(kept)} frozen as declared" * bool(kept)
    return outcome(violations[:6], moved, figures)


TRAINING_MOVES = Promise(
    id="training-moves",
    sentence="training changes every weight, statistic and optimizer slot",
    evidence=moves,
    check=training_moves_everything,
    hint=(
        "What does not move is not trained: an update that is not applied, an option that is "
        "never chosen, or a net that stays in evaluation mode (PyTorch: no model.train() after a "
        "validation). What stays as it is by design is declared: describe()['frozen']."
    ),
    explained_by=("gradient-everywhere", "update-is-adam", "moving-statistics"),
)


@dataclass(frozen=True)
class FiniteEvidence:
    """Named numbers that must all be finite: weights, gradients, statistics, scores."""

    groups: Mapping[str, Arrays]


@needs("state", "train", "evaluate")
def finite(bench: Bench) -> FiniteEvidence:
    """Collect every number that training, recalibration and evaluation left behind."""
    trained = bench.trained
    run = joined(trained.first, trained.second)
    with bench.at(END) as system:
        scores = system.evaluate()
        require_seen(scores.archs, "no arch was scored")
        recal, state = _statistics(system, scores.archs[-1]), system.state()
    stats: Arrays = {
        f"{unit}/{name}": values[i]
        for unit, values in recal.items()
        for i, name in enumerate(("mean", "variance"))
    }
    norms = np.asarray([[check.before, check.after] for check in run.checks])
    return FiniteEvidence(
        {
            "state": state,
            "gradient norms": {"checks": norms},
            "losses": {"micro-batches": np.asarray(run.losses)},
            "statistics": stats,
            "scores": {arch: np.asarray(epe) for arch, epe in scores.per_sample.items()},
        }
    )


def _statistics(system: System, arch: str) -> Mapping[str, Any]:
    """Return an arch's recalibrated statistics; none of a system that does not recalibrate."""
    if "recalibrate" not in system.describe().can:
        return {}
    try:
        return system.recalibrate(arch).stats
    except NotApplicableError:
        return {}


def everything_is_finite(evidence: FiniteEvidence) -> Outcome:
    """Require no NaN and no Inf anywhere."""
    violations, seen = [], 0
    for group, arrays in evidence.groups.items():
        for name, array in arrays.items():
            values = np.asarray(array)
            if values.dtype.kind != "f":
                continue
            seen += values.size
            if not np.isfinite(values).all():
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                where = f"{group} {name}, at {place}"
                violations.append(Violation(where, "a finite number", str(values[place])))
    figures = f"{counted(seen, 'number')} in {', '.join(evidence.groups)}"
    return outcome(violations[:6], seen, figures)


ALL_FINITE = Promise(
    id="all-finite",
    sentence="no NaN or Inf in weights, gradients, statistics or scores",
    evidence=finite,
    check=everything_is_finite,
    hint="Find the first step at which the value appeared in the ledger.",
)


@dataclass(frozen=True)
class PlantedNan:
    """What happened when training met a planted NaN.

    Attributes
    ----------
    note : str
        Whose check it is, where it is not the trainer's.
    spread : sequence of str
        Names of everything that is NaN where it stopped: by then a step may have been made.
    """

    variable: str
    error: str | None
    message: str
    note: str = ""
    spread: Sequence[str] = ()


@needs("state", "train", "save", "restore")
def planted_nan(bench: Bench) -> PlantedNan:
    """Plant a NaN in one kernel and try to train on."""
    note = whose_finite_check(bench.describe(), "train")
    with bench.at(CUT) as system:
        state = system.state()
        name = a_kernel(state)
        poisoned = np.array(state[name])
        poisoned.flat[poisoned.size // 2] = np.nan
        system.state({name: poisoned})
        try:
            system.train(2, evaluate=False)
        except (AnswerError, NotApplicableError, WorkerError):
            raise  # not the system's refusal
        except Exception as error:  # noqa: BLE001 -- whatever a system raises is the evidence
            found = PlantedNan(name, type(error).__name__, str(error), note)
            if names_word(found.message, name):
                return found
            return dataclasses.replace(found, spread=_not_a_number(system.state()))
    return PlantedNan(name, None, "training went on")


def _not_a_number(state: Arrays) -> list[str]:
    """Return the names of arrays that hold a NaN."""
    return [n for n, a in state.items() if np.asarray(a).dtype.kind == "f" and np.isnan(a).any()]


def planted_nan_stops(evidence: PlantedNan) -> Outcome:
    """Require that training with a NaN planted in a weight stops and names the weight."""
    violations = []
    if evidence.error is None:
        violations.append(
            Violation(f"training with NaN in {evidence.variable}", "a stop", "it went on")
        )
    elif not any(names_word(evidence.message, n) for n in (evidence.variable, *evidence.spread)):
        violations.append(
            Violation("the error's message", f"the name {evidence.variable}",
                      plain_line(evidence.message))
        )  # fmt: skip
    notes = (evidence.note,) if evidence.note and not violations else ()
    found = outcome(violations, 1, f"NaN in {evidence.variable}: {evidence.error}", notes)
    return dataclasses.replace(found, detail=evidence.message if violations else "")


NAN_STOPS = Promise(
    id="nan-stops",
    sentence="a NaN planted in a weight stops the run and is named",
    evidence=planted_nan,
    check=planted_nan_stops,
    hint="A run that trains on after a NaN wastes every hour that follows.",
)
