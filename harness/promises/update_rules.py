"""What an optimizer's rule makes of a gradient, and the decay that weights moved by beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.promise import Violation
from harness.systems.declared import UpdateRule
from harness.systems.protocol import Arrays
from harness.wording import counted

__all__ = ["NAMES", "Moved", "bias_correction", "decay_beside", "planned_moves"]

NAMES = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
"""Of the rules that are known."""


@dataclass(frozen=True)
class Moved:
    """A step of the weights, and what it was made of.

    Attributes
    ----------
    rule : UpdateRule
        By which it should be made.
    lr : float
        Learning rate.
    number : int
        Of the step in its run, from 1.
    before, after : mapping of str to numpy.ndarray
        Weights.
    moments : pair of mapping
        After the step, by weight; of SGD its buffer twice.
    gradient : mapping of str to numpy.ndarray
        What the first moment took in.
    old : pair of mapping
        Moments before the step; empty where they are not looked at.
    numbers : mapping of str to int
        How many steps each weight has had, this one included, of those that were passed over.
    rests : frozenset of str or None, default none
        Weights that a step may pass over; None: any.
    """

    rule: UpdateRule
    lr: float
    number: int
    before: Arrays
    after: Arrays
    moments: tuple[Arrays, Arrays]
    gradient: Arrays
    old: tuple[Arrays, Arrays] = ({}, {})
    numbers: Mapping[str, int] = field(default_factory=dict)
    rests: frozenset[str] | None = frozenset()

    @property
    def passed_over(self) -> frozenset[str]:
        """Weights that have no part in the step: they and their moments are the same as before.

        PyTorch passes over a weight that has no gradient, as Keras does.
        """
        if not self.old[0]:
            return frozenset()
        pairs = ((self.before, self.after), *zip(self.old, self.moments, strict=True))
        names = self.moments[0] if self.rests is None else self.rests & self.moments[0].keys()
        return frozenset(n for n in names if all(np.array_equal(a[n], b[n]) for a, b in pairs))

    @property
    def moves(self) -> dict[str, NDArray[np.float64]]:
        """What each weight moved by, downhill."""
        return {n: np.asarray(w, np.float64) - self.after[n] for n, w in self.before.items()}


def bias_correction(rule: UpdateRule, step: int) -> float:
    """Return Adam's bias correction of a step, from 1."""
    return math.sqrt(1 - rule.betas[1] ** step) / (1 - rule.betas[0] ** step)


def planned_moves(
    step: Moved, *, corrected: bool = False, decayed: bool = True, own_number: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Return by weight what the rule moves it by, from the moments after the step.

    Parameters
    ----------
    corrected : bool, default False
        Whether Adam's epsilon is added to the corrected second moment, as PyTorch does and Kingma
        and Ba (2015) write it first, and not as TensorFlow does.
    decayed : bool, default True
        With the decay that goes around the moments, where the rule has one.
    own_number : bool, default False
        Whether a weight's bias correction counts its own steps alone, as PyTorch does, and not
        those that passed it over, too, as TensorFlow does.
    """
    still, own = step.passed_over, dict[str, NDArray[np.float64]]()
    for name in step.moments[0]:
        number = step.numbers.get(name, step.number) if own_number else step.number
        own[name] = (
            np.zeros(np.shape(step.before[name]))
            if name in still
            else _own_move(step, name, number, corrected=corrected)
        )
    if not (decayed and step.rule.decoupled):
        return own
    return {
        name: move + step.lr * step.rule.decay_of(name) * np.asarray(step.before[name], np.float64)
        if name not in still
        else move
        for name, move in own.items()
    }


def _own_move(step: Moved, name: str, number: int, *, corrected: bool) -> NDArray[np.float64]:
    rule, first = step.rule, np.asarray(step.moments[0][name], np.float64)
    if rule.rule == "sgd":
        ahead = np.asarray(step.gradient[name], np.float64) + rule.momentum * first
        return np.asarray(step.lr * (ahead if rule.nesterov else first), np.float64)
    epsilon = rule.eps * math.sqrt(1 - rule.betas[1] ** number) if corrected else rule.eps
    root = np.sqrt(np.maximum(np.asarray(step.moments[1][name], np.float64), 0))
    rate = step.lr * bias_correction(rule, number)
    return np.asarray(rate * first / (root + epsilon), np.float64)


_SURE = 8.0
"""Standard errors by which a fitted decay must be off to be another one."""

_SHARE = 0.05
"""Relative error of a decay that is its own, whatever rounding has made of it."""

_ROUNDED = 6e-8
"""Of lr times decay: ``1 - lr * decay`` in float32 is a multiple of this away from 1."""


def decay_beside(step: Moved, where: str) -> tuple[list[Violation], str]:
    """Hold the decay that weights moved by, beside their step, against the declared one.

    A decay is a small share of a step of Adam's, so that no distance of steps tells of it: over
    all weights together it is fitted by least squares, beside the length of the step.

    Returns
    -------
    tuple of (list of Violation, str)
        What is wrong, and what could not be told, in words.
    """
    groups: dict[float, list[str]] = {}
    still = step.passed_over
    for name in (n for n in step.moments[0] if n not in still):
        groups.setdefault(step.rule.decay_of(name), []).append(name)
    violations, untold = list[Violation](), ""
    for declared, names in groups.items():
        wanted = declared if step.rule.decoupled else 0.0
        found, allowed = _fitted(step, names, declared)
        if not abs(found - wanted) <= allowed:
            # Each weight by itself, as far as one tells: it may be some of them that differ.
            alone = {name: _fitted(step, [name], declared) for name in names}
            odd = {n: c for n, (c, most) in alone.items() if not abs(c - wanted) <= most}
            found = min(odd.values(), key=lambda c: -abs(c - wanted), default=found)
            which = list(odd) or names
            violations.append(_other_decay(step.rule, where, which, (wanted, declared), found))
        elif wanted and not allowed < wanted:
            untold = f"; a decay of {wanted:g} is too small beside rounding to be seen"
    return violations, untold


def _fitted(step: Moved, names: Sequence[str], declared: float) -> tuple[float, float]:
    """Return the decay that fits what weights moved by, and how far off it may be."""
    found, error = _fitted_decay(step, names)
    return found, max(_SURE * error, _ROUNDED / max(step.lr, 1e-300), _SHARE * declared)


def _other_decay(
    rule: UpdateRule, where: str, names: Sequence[str], decays: tuple[float, float], found: float
) -> Violation:
    wanted, declared = decays
    name, group = NAMES[rule.rule], f"{counted(len(names), 'weight')} such as {names[0]}"
    where, gone = f"{where}, decay of {group}", abs(found) <= _SHARE * max(wanted, declared)
    if not wanted:
        how = f", {declared:g} is added to the gradient" if declared else ""
        expected = f"none beside the step, as {name} is declared{how}"
        return Violation(where, expected, f"{found:.3g} of each, decoupled", "step")
    expected = f"{wanted:g} of each beside the step, decoupled, as {name} is declared"
    coupled = "none: Adam's step alone, its decay is in the gradient (coupled L2) or nowhere"
    return Violation(where, expected, coupled if gone else f"{found:.3g} of each", "step")


def _fitted_decay(step: Moved, names: Sequence[str]) -> tuple[float, float]:
    """Return the decay that fits what weights moved by best, and its standard error."""
    found = _joined(step.moves, names)
    if found.size < 4:
        return 0.0 if not step.rule.decoupled else step.rule.weight_decay, math.inf
    fits = [
        _least_squares(_joined(own, names), step.lr * _joined(step.before, names), found)
        for own in (
            planned_moves(step, corrected=corrected, decayed=False, own_number=number)
            for number in ((False, True) if step.numbers else (False,))
            for corrected in (False, True)
        )
    ]
    _, decay, error = min(fits)
    return decay, error


def _joined(arrays: Mapping[str, Any], names: Sequence[str]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(arrays[name], np.float64).ravel() for name in names])


def _least_squares(
    own: NDArray[np.float64], weights: NDArray[np.float64], found: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the squares that are left, the share of the weights, and its standard error."""
    rows = np.stack([own, weights], axis=1)
    gram = rows.T @ rows
    if not np.linalg.det(gram) > 1e-12 * gram[0, 0] * gram[1, 1]:
        return math.inf, 0.0, math.inf
    inverse = np.linalg.inv(gram)
    shares = inverse @ (rows.T @ found)
    left = float(np.square(found - rows @ shares).sum())
    return left, float(shares[1]), math.sqrt(left / (found.size - 2) * float(inverse[1, 1]))
