"""A training loop that has no hooks, held between its steps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

__all__ = ["HeldLoop", "Iteration"]

_LOADER, _OPTIMIZER, _HELD = 1, 2, 3
"""Where the loop was seen last, by how much that says of its variables."""

_END_SECONDS = 30.0
"""So long a loop that is given up may take to unwind, s."""


class _GivenUp(BaseException):
    """Raised within a loop that nobody lets go on; no `except Exception` stops it."""


class HeldLoop:
    """A training loop in a thread of its own, which runs only while it is waited for.

    Parameters
    ----------
    run : callable
        The loop, from its start to its end.

    Attributes
    ----------
    ended : bool
        Whether it has returned, or raised.
    at_start : bool
        Whether it is held before the first batch of a pass over its data.
    """

    def __init__(self, run: Callable[[], None]) -> None:
        self._run, self._go, self._held = run, threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._frames: list[Any] = []
        self._place = 0  # that they are of; 0 is none
        self._given_up = False
        self.ended, self.at_start = False, False
        self._thread = threading.Thread(target=self._body, name="training loop", daemon=True)
        self._thread.start()

    def _body(self) -> None:
        self._go.acquire()
        try:
            if not self._given_up:
                torch.set_num_threads(torch.get_num_threads())  # OpenMP counts by thread
                self._run()
        except _GivenUp:
            pass
        except BaseException as error:  # noqa: BLE001 -- told to whoever waits
            self._error = error
        finally:
            self.ended = True
            self._held.release()

    @property
    def mine(self) -> bool:
        """Whether the caller is the loop itself."""
        return threading.current_thread() is self._thread

    def advance(self) -> None:
        """Let the loop go on until it is held again, or has ended.

        Raises
        ------
        Exception
            What the loop raised.
        """
        if self.ended:
            return
        self._go.release()
        self._held.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def hold(self, *, at_start: bool) -> None:
        """Wait, within the loop, until it may go on."""
        self.at_start = at_start
        self._keep(_HELD, sys._getframe(1))
        self._held.release()
        self._go.acquire()
        if self._given_up:
            raise _GivenUp

    def mark(self, *, optimizer: bool) -> None:
        """Remember, within the loop, where it is: it may end before it is held.

        What makes a DataLoader may be a function that validates, whose names are not the loop's:
        where an optimizer was made says more, and where it was held says most.
        """
        self._keep(_OPTIMIZER if optimizer else _LOADER, sys._getframe(1))

    def _keep(self, place: int, frame: Any) -> None:
        if place < self._place:
            return
        # Each by itself: a generator's frame (of a progress bar) forgets who asked it.
        self._place, self._frames = place, []
        while frame is not None:
            self._frames.append(frame)
            frame = frame.f_back

    def give_up(self) -> None:
        """End the loop where it is held, so that what it has open is closed."""
        if not self.ended:
            self._given_up = True
            self._go.release()
            self._thread.join(_END_SECONDS)
        self._frames = []

    def variables(self) -> Iterator[tuple[str, Any]]:
        """Yield what the functions of the loop have as local variables, innermost first.

        Of a loop that is held, or of one that has ended, as they were at its end.
        """
        for frame in self._frames:
            if frame.f_globals.get("__name__", "").partition(".")[0] not in ("torch", _OURS):
                yield from dict(frame.f_locals).items()


_OURS = __name__.partition(".")[0]
"""This package, whose frames lie around those of the loop; PyTorch's lie between."""


class Iteration:
    """One pass of a training loop over its data, held before each batch that follows a step.

    Parameters
    ----------
    begin : callable
        Starts the pass, and returns what gives the batches.
    started : callable
        Called before the pass begins; returns what is called when it has given all.
    before : callable
        Called before each batch.
    seen : callable
        Called with each batch.
    """

    def __init__(
        self, begin: Callable[[], Any], started: Callable[[], Callable[[], None]],
        before: Callable[[], None], seen: Callable[[Any], None],
    ) -> None:  # fmt: skip
        self._inner: Any = None
        self._before, self._seen, self._ended = before, seen, started()
        self._inner = begin()

    def __iter__(self) -> Iteration:
        return self

    def __next__(self) -> Any:
        self._before()
        try:
            batch = next(self._inner)
        except StopIteration:
            self._ended()
            raise
        self._seen(batch)
        return batch

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
