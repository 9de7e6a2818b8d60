"""A training step from outside: what it moved, and what it gave when it was made again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.promises.gradients import Gradient, gradient_between
from harness.promises.slopes import Nudge
from harness.promises.update_rules import Moved
from harness.systems.declared import ADAM, UpdateRule
from harness.systems.protocol import Arrays

__all__ = ["Moments", "Turned", "WalkedStep"]

Moments = tuple[Arrays, Arrays]
"""First and second, by weight."""


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
    rests : frozenset of str or None, default none
        Weights that a step may pass over; None: any.
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
    rests: frozenset[str] | None = frozenset()

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
            dict(self.gradient), self.old, self.numbers, self.rests,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The step in words."""
        samples = "1 sample" if self.size == 1 else f"{self.size} samples"
        return f"step {self.step} of epoch {self.epoch} ({samples})"
