"""What first steps on copies add up to: which laws they keep, and how they break one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.promises.candidates import instead
from harness.promises.copies import SmallerLast
from harness.promises.gradient_candidates import combined, gradient_distance, weighed_instead
from harness.promises.gradients import Gradient, gradient_norm
from harness.promises.promise import Violation
from harness.systems.protocol import Arrays, Check

__all__ = [
    "Accumulation", "StepRun", "broken_last", "broken_laws", "clipped_otherwise", "distances",
]  # fmt: skip


@dataclass(frozen=True)
class StepRun:
    """The first step of a run: its archs, its gradient, and what was checked.

    Attributes
    ----------
    gradient : mapping of str to ndarray
        What the moments took in, without the decay that an optimizer adds to it.
    later : float or None
        The norm of that gradient in a step of the second epoch; None where there was none.
    beside : tuple of str
        What the step moved too and has no slots, weights among it: a norm may cover them.
    """

    archs: tuple[str, ...]
    gradient: Arrays
    losses: tuple[float, ...]
    checks: tuple[Check, ...]
    later: float | None = None
    beside: tuple[str, ...] = ()


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
    drawn : mapping of str to numpy.ndarray or None
        Gradient of `whole` with the same weights under another seed, made then too: what a net
        draws while it trains is other in each micro-batch.
    smaller : SmallerLast or None
        A pass whose last batch is of two samples, where it is looked at.
    clipped_pieces : mapping of str to StepRun
        Both clipped steps in micro-batches of 2, 2 and 1, by the position of the clip; empty where
        the pieces do not add up without one.
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
    drawn: Gradient | None = None
    smaller: SmallerLast | None = None
    clipped_pieces: Mapping[str, StepRun] = field(default_factory=dict)


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
    return violations + broken_last(evidence.smaller)


def broken_last(found: SmallerLast | None) -> list[Violation]:
    """Return how the step of a smaller last batch differs from one that such a batch fills."""
    if found is None:
        return []
    if found.trained and sum(found.trained) < found.samples:
        sizes = " + ".join(map(str, found.trained))
        return [
            Violation(
                f"samples in the steps of a pass over {found.samples}", str(found.samples),
                f"{sum(found.trained)} ({sizes}): the rest is in no step", "pieces",
            )
        ]  # fmt: skip
    if found.last is None or found.full is None:
        return []
    distance = gradient_distance(found.full, found.last)
    if distance <= _COPIES_TOLERANCE:
        return []
    expected = gradient_norm(found.full)
    ratio = gradient_norm(found.last) / max(expected, 1e-300)
    return [
        Violation(
            "gradient of a last batch, A, A behind A, A, A, A, A", f"norm {expected:.6g}, as where "
            "a batch is no larger", f"{ratio:.4g} times that, relative distance {distance:.2g}"
            f"{instead(ratio, _OF_A_LAST, rel_tol=_COPIES_TOLERANCE)}", "gradient",
        )
    ]  # fmt: skip


def clipped_otherwise(evidence: Accumulation) -> list[Violation]:
    """Return where copies in uneven micro-batches are clipped otherwise than as one micro-batch."""
    runs = {"update": evidence.clipped_update, "micro_step": evidence.clipped_micro}
    violations = []
    for position, pieces in evidence.clipped_pieces.items():
        whole = runs[position]
        if whole is None or (position == "micro_step" and not _equal_norms(whole, pieces)):
            continue
        distance = gradient_distance(whole.gradient, pieces.gradient)
        if not distance <= _COPIES_TOLERANCE:
            expected, found = gradient_norm(whole.gradient), gradient_norm(pieces.gradient)
            violations.append(
                Violation(
                    f"gradient of A, A | A, A | A clipped per {position.replace('_', '-')}",
                    f"norm {expected:.6g}, as of A, A, A, A, A",
                    f"norm {found:.6g}, relative distance {distance:.2g}", "gradient",
                )
            )  # fmt: skip
    return violations


def _equal_norms(whole: StepRun, pieces: StepRun) -> bool:
    """Return whether each piece's norm is that of all copies: their share weighs behind the clip.

    Before it, a small piece may be below the threshold; and of a system that records no checks
    nobody knows.
    """
    own = [check.before for check in whole.checks for _ in range(3)]
    found = [check.before for check in pieces.checks]
    return 0 < len(own) == len(found) and all(map(_near, own, found))


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_COPIES_TOLERANCE)


_OF_A_LAST = {
    "divided by the 3 micro-batches of a full batch, of which it has one": 1 / 3,
    "divided by the 5 samples of a full batch": 2 / 5,
    "nothing": 0.0,
}
"""What the gradient of a last batch of two may be times what it should be."""


def _broken_law(law: _Law) -> Violation:
    expected, found = gradient_norm(law.expected), law.run.gradient
    ratio = gradient_norm(found) / max(expected, 1e-300)
    what = weighed_instead(*law.pair, found, law.distance, law.allowed)
    return Violation(
        f"gradient of {law.name}", f"norm {expected:.6g}",
        f"{ratio:.4g} times that, relative distance {law.distance:.2g}{what}",
        "gradient",
    )  # fmt: skip
