"""A sample scores the same in a split of it alone and anywhere in a long one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.promises.bench import Bench
from harness.promises.drawn_cases import parts
from harness.promises.promise import (
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
    with_shown,
)
from harness.promises.samples import data_section, listed_samples, split_folder
from harness.promises.scores import base_evaluation
from harness.promises.setting import link_samples
from harness.promises.shown import Row, values_beside
from harness.systems.protocol import System, digests_of
from harness.wording import counted

__all__ = ["AT_LEAST", "SPLIT_SIZES", "SplitScores", "long_split", "scores_ignore_split_size"]

AT_LEAST = 300_000
"""Pixels of the long split: more than an evaluation here runs at once, so that the split is scored
in several pieces."""

_ALLOWED = 1e-4
"""Relative, as beside other batch mates: pieces of other sizes may take other kernels, which round
otherwise. No difference was seen; a piece of another one's frames was off by 4 %."""


@dataclass(frozen=True)
class SplitScores:
    """EPE of the same few samples, many times in a long split and once in a split of one.

    Attributes
    ----------
    long : mapping of str to sequence of (str, float)
        Arch to each position's sample and EPE, px, in the order of the split.
    alone : mapping of str to (str, sequence of float)
        Arch to the sample that a split of one held, and what was scored, px. Empty where the two
        were not scored in the same state.
    """

    long: Mapping[str, Sequence[tuple[str, float]]]
    alone: Mapping[str, tuple[str, Sequence[float]]]


@needs("evaluate", "batches", "state", says=("parts",))
def long_split(bench: Bench) -> SplitScores:
    """Score a validation split of many copies of its samples, and one of a single sample."""
    parts(bench)  # for what it raises: how much another trainer scores at once is not known
    archs = base_evaluation(bench).archs[-1:]
    source = split_folder(bench, "val")
    samples = listed_samples(source)
    require_seen(samples, f"{source} holds no sample")
    with bench.in_any_state() as system:
        batches = system.batches("eval")
        require_seen(batches, "no evaluation batch was served (batches('eval'))")
        height, width = batches[0].flow.shape[1:3]
    # Twice at least: a copy has something to be held against.
    count = max(math.ceil(AT_LEAST / (height * width)), 2 * len(samples))
    names = _mixed(samples, count)
    found, states = {}, []
    for how, contents in (("long", names), ("alone", {"0000000": samples[0]})):
        folder = bench.folder / f"split-{how}"
        _link_copies(bench, contents, folder)
        whole = {"eval_batches_per_arch": "full"}
        with bench.open(data=data_section(folder), eval=whole) as system:
            states.append(digests_of(system))
            found[how] = _scores(system, archs, contents)
    if states[0] != states[1]:  # another promise says so
        found["alone"] = {}
    alone = {arch: (samples[0], [epe for _, epe in rows]) for arch, rows in found["alone"].items()}
    return SplitScores(found["long"], alone)


def _mixed(samples: Sequence[str], count: int) -> dict[str, str]:
    """Return what so many names stand for: each sample as often, in an order that is mixed.

    In turns, a piece could begin with the same sample as the one before.
    """
    order = np.random.default_rng(count).permutation(count) % len(samples)
    return {f"{place:07d}": samples[number] for place, number in enumerate(order)}


def _link_copies(bench: Bench, contents: Mapping[str, str], folder: Path) -> None:
    """Make a validation split of the named contents, beside the training split as it is."""
    train, val = split_folder(bench, "train"), split_folder(bench, "val")
    link_samples(train, listed_samples(train), folder / "train")
    link_samples(val, contents.values(), folder / "val", names=contents)


def _scores(
    system: System, archs: Sequence[str], contents: Mapping[str, str]
) -> dict[str, list[tuple[str, float]]]:
    evaluated = system.evaluate(archs)
    served = [sample for batch in system.batches("eval") for sample in batch.ids]
    by_name = {arch: dict(zip(served, evaluated.per_sample[arch], strict=True)) for arch in archs}
    # What was left out is no number, and so no score of its sample.
    return {
        arch: [(sample, scores.get(name, math.nan)) for name, sample in contents.items()]
        for arch, scores in by_name.items()
    }


def scores_ignore_split_size(evidence: SplitScores) -> Outcome:
    """Require each copy of a sample to score as the first one, and as in a split of it alone."""
    violations, worst, kinds = list[Violation](), 0.0, set[str]()
    compared = list[Row]()
    for arch, rows in evidence.long.items():
        first: dict[str, tuple[int, float]] = {}
        sample, alone = evidence.alone.get(arch, ("", ()))
        found = [(f"position {place} of {len(rows)}", *row) for place, row in enumerate(rows)]
        for where, one, epe in (*found, *(("a split of one", sample, epe) for epe in alone)):
            if one not in first:
                first[one] = (len(first), epe)
                continue
            place, want = first[one]
            error = abs(epe - want) / max(abs(want), 1e-12)
            worst = max(worst, error)
            kinds.add(one)
            # Not `>`: a NaN must count as wrong.
            wrong = not error <= _ALLOWED
            compared.append(Row(f"arch {arch}, sample {one}, {where}", want, epe, wrong))
            if wrong:
                expected = f"{want:.6g} px, as at position {place}"
                what = f"arch {arch}: EPE of sample {one} at {where}"
                violations.append(Violation(what, expected, f"{epe:.6g} px"))
        if arch in evidence.alone and len(alone) != 1:
            what = f"arch {arch}: scores of a split of one sample"
            violations.append(Violation(what, "1", str(len(alone))))
    names = ("at its first position", "here")
    violations = with_shown(
        violations, lambda: (values_beside("EPE of each copy", "px", compared, names),)
    )
    longest = max((len(rows) for rows in evidence.long.values()), default=0)
    figures = (
        f"{counted(len(compared), 'score')} of {counted(len(kinds), 'sample')} in splits of 1 and "
        f"of {longest}, worst relative difference {worst:.1e}"
    )
    return outcome(violations[:6], len(compared), figures)


SPLIT_SIZES = Promise(
    id="split-size-unseen",
    sentence="a sample scores the same in a split of it alone and anywhere in a long one",
    evidence=long_split,
    check=scores_ignore_split_size,
    hint=(
        "A long split is scored in pieces, and a later piece meets what an earlier one left; or a "
        "batch of one sample loses its first axis. A few samples in one piece never show it."
    ),
    explained_by=("same-scores-again", "batch-mates-unseen", "metric-recomputed"),
)
