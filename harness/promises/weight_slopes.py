"""The gradient of every weight is a slope of the loss, of small weights as of large ones.

Along a whole gradient a small weight is lost among large ones. Here every weight is moved by as
much as moves the loss alike, many at a time, and fewer where the sum is not as it should be.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError, UnseenError
from harness.promises.bench import Bench
from harness.promises.candidates import instead
from harness.promises.gradients import (
    REPEATED,
    SHARES,
    Gradient,
    adam_slots,
    gradient_norm,
    gradient_of_first,
    gradient_of_loss,
)
from harness.promises.one_batch import one_batch_folder, one_batch_sections
from harness.promises.one_step import one_step, unsettle
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.samples import listed_samples
from harness.promises.slopes import Nudge, nearest_slope
from harness.promises.states import require_named
from harness.systems.declared import ADAM
from harness.systems.protocol import Arrays
from harness.wording import counted

__all__ = [
    "GRADIENT_OF_EACH_WEIGHT", "Probe", "WeightSlopes", "each_gradient_is_a_slope", "weight_slopes",
]  # fmt: skip

_SHARE = 1e-5
"""By which share of itself each weight moves the loss: a hundred times its rounding."""

_OTHER_SHARES = (2.5e-6, 4e-5)
"""Of a weight that is looked at alone, whose way may cross a kink of the loss."""

_FURTHEST = 1e-2
"""Of a weight's own norm: it is moved no further, however small its gradient."""

_TO_AND_FRO = 1e-2
"""Of a weight's usual size: how far an element without a gradient is moved."""

_NO_GRADIENT = 1e-4
"""Of the usual size of a weight's gradient: an element with less has none."""

_ALLOWED = 0.5
"""Of what one weight moves the loss by: how far a sum may be off. Kinks of twenty others were seen
to be 0.4 of it, and of fewer pixels 1.4, where half of them were within it."""

_SLOPE_TOLERANCE = 0.05
"""Relative error of the slope along a whole gradient, as of those of later steps."""

_MOST_TOGETHER, _GROUPS, _NAMED = 20, 6, 3
"""Weights that are moved together, groups of them at least to split into, and wrong ones sought."""


@dataclass(frozen=True)
class Probe:
    """A step that was repeated with some weights moved forth and back along their gradients.

    Attributes
    ----------
    names : tuple of str
        Of those weights.
    unit : float
        What each of them should move the loss by, or less where its gradient is small.
    expected : float
        What their gradients say that the loss changes by.
    forth, back, level : float
        Mean loss of the step with them moved, and as they are.
    """

    names: tuple[str, ...]
    unit: float
    expected: float
    forth: float
    back: float
    level: float

    @property
    def found(self) -> float:
        """What the loss changes by, in the middle of both ways."""
        return (self.forth - self.back) / 2

    @property
    def fits(self) -> bool:
        """Whether the loss changes as the gradients say, as far as kinks let it be told."""
        off = abs(self.found - self.expected)
        if len(self.names) == 1:
            nudge = Nudge(1.0, self.forth, self.back, self.level)
            off = min(off, abs(nearest_slope([nudge], self.expected) - self.expected))
        return off <= _ALLOWED * self.unit  # not of a NaN


@dataclass(frozen=True)
class WeightSlopes:
    """What was found of the gradients of a first step.

    Attributes
    ----------
    weights : int
        That have a gradient in its moments.
    probes : int
        Ways that were gone to look at them.
    wrong : sequence of Probe
        Of one weight each, that fits at no length.
    whole : tuple of (float, float), optional
        Norm of the whole gradient and slope along it, where some do not fit, both differ, and no
        other promise is about that: which of them is not looked for then.
    """

    weights: int
    probes: int
    wrong: Sequence[Probe]
    whole: tuple[float, float] | None = None


@needs("train", "state", "save", "restore", "describe", says=("slots",))
def weight_slopes(bench: Bench) -> WeightSlopes:
    """Repeat a first step with its weights moved along their gradients, many at a time.

    Where the whole gradient is no slope either, and no other promise is about that, it is not
    looked for which weights are wrong: a net whose gradients are stopped by design would take
    hundreds of steps.

    Raises
    ------
    NotApplicableError
        If no losses are recorded, or a restored run does not repeat its first step.
    """
    told = _is_told_of_the_whole(bench)
    folder = one_batch_folder(bench, "weight-slopes")
    count = len(listed_samples(folder / "train"))
    with bench.open(**one_batch_sections(bench, folder, count, micro=count)) as system:
        slots, rule = adam_slots(system), system.describe().update or ADAM
        require_named(system.state(), (n for k, v in slots.items() for n in (k, *v)), "slots")
        unsettle(system, slots)
        path, state = str(bench.folder / "weight-slopes-start"), system.state()
        start = {name: np.array(state[name]) for name in slots}
        system.save(path)
        straight = system.train(1, evaluate=False)
        after = system.state()
        moments = {name: np.array(after[m]) for name, (m, _) in slots.items()}
        gradient = gradient_of_loss(rule, gradient_of_first(rule, moments), start)

        def loss(moves: Arrays) -> float | None:
            system.restore(path)
            system.state({n: (start[n] + m).astype(start[n].dtype) for n, m in moves.items()})
            again = system.train(1, evaluate=False)
            same = bool(again.steps) and again.steps[0].archs == straight.steps[0].archs
            return float(np.mean(again.losses)) if same and again.losses else None

        once = float(np.mean(straight.losses)) if straight.losses else None
        level = None if once is None else loss({})
        if level is None or not math.isclose(level, once or 0.0, rel_tol=REPEATED):
            msg = "a restored run trains other archs, has another loss or records none"
            raise NotApplicableError(f"{msg}, so that its first step is not repeated")
        return _Ways(gradient, start, level, loss, told).looked()


def _is_told_of_the_whole(bench: Bench) -> bool:
    """Return whether gradient-of-loss is judged, which accuses whoever stops a gradient."""
    try:
        return bench.evidence(one_step).nudged is not None
    except (NotApplicableError, UnseenError):
        return False


@dataclass
class _Ways:
    """Goes along gradients forth and back, and counts how often."""

    gradient: Gradient
    start: Arrays
    level: float
    loss: Callable[[Arrays], float | None]
    told: bool = False
    """Whether another promise is about the whole gradient."""
    made: int = 0

    def looked(self) -> WeightSlopes:
        names, wrong = [*self.gradient], list[Probe]()
        together = max(_MOST_TOGETHER, -(-len(names) // _GROUPS))
        groups = [names[i : i + together] for i in range(0, len(names), together)]
        for group in groups:
            if len(wrong) >= _NAMED or (first := self._along(group, _SHARE)).fits:
                continue
            if not self.told and (whole := self._whole()) is not None:
                return WeightSlopes(len(names), self.made, [], whole)
            self.told = True  # or it fits: in both cases some weights alone are wrong
            wrong += itertools.islice(self._wrong(group, first), _NAMED - len(wrong))
        return WeightSlopes(len(names), self.made, wrong)

    def _whole(self) -> tuple[float, float] | None:
        """Return the norm of the gradient and the slope along all of it where both differ."""
        norm, nudges = gradient_norm(self.gradient), list[Nudge]()
        for share in SHARES:
            length = share * abs(self.level) / max(norm, 1e-300)
            moves = {n: g * (length / max(norm, 1e-300)) for n, g in self.gradient.items()}
            forth, back = self._there_and_back(moves)
            nudges.append(Nudge(length, forth, back, self.level))
        slope = nearest_slope(nudges, norm)
        told = math.isfinite(norm) and math.isfinite(slope)
        fits = math.isclose(slope, norm, rel_tol=_SLOPE_TOLERANCE)
        return (norm, slope) if told and not fits else None

    def _there_and_back(self, moves: Arrays) -> tuple[float, float]:
        self.made += 1
        forth, back = self.loss(moves), self.loss({n: -move for n, move in moves.items()})
        return math.nan if forth is None else forth, math.nan if back is None else back

    def _wrong(self, names: Sequence[str], probe: Probe) -> Iterator[Probe]:
        """Yield each weight of some that do not fit whose gradient is no slope, by halves."""
        if len(names) > 1:
            half = (len(names) + 1) // 2
            for part in (names[:half], names[half:]):
                if not (found := self._along(part, _SHARE)).fits:
                    yield from self._wrong(part, found)
            return
        others = [self._along(names, share) for share in _OTHER_SHARES]
        if not any(other.fits for other in others):
            yield probe

    def _along(self, names: Sequence[str], share: float) -> Probe:
        unit, moves = share * abs(self.level), dict[str, NDArray[np.float64]]()
        for name in names:
            moves[name] = _way(self.gradient[name], self.start[name], unit, len(moves))
        expected = math.fsum(float((self.gradient[n] * move).sum()) for n, move in moves.items())
        return Probe(tuple(names), unit, expected, *self._there_and_back(moves), self.level)


def _way(
    gradient: NDArray[np.float64], weight: NDArray[np.float64], unit: float, place: int
) -> NDArray[np.float64]:
    """Return a way along a gradient that moves the loss by `unit`, or less if it led far.

    Elements without a gradient are moved too, by turns up and down: the loss should not follow.
    """
    weight = np.asarray(weight, np.float64)
    norm = float(np.linalg.norm(gradient))
    size = max(float(np.sqrt(np.mean(np.square(weight)))), _LEAST)
    still = np.abs(gradient) <= _NO_GRADIENT * norm / math.sqrt(gradient.size)
    length = min(unit / max(norm, 1e-300), _FURTHEST * size * math.sqrt(weight.size))
    along = gradient * (length / max(norm, 1e-300))
    # Uneven steps, so that what is the same everywhere does not cancel; the same in each process.
    turns = np.cos(2.4 * np.arange(weight.size) + place).reshape(weight.shape)
    return np.where(still, _TO_AND_FRO * size * turns, along)


_LEAST = 1e-2
"""A usual size of weights that began at zero."""

_RATIOS: Mapping[str, float] = {
    "the step goes uphill": -1.0, "a hundred times that": 100.0, "ten times that": 10.0,
    "three times that": 3.0, "a third of that": 1 / 3, "a tenth of that": 0.1,
    "half of it": 0.5, "twice that": 2.0, "the loss does not depend on it": 0.0,
}  # fmt: skip


def each_gradient_is_a_slope(evidence: WeightSlopes) -> Outcome:
    """Require the loss to change along the gradient of every weight as that gradient says.

    Raises
    ------
    NotApplicableError
        If it does not along the whole gradient either: a gradient may be stopped by design, as RAFT
        stops it between its iterations.
    """
    if evidence.whole is not None:
        msg = (
            f"along its whole gradient, of norm {evidence.whole[0]:.4g}, the loss changes by "
            f"{evidence.whole[1]:.4g}: gradients are stopped by design, or gradient-of-loss tells"
        )
        raise NotApplicableError(msg)
    violations = [
        Violation(
            f"loss with {probe.names[0]} moved along its gradient",
            f"{probe.expected:.4g} more, as its gradient says",
            f"{probe.found:.4g} more{_instead(probe)}",
            "gradient",
        )
        for probe in evidence.wrong
    ]
    figures = (
        f"{counted(evidence.weights, 'weight')} moved the loss as their gradients say, "
        f"{counted(evidence.probes, 'way')} forth and back"
    )
    return outcome(violations, evidence.weights, figures)


def _instead(probe: Probe) -> str:
    if not abs(probe.expected) > _NO_GRADIENT * probe.unit:
        return ": it has hardly a gradient"
    return instead(probe.found / probe.expected, _RATIOS, rel_tol=0.1)


GRADIENT_OF_EACH_WEIGHT = Promise(
    id="gradient-of-each-weight",
    sentence="the loss changes along the gradient of every weight as that gradient says",
    evidence=weight_slopes,
    check=each_gradient_is_a_slope,
    further=("Training.losses",),
    hint=(
        "One weight's gradient is another: scaled, masked, exchanged with its neighbour's or "
        "detached in a place, which is too small to be seen along the whole gradient. Where it is "
        "stopped there by design, `known_defects` says so."
    ),
    explained_by=("gradient-of-loss", "loss-recomputed:loss", "update-is-adam:gradient"),
)
