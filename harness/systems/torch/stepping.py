"""Letting a training loop make one step after another, and noting what each of them did."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from harness.systems.torch.loop import HeldLoop, Iteration
from harness.systems.torch.samples import digest
from harness.systems.torch.training import planned_sizes
from harness.systems.torch.watch import Seen, arrays_in, samples_in

__all__ = ["Stepper"]

_PASSES = 20
"""So many passes without a step are no check of the data, or validation on several sets."""

_IDLE = (
    "the training loop has passed %d times over its data and made no step: it leaves every step out"
)


class Stepper:
    """A training loop that makes a step when it is asked for one.

    A step ends where the loop asks for its next batch, so that whatever it does behind the
    optimizer's step (schedulers, averages, counters) belongs to it. An epoch ends where the next
    pass over the data begins, or the loop ends.

    Attributes
    ----------
    seen : Seen
        What was seen since the loop was held last.
    sizes : tuple of int
        Batch sizes of a pass; none where the data do not say them.
    taken : callable or None
        Gets each batch of a held pass, before the loop does.
    """

    def __init__(self) -> None:
        self.seen = Seen()
        self.sizes: tuple[int, ...] = ()
        self.taken: Callable[[Any], None] | None = None
        self._loop: HeldLoop | None = None
        self._steps = 1  # of this pass; held before the very first one too
        self._begun: tuple[int, ...] = ()  # batch sizes of the pass that began last
        self._given = True  # whether it has given a batch
        self._idle = 0  # passes since the last step
        self._whole = self.seen, 0, 0  # where what a pass gave begins, which has given all

    def start(self, run: Callable[[], None]) -> None:
        """Start a loop, and hold it before its first batch."""
        self.seen, self._steps, self._loop = Seen(held=False), 1, HeldLoop(run)
        self._given, self._idle = True, 0
        self._loop.advance()

    def resumed(self, steps: int) -> None:
        """Count steps that this pass had before a restore: what is left of it may be nothing."""
        self._steps = max(self._steps, steps)

    def stop(self) -> None:
        """End the loop where it is held."""
        if self._loop is not None:
            self._loop.give_up()
        self._loop = None

    @property
    def running(self) -> bool:
        """Whether there is a loop that can go on."""
        return self._loop is not None and not self._loop.ended

    def variables(self) -> Iterator[tuple[str, Any]]:
        """Yield the local variables of the loop, innermost first."""
        return iter(()) if self._loop is None else self._loop.variables()

    def advance(self, *, observe: bool) -> tuple[Seen, bool]:
        """Let the loop go on to where it is held next.

        Returns
        -------
        seen : Seen
            Without a step, nothing but the end of an epoch was left to do.
        ended : bool
            Whether an epoch has ended.
        """
        assert self._loop is not None
        self.seen = Seen(looks=observe)
        self._loop.advance()
        seen, self.seen = self.seen, Seen(looks=observe)
        if seen.steps:
            self.sizes = self._begun
        return seen, self._loop.at_start or self._loop.ended

    def pass_of(self, loader: Any, begin: Callable[[], Any]) -> Any:
        """Return a pass over a DataLoader: held where the loop trains, as it is elsewhere."""
        trains = self._mine and torch.is_grad_enabled()
        return self._held(begin, loader) if trains else begin()

    def stepped(self, batches: Iterable[Any]) -> Any:
        """Return a held pass over any batches."""
        return self._held(lambda: iter(batches), None)

    def mark(self, *, optimizer: bool) -> None:
        """Remember where the loop is: it may end before it is held."""
        if self._loop is not None and self._mine:
            self._loop.mark(optimizer=optimizer)

    @property
    def _mine(self) -> bool:
        return self._loop is not None and self._loop.mine

    def _held(self, begin: Callable[[], Any], loader: Any) -> Any:
        started = functools.partial(self._begin_pass, loader)
        return Iteration(begin, started, functools.partial(self._hold, at_start=False), self._note)

    def _hold(self, *, at_start: bool) -> None:
        """Hold the loop before a pass, and before a batch that follows a step."""
        if self._loop is None or not self._mine:
            return
        self._steps += self.seen.steps
        if at_start and self._steps:
            self._steps = self._idle = 0
            self._loop.hold(at_start=True)
        elif not at_start and self.seen.steps:
            self._loop.hold(at_start=False)

    def _begin_pass(self, loader: Any) -> Callable[[], None]:
        """Hold the loop before a pass; return what to call when it has given all.

        What begins beside a pass that has given nothing yet is no pass of its own.
        """
        self._hold(at_start=True)
        seen, batches, samples = self._whole
        if self.seen is seen and not seen.steps:  # such as a validation's that keeps gradients
            del seen.batches[batches:], seen.samples[samples:]
        if self._given:
            self._begun, self._given, self._idle = planned_sizes(loader), False, self._idle + 1
        if self._idle > _PASSES:
            raise RuntimeError(_IDLE % _PASSES)
        place = self.seen, len(self.seen.batches), len(self.seen.samples)
        return lambda: setattr(self, "_whole", place)

    def _note(self, batch: Any) -> None:
        self._given = True
        if self.taken is not None:
            self.taken(batch)
        if self.seen.looks:
            self.seen.batches.append(digest(*arrays_in(batch)))
            self.seen.samples += [digest(*arrays) for arrays in samples_in(batch)]
