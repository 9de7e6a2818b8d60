"""Moving statistics after training that they began with one huge value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.archs import array_of, slices_of
from harness.errors import NotApplicableError
from harness.promises.arch_codes import is_code, options_run, space_of
from harness.promises.bench import Bench
from harness.promises.option_arrays import OptionArrays, arrays_of_options
from harness.promises.promise import needs
from harness.promises.states import CUT
from harness.systems.protocol import Arrays

__all__ = [
    "USUAL_SHARE", "FromHuge", "StatisticsMoved", "from_huge", "is_statistic", "statistics_moved",
]  # fmt: skip


@dataclass(frozen=True)
class StatisticsMoved:
    """Moving statistics after a stretch of training that they began with one huge value.

    Attributes
    ----------
    start : float
        That value. A batch's own statistics are nothing beside it, so that what is left of it
        counts the updates.
    steps : sequence of tuple of sequence of str
        The archs that each step trained: the number of the option in each block.
    options : sequence of sequence of frozenset of str
        For each block and option, the arrays that it runs.
    moved : mapping of str to numpy.ndarray
        Statistics afterwards, by name.
    """

    start: float
    steps: Sequence[tuple[Sequence[str], ...]]
    options: OptionArrays
    moved: Arrays


USUAL_SHARE = 0.9
"""What an update keeps of a moving statistic where the system does not say: TensorFlow's momentum
of EdgeFlowNAS, and by default PyTorch's, whose 0.1 is what the batch adds."""

_HUGE = 1e9
_STATISTICS = ("moving_mean", "moving_variance")


def is_statistic(name: str) -> bool:
    """Return whether an array of a state is a moving statistic, by its name."""
    return name.split(":")[0].endswith(_STATISTICS)


@dataclass(frozen=True)
class FromHuge:
    """A stretch of training that every moving statistic began with one huge value.

    Attributes
    ----------
    start : float
        That value.
    steps : sequence of tuple of str
        The archs that each step trained, as it logs them.
    moved : mapping of str to numpy.ndarray
        Every moving statistic afterwards, by name.
    """

    start: float
    steps: Sequence[tuple[str, ...]]
    moved: Arrays


@needs("train", "state", "save", "restore", "describe")
def from_huge(bench: Bench) -> FromHuge:
    """Set every moving statistic to one huge value and train a step, or an epoch."""
    with bench.at(CUT) as system:
        state = system.state()
        names = [name for name in state if is_statistic(name)]
        if not names:
            msg = "the system has no moving statistics (arrays of state() that end in moving_mean)"
            raise NotApplicableError(msg)
        system.state({name: np.full_like(state[name], _HUGE) for name in names})
        stops = not system.describe().supports.isdisjoint(("steps", "stops"))
        few: dict[str, Any] = {"steps": 1} if stops else {}
        run = system.train(2, evaluate=False, **few)
        after = system.state()
        moved = {name: np.array(after[name]) for name in names}
    return FromHuge(_HUGE, [tuple(step.archs) for step in run.steps], moved)


@needs("train", "state", "save", "restore", "describe", says=("options", "arch codes"))
def statistics_moved(bench: Bench) -> StatisticsMoved:
    """Set every moving statistic to one huge value and train a step, or an epoch."""
    about, state = bench.trained.description, list(bench.trained.start_state)
    options = arrays_of_options(about, state)
    # Of a statistic of which options run parts, no single count of updates is known.
    cut = {array_of(name) for block in options for arrays in block for name in arrays
           if slices_of(name)}  # fmt: skip
    names = {name for name in state if is_statistic(name) and name not in cut}
    every = {name for block in options for arrays in block for name in arrays}
    if not every.intersection(names):
        msg = "no option has moving statistics of its own"
        raise NotApplicableError(msg)
    found = bench.evidence(from_huge)
    codes = [arch for archs in found.steps for arch in archs]
    space = space_of(about)
    if not codes or not all(is_code(arch, space) for arch in codes):
        msg = "the system does not say which options its steps train (Training.steps, archs)"
        raise NotApplicableError(msg)
    runs = [tuple(tuple(map(str, options_run(a, space))) for a in archs) for archs in found.steps]
    moved = {name: array for name, array in found.moved.items() if name in names}
    return StatisticsMoved(found.start, runs, options, moved)
