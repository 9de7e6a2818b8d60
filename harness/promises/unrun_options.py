"""What an arch does not run neither reaches its score nor follows its batches."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.archs import Space
from harness.errors import NotApplicableError
from harness.promises.arch_codes import covering_codes, options_run, require_codes, space_of
from harness.promises.bench import Bench
from harness.promises.moved_statistics import StatisticsMoved, statistics_moved
from harness.promises.option_arrays import OptionArrays, arrays_of_options
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.scores import repeat_again
from harness.promises.slices import Parts, parts_of, put, unshared
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import Arrays, System

__all__ = [
    "UNRUN_OPTIONS_UNSEEN", "UNRUN_STATISTICS_STILL", "Poisoned", "poisoned_options",
    "unrun_options_are_unseen", "unrun_statistics_stay",
]  # fmt: skip


def _archs(space: Space) -> tuple[str, ...]:
    """Return archs by which each option is not run once: of all first and all last options.

    Of a space whose archs are told one by one, those that run every option.
    """
    if space.codes:
        return covering_codes(space)
    ends = ([0] * len(space.names), [count - 1 for count in space.counts])
    return tuple(code for choice in ends if (code := space.write(choice)) is not None)


def _unrun(
    options: OptionArrays, space: Space, arch: str, state: Arrays
) -> dict[str, NDArray[np.bool_]]:
    """Return what options name and an arch does not run, element by element."""
    choice = options_run(arch, space)
    run = [parts_of(block[option], state) for block, option in zip(options, choice, strict=True)]
    every = parts_of((n for block in options for entries in block for n in entries), state)
    found = unshared(every, run)
    return {name: found[name] for name in sorted(found)}


@dataclass(frozen=True)
class Poisoned:
    """An arch's scores while options that it does not run hold other values.

    Attributes
    ----------
    arch : str
    values : tuple of float
        What the arrays of those options hold, one after another.
    arrays : tuple of str
        Those arrays.
    base, found : tuple of float
        EPE per sample before and while they hold it, px; `found` is empty if evaluation stopped.
    error : str
        What it stopped with.
    """

    arch: str
    values: tuple[float, ...]
    arrays: tuple[str, ...]
    base: tuple[float, ...]
    found: tuple[float, ...]
    error: str = ""


_MODERATE = (7.0,)
_WILD = (1e30, math.inf, math.nan)


@needs("state", "evaluate", "describe", says=("options",))
def poisoned_options(bench: Bench) -> Sequence[Poisoned]:
    """Score an arch while all that it does not run holds a wrong, a huge or no number."""
    twice, space = bench.evidence(repeat_again), space_of(bench.describe())
    if bench.describe().options:
        require_codes(twice.first.archs, space, what="the system scores")
    if twice.first.per_sample != twice.again.per_sample:
        msg = "scores differ when evaluated again: a response cannot be told from noise"
        raise NotApplicableError(msg)
    with bench.scored() as system:
        state = system.state()
        options = arrays_of_options(system.describe(), list(state))
        found: list[Poisoned] = []
        for arch in _archs(space):
            parts = _unrun(options, space, arch, state)
            unrun = {name: mask for name, mask in parts.items() if state[name].dtype.kind == "f"}
            if unrun:
                kept = {name: np.array(state[name]) for name in unrun}
                found += _poisoned(system, arch, kept, unrun)
    if not found:
        msg = "every option runs every array that the system names"
        raise NotApplicableError(msg)
    return found


def _poisoned(system: System, arch: str, kept: Arrays, unrun: Parts) -> list[Poisoned]:
    """Score an arch with other values in what it does not run of arrays; they are set back."""
    base, error = _attempted_scores(system, arch)
    if error:
        msg = f"arch {arch} cannot be scored: {error}"
        raise NotApplicableError(msg)

    def case(values: tuple[float, ...]) -> Poisoned:
        filled = zip(kept.items(), itertools.cycle(values))
        system.state({name: put(array, unrun[name], value) for (name, array), value in filled})
        return Poisoned(arch, values, tuple(kept), base, *_attempted_scores(system, arch))

    cases = [case(_MODERATE), case(_WILD)]
    if cases[1].error or cases[1].found != base:
        # All at once is cheaper, one by one says which of them it is.
        cases = [cases[0], *(case((value,)) for value in _WILD)]
    system.state(kept)
    return cases


def _attempted_scores(system: System, arch: str) -> tuple[tuple[float, ...], str]:
    try:
        return system.evaluate([arch], batches_per_arch=1).per_sample[arch], ""
    except (AnswerError, NotApplicableError, WorkerError):
        raise  # no answer to what the weights hold
    except Exception as error:  # noqa: BLE001 -- whatever a system raises is the evidence
        return (), f"{type(error).__name__}: {error}"


def unrun_options_are_unseen(evidence: Sequence[Poisoned]) -> Outcome:
    """Require scores equal to the last bit, whatever options that do not run hold.

    A system may refuse weights that are not finite, whoever runs them, if it names one.

    Raises
    ------
    NotApplicableError
        If it refuses all that were tried.
    """
    refused = [c for c in evidence if c.error and any(name in c.error for name in c.arrays)]
    seen = [c for c in evidence if c not in refused and (c.error or c.found != c.base)]
    if len(refused) == len(evidence) > 0:
        msg = "the system refuses every weight that was changed, whoever runs it"
        raise NotApplicableError(msg)
    by_cause: dict[tuple[str, bool], list[Poisoned]] = {}
    for case in seen:
        by_cause.setdefault((case.arch, case.values == _MODERATE), []).append(case)
    violations = [_seen(cases) for cases in by_cause.values()]
    archs = {case.arch: len(case.arrays) for case in evidence}
    texts = [f"{count} arrays that arch {arch} does not run" for arch, count in archs.items()]
    figures = f"{' and '.join(texts)} do not reach its score"
    figures += f"; {len(refused)} cases refused by name" if refused else ""
    return outcome(violations[:6], len(evidence), figures)


def _seen(cases: Sequence[Poisoned]) -> Violation:
    case = cases[0]
    values = ", ".join(f"{value:g}" for one in cases for value in one.values)
    pairs = enumerate(itertools.zip_longest(case.base, case.found))
    place = next((index for index, (old, new) in pairs if old != new), 0)
    found = case.error or (f"{case.found[place]} px" if place < len(case.found) else "no score")
    why = (
        "the score depends on options that its code does not name"
        if case.values == _MODERATE
        else "what is not chosen is multiplied by 0 and not left out, and 0 times what is not "
        "finite, or overflows on the way, is NaN"
    )
    return Violation(
        f"EPE of arch {case.arch}, sample {place}, with {values} in all {len(case.arrays)} arrays "
        "of options that it does not run",
        f"{case.base[place]} px, as before" if place < len(case.base) else "no score",
        f"{found}: {why}",
    )


UNRUN_OPTIONS_UNSEEN = Promise(
    id="unrun-options-unseen",
    sentence="weights and statistics of options that an arch does not run never reach its score",
    evidence=poisoned_options,
    check=unrun_options_are_unseen,
    hint=(
        "One option that diverged takes the scores of all archs with it. All branches are computed "
        "and mixed by a one-hot code; select one instead (tf.cond, tf.switch_case, indexing)."
    ),
)


_COUNT_TOLERANCE = 0.1
"""Of one update. A batch's statistics of 1,000 beside the start would be 0.03 of one."""


def unrun_statistics_stay(evidence: StatisticsMoved) -> Outcome:
    """Require each statistic to be updated once for every arch that runs it, and for no other.

    ``n`` updates leave ``momentum ** n`` of the start. Layers that every arch runs tell how much
    all updates of a step leave; so neither the momentum nor the micro-batches need be known.

    Raises
    ------
    NotApplicableError
        If no such layer, or nothing that those leave, tells it.
    """
    runs = {name: _runs(evidence, name) for name in evidence.moved}
    most = len(evidence.steps[0]) if evidence.steps else 0
    whole = _left_by_all(evidence, [name for name, count in runs.items() if count is None])
    violations, compared = list[Violation](), 0
    for name, expected in runs.items():
        if expected is None:
            continue
        left = np.asarray(evidence.moved[name], np.float64) / evidence.start
        with np.errstate(invalid="ignore", divide="ignore"):
            counts = most * np.log(left) / math.log(whole)
        compared += 1
        # Not `>`: a NaN must count as wrong.
        if not (np.abs(counts - expected) <= _COUNT_TOLERANCE).all():
            wrong = int(np.argmax(np.nan_to_num(np.abs(counts - expected), nan=np.inf)))
            violations.append(
                Violation(
                    f"{name} after steps of {most} archs",
                    f"{expected:g} update(s) a step, of the archs that run it",
                    f"{float(counts.flat[wrong]):.3g}: it follows archs that do not run it"
                    if counts.flat[wrong] > expected
                    else f"{float(counts.flat[wrong]):.3g}: it does not follow all that do",
                )
            )  # fmt: skip
    figures = (
        f"{compared} statistics of options were updated by the archs that run them alone, over "
        f"{len(evidence.steps)} steps"
    )
    if len(violations) > 3:
        rest = Violation("further statistics of options", "none", f"{len(violations) - 3} of them")
        violations = [*violations[:3], rest]
    return outcome(violations, compared, figures)


def _runs(evidence: StatisticsMoved, name: str) -> float | None:
    """Return how many archs of a step run what a statistic belongs to; None if all archs do.

    Raises
    ------
    NotApplicableError
        If that differs between steps, whose micro-batches may differ too.
    """
    places = [
        (block, str(option))
        for block, options in enumerate(evidence.options)
        for option, arrays in enumerate(options)
        if name in arrays
    ]
    if not places:
        return None
    counts = {
        sum(any(arch[block] == option for block, option in places) for arch in archs)
        for archs in evidence.steps
    }
    if len(counts) > 1:
        msg = f"steps train unequally many archs that run {name}"
        raise NotApplicableError(msg)
    return float(next(iter(counts), 0))


def _left_by_all(evidence: StatisticsMoved, names: Sequence[str]) -> float:
    """Return what is left of the start in layers that every arch runs."""
    found: NDArray[np.float64] = np.asarray(
        [np.median(evidence.moved[name]) / evidence.start for name in names], np.float64
    )
    if evidence.moved and not found.size:
        msg = (
            "no layer with moving statistics is run by every arch, so that none counts the updates"
        )
        raise NotApplicableError(msg)
    left = float(np.median(found)) if found.size else 0.5
    if not 1e-3 < left < 1 - 1e-6:
        msg = (
            f"layers that every arch runs keep {left:.6g} of what their statistics began with, "
            "which does not tell how often they were updated"
        )
        raise NotApplicableError(msg)
    return left


UNRUN_STATISTICS_STILL = Promise(
    id="unrun-statistics-still",
    sentence="training an arch moves no statistic of a branch that it does not run",
    evidence=statistics_moved,
    check=unrun_statistics_stay,
    hint=(
        "All branches are computed for every arch, and their update ops run: the moving statistics "
        "of an option are those of archs that never use it, and a subnet scored with them is "
        "scored with statistics that are not its own."
    ),
    # A branch that is computed for every arch reaches the score, and its update ops run.
    explained_by=("unrun-options-unseen",),
)
