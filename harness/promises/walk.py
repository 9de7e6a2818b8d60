"""Two epochs walked step by step: what each step moved, the partial one and the last included."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.gradients import adam_slots
from harness.promises.left_gradients import AfterAnother, after_another_first_step
from harness.promises.modes import statistics_of_every_step
from harness.promises.option_arrays import may_rest
from harness.promises.own_slopes import no_slope
from harness.promises.promise import needs, require_seen
from harness.promises.recorded_run import planned_sizes, rate_in_plan
from harness.promises.repeated_steps import nudged, saved_before, turned
from harness.promises.states import require_named
from harness.promises.walked_step import Moments, Turned, WalkedStep
from harness.records.records import StepRecord
from harness.systems.protocol import Arrays, System, Training

__all__ = ["Turned", "Walk", "WalkedStep", "walk"]

_NO_CLIP = 1e9


@dataclass(frozen=True)
class Walk:
    """Every step of two epochs, and the planned learning rate of each."""

    steps: tuple[WalkedStep, ...]
    rates: tuple[float, ...]
    nudged: str = ""
    """Why no step was repeated; empty where some were."""
    modes: bool = False
    """Whether the system tells in which mode its modules were."""
    optional: frozenset[str] = frozenset()
    """Weights of options that a step draws by a rule of the system's own, so that it may not."""
    left: AfterAnother | None = None
    """The second step behind another first one, of a system that repeats no step."""


@needs("train", "state", "save", "restore", "describe", says=("slots", "supports: stops"))
def walk(bench: Bench) -> Walk:
    """Train two epochs step by step, in batches and micro-batches of uneven sizes."""
    about = bench.describe()
    if about.supports.isdisjoint(("steps", "stops")):
        msg = "the system cannot stop within an epoch (Description.supports: stops, or steps)"
        raise NotApplicableError(msg)
    free = bench.settable("train", {"grad_clip_global_norm": _NO_CLIP})
    with bench.open_cheaply({"eval_batches_per_arch": 1}, train=free) as system:
        why = "" if free else "the system clips at one norm alone"
        why = no_slope(about.clip, about.loss) or why
        if "steps" not in about.supports:
            why = "the system does not resume within an epoch (Description.supports: steps)"
        found, between = _walked(bench, system, once=why)
        slots = adam_slots(system)  # a system that is not open may not know its weights yet
    if "steps" in about.supports or bench.setting:  # a step is repeated there, or was
        return found
    first, second = found.steps[:2]
    left = after_another_first_step(
        lambda: bench.open_cheaply({"eval_batches_per_arch": 1}, train=free),
        first.by, slots, between, (first.gradient, second.gradient),
    )  # fmt: skip
    return replace(found, left=left)


def _walked(bench: Bench, system: System, *, once: str) -> tuple[Walk, Arrays]:
    """Return the walk, and the whole state after its first step."""
    slots, sizes = adam_slots(system), planned_sizes(bench.config, bench.describe())
    begin = system.state()
    require_named(begin, (n for k, v in slots.items() for n in (k, *v)), "slots")
    statistics = statistics_of_every_step(system.describe(), list(begin))
    epochs = int(bench.config["train"]["num_epochs"])
    repeated = set() if once else _steps_to_repeat(bench, len(sizes))
    steps, done, modes = list[WalkedStep](), list[tuple[WalkedStep, Training]](), False
    between: Arrays = {}
    numbers, rests = dict.fromkeys(slots, 0), may_rest(system.describe(), list(begin))
    state = _copied(begin, slots, statistics)
    for number, (epoch, step) in enumerate(_places(len(sizes)), start=1):
        if (epoch, step) in repeated:
            system.save(saved_before(bench, number))
        run = system.train(epoch, steps=1, evaluate=False)
        require_seen(run.steps, "no training step was recorded (Training.steps)")
        _require_place(run.steps, epoch, step)
        whole = system.state()
        then = _copied(whole, slots, statistics)
        between = between or {name: np.array(array) for name, array in whole.items()}
        modes = modes or bool(run.modes)
        walked = WalkedStep(
            epoch, step, number, sizes[step - 1],
            rate_in_plan(bench, run.steps[0], planned=len(sizes), epochs=epochs),
            _weights(state, slots), _weights(then, slots), _moments(state, slots),
            _moments(then, slots), rule=bench.describe().update,
            followed=frozenset(n for n in statistics if not np.array_equal(state[n], then[n])),
            rests=rests,
        )  # fmt: skip
        numbers = {n: count + (n not in walked.moved.passed_over) for n, count in numbers.items()}
        walked = replace(walked, numbers=numbers)
        steps.append(walked)
        done += [(walked, run)] if (epoch, step) in repeated else []
        state = then
    rates = tuple(walked.lr for walked in steps)
    found = Walk(tuple(steps), rates, once, modes, (rests or frozenset()) & slots.keys())
    return _with_repeats(bench, system, found, done), between


def _places(steps: int) -> Iterator[tuple[int, int]]:
    """Return epoch and step of each step of two epochs."""
    return itertools.product((1, 2), range(1, steps + 1))


def _steps_to_repeat(bench: Bench, steps: int) -> set[tuple[int, int]]:
    """Return epoch and step of those to repeat: a middle one, and the last, which may be partial.

    Of the first step another promise makes sure.
    """
    # Under another setting than the gate's own a middle step was repeated there.
    return {(2, steps)} if bench.setting else {(2, steps), (2, (steps + 1) // 2)}


def _with_repeats(
    bench: Bench, system: System, found: Walk, done: Sequence[tuple[WalkedStep, Training]]
) -> Walk:
    """Add what steps give that are made again, each behind all of the walk."""
    nudges = {step.number: nudged(bench, system, step, run) for step, run in done}
    others = {s.number: turned(bench, system, s, run) for s, run in done if nudges[s.number]}
    steps = (
        replace(s, nudges=nudges.get(s.number), turned=others.get(s.number)) for s in found.steps
    )
    none = "a restored run trains other archs, has another loss or records none"
    nothing = found.nudged or ("" if any(nudges.values()) else none)
    return replace(found, steps=tuple(steps), nudged=nothing)


def _require_place(records: Sequence[StepRecord], epoch: int, step: int) -> None:
    found = [(record.epoch, record.step) for record in records]
    if found != [(epoch, step)]:
        msg = f"train(steps=1) made the steps {found}, expected epoch {epoch}, step {step} alone"
        raise NotApplicableError(msg)


def _copied(
    state: Arrays, slots: Mapping[str, tuple[str, str]], more: Iterable[str]
) -> dict[str, NDArray[Any]]:
    # Copies: a system may hand out the arrays that it goes on to change.
    names = (name for weight, pair in slots.items() for name in (weight, *pair))
    return {name: np.array(state[name]) for name in (*names, *more)}


def _weights(state: Arrays, slots: Mapping[str, tuple[str, str]]) -> Arrays:
    return {weight: state[weight] for weight in slots}


def _moments(state: Arrays, slots: Mapping[str, tuple[str, str]]) -> Moments:
    first = {weight: state[m] for weight, (m, _) in slots.items()}
    return first, {weight: state[v] for weight, (_, v) in slots.items()}
