"""The states of a trained system that a promise can ask for by name, and how they are made."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.systems.protocol import Arrays, Description, System, Training, digests_of

__all__ = [
    "CUT", "END", "START", "Cut", "Loan", "State", "Trained", "a_kernel", "other_kernel",
    "require_named", "saved_cut", "train_two_epochs",
]  # fmt: skip

State = Literal["start", "cut", "end"]
START: State = "start"
CUT: State = "cut"
END: State = "end"


@dataclass(frozen=True)
class Trained:
    """Two epochs of training, with checkpoints of the way there.

    Attributes
    ----------
    paths : mapping of str to str
        Checkpoint folders ``start`` (before training), ``cut`` (after epoch 1) and ``end``
        (after epoch 2).
    description : Description
        Of the system as it was opened, with the names of its variables.
    first, second : Training
        What each epoch did.
    start_state, cut_state, end_state : dict
        Digests by array.
    """

    paths: Mapping[State, str]
    description: Description
    first: Training
    second: Training
    start_state: dict[str, str]
    cut_state: dict[str, str]
    end_state: dict[str, str]


@dataclass(frozen=True)
class Cut:
    """A run that was cut within an epoch: where, its checkpoint, and digests of its state."""

    name: str
    how: str
    path: str
    state: dict[str, str]


class Loan:
    """A system for the length of a ``with`` block; afterwards it refuses every call.

    Whoever kept it could otherwise change the state that another promise asks for.
    """

    def __init__(self, system: System) -> None:
        self._system: System | None = system

    def __getattr__(self, name: str) -> Any:
        if self._system is None:
            msg = f"{name}: the system was lent for one block, which has ended; ask for it again"
            raise RuntimeError(msg)
        return getattr(self._system, name)

    def end(self) -> None:
        """Refuse every call from now on."""
        self._system = None


def a_kernel(state: Arrays) -> str:
    """Return the name of the first convolution kernel, an array of four axes.

    Raises
    ------
    NotApplicableError
        If there is none.
    """
    for name, array in state.items():
        if np.asarray(array).ndim == 4:
            return name
    msg = "the system's state has no kernel, an array of four axes"
    raise NotApplicableError(msg)


def other_kernel(kernel: NDArray[Any], place: int = 0) -> NDArray[Any]:
    """Return a kernel whose output differs, whatever follows it.

    Batch normalisation divides out a factor above 0, so that a kernel is negated; a second
    minus right behind the first would undo it, so that the n-th kernel of a chain has its
    output channels turned by n places besides.

    Parameters
    ----------
    kernel : numpy.ndarray
        Output channels on the last axis. One of zeros, which no factor moves, becomes a
        constant.
    place : int, default 0
        Of the kernel in its chain.
    """
    array = np.array(kernel)
    if not array.any():
        return np.full_like(array, _FOR_ZEROS)
    return -np.roll(array, place, axis=-1)


_FOR_ZEROS = 0.1
"""A usual size of a weight."""


def require_named(state: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Require arrays in a state that a description names.

    Raises
    ------
    ValueError
        If one is not there: a misspelt name would switch off what looks at it, and that
        nothing was seen is no excuse.
    """
    absent = [name for name in names if name not in state]
    if absent:
        near = difflib.get_close_matches(absent[0], list(state), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = f"state() has no {absent[0]}, which {where} names{hint}"
        raise ValueError(msg)


def train_two_epochs(system: System, config: Mapping[str, Any], folder: Path) -> Trained:
    """Open a system, train it, and save every named state in a folder."""
    system.open(config)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: str(folder / name) for name in (START, CUT, END)}
    # Each digest is taken before the save that it is held against.
    start_state = digests_of(system)
    system.save(paths[START])
    first = system.train(1)
    cut_state = digests_of(system)
    system.save(paths[CUT])
    second = system.train(2)
    end_state = digests_of(system)
    system.save(paths[END])
    return Trained(paths, system.describe(), first, second, start_state, cut_state, end_state)


def saved_cut(system: System, trained: Trained, name: str, how: str) -> Cut:
    """Save a system where it was cut, under a new name."""
    path = str(Path(trained.paths[END]).with_name(name))
    system.save(path)
    return Cut(name, how, path, digests_of(system))
