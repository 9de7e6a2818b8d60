"""Python's and NumPy's global generators, which several trainers in a process share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

__all__ = ["Generators"]


class Generators:
    """The states of both global generators that are one trainer's own."""

    def __init__(self) -> None:
        self._own: Any = None
        self._inside = False

    @contextmanager
    def own(self, *, moved: bool = True) -> Iterator[None]:
        """Let the global generators be this trainer's for a while; within itself it does nothing.

        Parameters
        ----------
        moved : bool, default True
            Whether what is drawn meanwhile moves them.
        """
        if self._inside:
            yield
            return
        before, own = _states(), self._own
        if own is not None:
            _set_states(own)
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self._own = _states() if moved or own is None else own
            _set_states(before)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Let the global generators be this trainer's own, and keep of them what is set alone.

        What is drawn moves neither: Keras draws seeds from Python's while it loads a model.
        """
        with self.own(), ExitStack() as stack:
            before = _states()
            calls = [
                [stack.enter_context(patch.object(m, n, wraps=getattr(m, n))) for n in names]
                for m, names in ((random, ("setstate", "seed")), (np.random, ("set_state", "seed")))
            ]
            yield
            is_set = [any(call.called for call in of_one) for of_one in calls]
            python, numpy = (
                after if of_one else old for after, old, of_one in zip(_states(), before, is_set)
            )
            stack.close()
            _set_states((python, numpy))

    def arrays(self) -> dict[str, Any]:
        """Return both states as arrays, by name."""
        with self.own():
            python, numpy = map(repr, _states())
        return {
            name: np.frombuffer(text.encode(), np.uint8)
            for name, text in (("python", python), ("numpy", numpy))
        }


def _states() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()  # noqa: NPY002


def _set_states(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
