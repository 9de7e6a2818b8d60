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

__all__ = ["StatisticsMoved", "is_statistic", "statistics_moved"]


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


_HUGE = 1e6
_STATISTICS = ("moving_mean", "moving_variance")


def is_statistic(name: str) -> bool:
    """Return whether an array of a state is a moving statistic, by its name."""
    return name.split(":")[0].endswith(_STATISTICS)


@needs("train", "state", "save", "restore", "describe", says=("options", "arch codes"))
def statistics_moved(bench: Bench) -> StatisticsMoved:
    """Set every moving statistic to one huge value and train a step, or an epoch."""
    with bench.at(CUT) as system:
        about, state = system.describe(), system.state()
        options = arrays_of_options(about, list(state))
        # Of a statistic of which options run parts, no single count of updates is known.
        cut = {
            array_of(name) for block in options for arrays in block for name in arrays
            if slices_of(name)
        }  # fmt: skip
        names = [name for name in state if is_statistic(name) and name not in cut]
        every = {name for block in options for arrays in block for name in arrays}
        if not every.intersection(names):
            msg = "no option has moving statistics of its own"
            raise NotApplicableError(msg)
        system.state({name: np.full_like(state[name], _HUGE) for name in names})
        few: dict[str, Any] = {"steps": 1} if "steps" in about.supports else {}
        run = system.train(2, evaluate=False, **few)
        after = system.state()
        moved = {name: np.array(after[name]) for name in names}
    steps = [step.archs for step in run.steps]
    codes = [arch for archs in steps for arch in archs]
    space = space_of(about)
    if not codes or not all(is_code(arch, space) for arch in codes):
        msg = "the system does not say which options its steps train (Training.steps, archs)"
        raise NotApplicableError(msg)
    runs = [tuple(tuple(map(str, options_run(a, space))) for a in archs) for archs in steps]
    return StatisticsMoved(_HUGE, runs, options, moved)
