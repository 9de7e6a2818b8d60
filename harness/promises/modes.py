"""Whether what was evaluated is trained on: by the modes of modules, and by their statistics."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.promises.moved_statistics import is_statistic
from harness.promises.option_arrays import arrays_of_options
from harness.promises.promise import Digests, Violation
from harness.systems.protocol import Description, Training
from harness.wording import counted

__all__ = [
    "Mode", "left_in_evaluation", "modes_of_steps", "statistics_of_every_step",
    "statistics_stand_still",
]  # fmt: skip


class Mode(NamedTuple):
    """Epoch and step, both from 1, and whether each module was in training mode, by name."""

    epoch: int
    step: int
    training: Mapping[str, bool]


def modes_of_steps(run: Training) -> tuple[Mode, ...]:
    """Return the modes of each step; none of a system that does not tell them."""
    pairs = zip(run.steps, run.modes, strict=False)
    return tuple(Mode(step.epoch, step.step, modes) for step, modes in pairs)


def left_in_evaluation(modes: Sequence[Mode]) -> Iterator[Violation]:
    """Yield for each net the first step that it makes in evaluation mode, after training mode.

    As a whole: whoever freezes batch normalisation, or a part of a net, leaves the rest as it is.
    """
    had: dict[str, set[str]] = {}
    told = set[str]()
    for epoch, step, training in modes:
        for net in dict.fromkeys(name.partition(".")[0] for name in training):
            now = {n: on for n, on in training.items() if n.partition(".")[0] == net}
            before = had.setdefault(net, set())
            left = [name for name in before if not now.get(name, True)]
            leaves = before - {name.rpartition(".")[0] for name in now}
            if left and leaves <= set(left) and net not in told:
                told.add(net)
                yield Violation(
                    f"{net} in step {step} of epoch {epoch}", "training mode, as before",
                    f"evaluation mode: after an evaluation {len(left)} of "
                    f"{counted(len(now), 'submodule')} have training=False that had True before",
                    "mode",
                )  # fmt: skip
            before.update(name for name, on in now.items() if on)


def statistics_of_every_step(about: Description, names: Sequence[str]) -> frozenset[str]:
    """Return the moving statistics of a state that are of no option: each step moves these."""
    options = arrays_of_options(about, names) if about.options else ()
    own = {name for block in options for arrays in block for name in arrays}
    return frozenset(name for name in names if is_statistic(name)) - own


def statistics_stand_still(
    states: tuple[Digests, Digests, Digests], statistics: frozenset[str]
) -> Iterator[Violation]:
    """Yield the statistics that do not move in the second epoch, of those that the first has moved.

    Of one layer too: what was left in evaluation mode need not be the whole net.

    Parameters
    ----------
    states : tuple of mapping
        Before training, after the first epoch and its evaluation, and after the second.
    statistics : frozenset of str
        Names of moving statistics.
    """
    before, between, after = states
    own, second = _moved(before, between) & statistics, _moved(between, after)
    still, weights = own - second, {n for n in second - statistics if not n.startswith("progress/")}
    if still and weights:
        which = f"all {len(own)}" if still == own else f"{len(still)}, such as {min(still)},"
        yield Violation(
            "moving statistics in epoch 2", "others than after epoch 1 and its evaluation",
            f"the same, {which} of those that epoch 1 has moved: what was evaluated is "
            "trained on in evaluation mode",
            "mode",
        )  # fmt: skip


def _moved(before: Digests, after: Digests) -> frozenset[str]:
    return frozenset(name for name, old in before.items() if after.get(name, old) != old)
