"""The generators of a process, of which each adapter has its own."""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Generators", "as_text", "generator_state", "is_generator", "set_generator"]

_TORCH_SEED = 67280421310721
"""What PyTorch's generator starts from in a new process (c10/core/GeneratorImpl.h)."""


@dataclass
class Generators:
    """States of the generators of Python, NumPy and PyTorch, on the CPU and on each GPU."""

    python: Any
    numpy: Any
    cpu: Any
    gpus: tuple[Any, ...]

    @classmethod
    def now(cls) -> Generators:
        """Return the states of this process."""
        started = torch.cuda.is_available() and torch.cuda.is_initialized()
        return cls(
            random.getstate(), np.random.get_state(),  # noqa: NPY002
            torch.get_rng_state(),
            tuple(torch.cuda.get_rng_state_all()) if started else (),
        )  # fmt: skip

    @classmethod
    def fresh(cls) -> Generators:
        """Return states as a new process has them: whoever seeds nothing draws anew each time."""
        before = cls.now()
        try:
            random.seed()
            np.random.seed()  # noqa: NPY002 -- the process's own generator
            torch.manual_seed(_TORCH_SEED)
            return cls.now()
        finally:
            before.put()

    def put(self) -> None:
        """Make these the states of the process."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.cpu)
        if self.gpus:
            torch.cuda.set_rng_state_all(list(self.gpus))

    def arrays(self, fresh: Generators) -> dict[str, Any]:
        """Return the states as arrays, by name.

        Parameters
        ----------
        fresh : Generators
            What the process began with. A generator of Python or NumPy that is still as it was,
            neither seeded nor drawn from, is an empty array: each process has another.
        """
        found = {"torch": self.cpu.numpy().copy()}
        for name in ("python", "numpy"):
            now, before = (as_text(_plain(getattr(one, name))) for one in (self, fresh))
            found[name] = now[:0] if np.array_equal(now, before) else now
        found.update({"cuda%d" % i: state.numpy().copy() for i, state in enumerate(self.gpus)})
        return found

    def with_arrays(self, given: dict[str, Any]) -> Generators:
        """Return these states with those that are given, as :meth:`arrays` returns them."""
        python, numpy = self.python, self.numpy
        if np.size(given.get("python", ())):
            python = _from_text(given["python"])
        if np.size(given.get("numpy", ())):
            kind, key, *rest = _from_text(given["numpy"])
            numpy = (kind, np.array(key, np.uint32), *rest)
        gpus = [
            torch.as_tensor(np.array(given["cuda%d" % i])) if "cuda%d" % i in given else state
            for i, state in enumerate(self.gpus)
        ]
        cpu = torch.as_tensor(np.array(given["torch"])) if "torch" in given else self.cpu
        return Generators(python, numpy, cpu, tuple(gpus))


def is_generator(value: Any) -> bool:
    """Say whether something is a generator of its own, which the process's states do not hold."""
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    return isinstance(value, kinds)


def generator_state(value: Any) -> Any:
    """Return a generator's state as an array."""
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().copy()
    if isinstance(value, np.random.Generator):
        return as_text(_plain(value.bit_generator.state))
    if isinstance(value, np.random.RandomState):
        return as_text(_plain(value.get_state()))
    return as_text(value.getstate())


def set_generator(value: Any, state: Any) -> None:
    """Set a generator to a state that :func:`generator_state` returned."""
    if isinstance(value, torch.Generator):
        value.set_state(torch.as_tensor(np.array(state)))
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = _from_text(state)
    elif isinstance(value, np.random.RandomState):
        value.set_state(_from_text(state))
    else:
        value.setstate(_from_text(state))


def as_text(value: Any) -> Any:
    """Return the text of plain values as an array of bytes."""
    return np.frombuffer(repr(value).encode(), np.uint8)


def _from_text(array: Any) -> Any:
    return ast.literal_eval(np.asarray(array).tobytes().decode())


def _plain(value: Any) -> Any:
    """Return values without arrays: text of an array leaves out its middle."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
