"""Two epochs walked step by step: what each step moved, the partial one and the last included."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.archs import array_of
from harness.errors import NotApplicableError
from harness.promises.arch_codes import options_run, require_codes, space_of
from harness.promises.bench import Bench
from harness.promises.gradients import (
    REPEATED,
    SHARES,
    Gradient,
    adam_slots,
    gradient_between,
    gradient_norm,
    update_slots,
)
from harness.promises.left_gradients import AfterAnother, after_another_first_step
from harness.promises.modes import statistics_of_every_step
from harness.promises.option_arrays import arrays_of_options
from harness.promises.own_slopes import no_slope
from harness.promises.promise import needs, require_seen
from harness.promises.recorded_run import planned_sizes, rate_in_plan
from harness.promises.slices import parts_of, put, unshared
from harness.promises.slopes import Nudge
from harness.promises.states import other_kernel, require_named
from harness.promises.update_rules import Moved
from harness.records.records import StepRecord
from harness.systems.declared import ADAM, UpdateRule
from harness.systems.protocol import Arrays, Description, System, Training

__all__ = ["Turned", "Walk", "WalkedStep", "mean_loss", "walk"]

_NO_CLIP = 1e9

Moments = tuple[Arrays, Arrays]


@dataclass(frozen=True)
class Turned:
    """A step that was repeated with other kernels in place of those that one arch runs alone.

    Attributes
    ----------
    archs : tuple of str
        As the step logs them, in order.
    kernels : tuple of str
        Those that were changed.
    runs : tuple of bool
        For each arch, whether it runs one of them.
    before, after : tuple of float
        Mean loss of each arch without the change and with it.
    """

    archs: tuple[str, ...]
    kernels: tuple[str, ...]
    runs: tuple[bool, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True)
class WalkedStep:
    """One training step, from outside.

    Attributes
    ----------
    epoch, step : int
        Both from 1.
    number : int
        Steps of the run so far, this one included.
    size : int
        Samples of its batch.
    lr : float
        Learning rate that is planned for it.
    before, after : mapping of str to numpy.ndarray
        Weights.
    old, new : pair of mapping
        Both moments before and after it, by weight; of SGD its buffer twice.
    nudges : sequence of Nudge or None
        Of two lengths; None where it was not repeated, or does not repeat itself.
    turned : Turned or None
        The same step with other kernels; None where that says nothing of its archs.
    rule : UpdateRule or None
        By which a gradient becomes a step, as the system declares. None: it does not.
    followed : frozenset of str
        Moving statistics that it has changed, of those that are of no option.
    numbers : mapping of str to int
        How many steps each weight has had, this one included, without those that passed it over.
    """

    epoch: int
    step: int
    number: int
    size: int
    lr: float
    before: Arrays
    after: Arrays
    old: Moments
    new: Moments
    nudges: Sequence[Nudge] | None = None
    turned: Turned | None = None
    rule: UpdateRule | None = None
    followed: frozenset[str] = frozenset()
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def by(self) -> UpdateRule:
        """The declared rule, else Adam."""
        return self.rule or ADAM

    @property
    def gradient(self) -> Gradient:
        """What the first moment took in, of Adam ``m = 0.9 m' + 0.1 G``."""
        return gradient_between(self.by, self.old[0], self.new[0])

    @property
    def moved(self) -> Moved:
        """What moved the weights."""
        return Moved(
            self.by, self.lr, self.number, self.before, self.after, self.new,
            dict(self.gradient), self.old, self.numbers,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The step in words."""
        samples = "1 sample" if self.size == 1 else f"{self.size} samples"
        return f"step {self.step} of epoch {self.epoch} ({samples})"


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
    if "steps" in about.supports or bench.setting:  # a step is repeated there, or was
        return found
    first, second = found.steps[:2]
    left = after_another_first_step(
        lambda: bench.open_cheaply({"eval_batches_per_arch": 1}, train=free),
        first.by, update_slots(about), between, (first.gradient, second.gradient),
    )  # fmt: skip
    return replace(found, left=left)


def _walked(bench: Bench, system: System, *, once: str) -> tuple[Walk, Arrays]:
    """Return the walk, and the whole state after its first step."""
    slots, sizes = adam_slots(system), planned_sizes(bench.config, bench.describe())
    begin = system.state()
    require_named(begin, (n for k, v in slots.items() for n in (k, *v)), "slots")
    epochs = int(bench.config["train"]["num_epochs"])
    places = list(itertools.product((1, 2), range(1, len(sizes) + 1)))
    # Of the first step another promise makes sure; a partial batch comes last.
    repeated = set() if once else {(2, len(sizes)), (2, (len(sizes) + 1) // 2)}
    if bench.setting:  # a middle step was repeated under the gate's own setting
        repeated = repeated & {(2, len(sizes))}
    steps, rates, done, modes = [], [], list[tuple[WalkedStep, Training]](), False
    statistics = statistics_of_every_step(system.describe(), list(begin))
    between: Arrays = {}
    numbers = dict.fromkeys(slots, 0)
    state = _copied(begin, slots, statistics)
    for number, (epoch, step) in enumerate(places, start=1):
        if (epoch, step) in repeated:
            system.save(str(bench.folder / f"walk-{number}"))
        run = system.train(epoch, steps=1, evaluate=False)
        require_seen(run.steps, "no training step was recorded (Training.steps)")
        _require_place(run.steps, epoch, step)
        then = _copied(system.state(), slots, statistics)
        modes = modes or bool(run.modes)
        walked = WalkedStep(
            epoch, step, number, sizes[step - 1],
            rate_in_plan(bench, run.steps[0], planned=len(sizes), epochs=epochs),
            _weights(state, slots), _weights(then, slots), _moments(state, slots),
            _moments(then, slots), rule=bench.describe().update,
            followed=frozenset(n for n in statistics if not np.array_equal(state[n], then[n])),
        )  # fmt: skip
        numbers = {n: count + (n not in walked.moved.passed_over) for n, count in numbers.items()}
        walked = replace(walked, numbers=numbers)
        steps.append(walked)
        rates.append(walked.lr)
        if (epoch, step) in repeated:
            done.append((walked, run))
        state = then
        between = between or {n: np.array(array) for n, array in system.state().items()}
    nudged = {w.number: _nudges(bench, system, w, run) for w, run in done}
    turned = {w.number: _turned(bench, system, w, r) for w, r in done if nudged[w.number]}
    found = (replace(s, nudges=nudged.get(s.number), turned=turned.get(s.number)) for s in steps)
    none = "a restored run trains other archs, has another loss or records none"
    nothing = once or ("" if any(nudged.values()) else none)
    optional = _optional(system.describe(), list(begin)) & slots.keys()
    return Walk(tuple(found), tuple(rates), nothing, modes, optional), between


def _optional(about: Description, names: Sequence[str]) -> frozenset[str]:
    """Return what options run of a space that is not sampled in fair cycles."""
    if not about.options or about.space is None or about.space.sampling == "fair":
        return frozenset()
    arrays = arrays_of_options(about, names)
    return frozenset(array_of(n) for block in arrays for entries in block for n in entries)


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


def _turned(bench: Bench, system: System, step: WalkedStep, straight: Training) -> Turned | None:
    """Repeat a step with other kernels in place of those that one of its archs runs alone."""
    options, archs = system.describe().options, straight.steps[0].archs
    before = _losses_by_arch(straight)
    if not options or not archs or before is None:
        return None
    space = space_of(system.describe())
    require_codes(archs, space, what="a step logs")
    system.restore(str(bench.folder / f"walk-{step.number}"))
    state = system.state()
    runs = [
        parts_of(
            (n for b, option in enumerate(options_run(arch, space)) for n in options[b][option]),
            state,
        )
        for arch in archs
    ]
    # Options of depth share kernels: those that one arch alone runs tell it from the others.
    alone = [unshared(mine, (*runs[:i], *runs[i + 1 :])) for i, mine in enumerate(runs)]
    most = max(alone, key=len)
    # One of zeros would become another, whose decay is in the loss of every arch.
    kernels = tuple(name for name in sorted(most) if np.any(state[name][most[name]]))
    if not kernels:
        return None
    turned = ((n, other_kernel(state[n], place)) for place, n in enumerate(kernels))
    system.state({n: put(state[n], most[n], other) for n, other in turned})
    again = system.train(step.epoch, steps=1, evaluate=False)
    after = _losses_by_arch(again)
    if after is None or again.steps[0].archs != archs:
        return None
    hit = tuple(
        any(n in mine and bool((mine[n] & most[n]).any()) for n in kernels) for mine in runs
    )
    return Turned(archs, kernels, hit, before, after)


def _losses_by_arch(run: Training) -> tuple[float, ...] | None:
    """Return the mean loss of each arch of one step, archs outermost; None where there is none."""
    count = len(run.steps[0].archs) if run.steps else 0
    if not count or not run.losses or len(run.losses) % count:
        return None
    each = len(run.losses) // count
    return tuple(math.fsum(run.losses[i * each : (i + 1) * each]) / each for i in range(count))


def mean_loss(run: Training, size: int, micro: int) -> float | None:
    """Return a step's mean loss over its samples; None where the losses recorded do not tell.

    Parameters
    ----------
    run : Training
        One step.
    size, micro : int
        Samples of its batch and of a full micro-batch.
    """
    archs, losses = len(run.steps[0].archs), run.losses
    pieces = [min(micro, size - start) for start in range(0, size, micro)]
    if archs and len(losses) == archs * len(pieces):
        weighed = (loss * n for loss, n in zip(losses, pieces * archs, strict=True))
        return math.fsum(weighed) / (size * archs)
    return math.fsum(losses) / archs if archs and len(losses) == archs else None


def _nudges(
    bench: Bench, system: System, step: WalkedStep, straight: Training
) -> tuple[Nudge, ...] | None:
    """Return the step's losses with the weights moved along its gradient; None without any.

    That is so of a system that, restored, does not repeat the step.
    """
    train, fixed = bench.config["train"], bench.describe().settings
    micro = fixed.get("train.micro_batch_size", train.get("micro_batch_size")) or step.size
    path, gradient = str(bench.folder / f"walk-{step.number}"), step.gradient

    def loss(way: float = 0.0) -> float | None:
        system.restore(path)
        if way:
            moved = {n: (step.before[n] + way * g).astype(np.float32) for n, g in gradient.items()}
            system.state(moved)
        again = system.train(step.epoch, steps=1, evaluate=False)
        same = bool(again.steps) and again.steps[0].archs == straight.steps[0].archs
        return mean_loss(again, step.size, micro) if same else None

    once, level = mean_loss(straight, step.size, micro), loss()
    if once is None or level is None or not math.isclose(once, level, rel_tol=REPEATED):
        return None
    norm, found = max(gradient_norm(gradient), 1e-12), []
    for share in SHARES:
        length = share * level / norm
        forth, back = loss(length / norm), loss(-length / norm)
        if forth is None or back is None:
            return None
        found.append(Nudge(length, forth, back, level))
    return tuple(found)
