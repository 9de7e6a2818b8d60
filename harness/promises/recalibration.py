"""BN recalibration uses exactly the named batches, and takes effect."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.promises.bench import Bench
from harness.promises.promise import EACH_TIME, Outcome, Promise, Violation, needs, outcome
from harness.promises.recal_hashes import RecalHashes, recal_hashes
from harness.promises.scores import base_evaluation, is_noisy, repeat_again
from harness.systems.protocol import Arrays, Recalibration, System
from harness.wording import counted, shortened

__all__ = [
    "RECAL_BATCHES_FIXED", "RECAL_EFFECTIVE", "RECAL_STATISTICS_EXACT", "RecalPair",
    "recal_batches_are_fixed", "recal_ignores_the_past", "recal_pair",
    "recal_statistics_are_exact",
]  # fmt: skip


_STATISTIC_TOLERANCE = 1e-5
"""Relative tolerance of a float32 statistic against its float64 recomputation: tight
enough that a variance divided by N - 1 is caught below 100,000 inputs."""


_FEW_INPUTS_TOLERANCE = 3e-3
"""Over the smallest N of all units, the tolerance where that is below 300: normalising by few
inputs amplifies rounding in every unit that follows (over 50 random configurations, 5.3e-5 was
seen behind a unit of N = 16), while dividing that unit's variance by N - 1 changes it by 300
times as much."""


@dataclass(frozen=True)
class RecalPair:
    """One arch recalibrated twice, with other moving statistics in between.

    ``disturbed`` is how many moving statistics were changed; ``moving`` are the
    statistics that the model held before the first recalibration. ``scores`` and
    ``scores_disturbed`` are the arch's per-sample EPE before and while they were changed;
    ``noisy`` says that they differ without any change.
    """

    first: Recalibration
    second: Recalibration
    disturbed: int
    moving: Arrays
    scores: tuple[float, ...]
    scores_disturbed: tuple[float, ...]
    noisy: bool = False
    others: Sequence[Recalibration] = ()
    """With inputs, of archs that run units which `first` does not."""
    quiet: Recalibration | None = None
    """With inputs, of the first one's arch, with kernels so small that variances are tiny; None of
    a system without kernels."""


@needs("recalibrate", "state", "evaluate")
def recal_pair(bench: Bench) -> RecalPair:
    """Recalibrate an arch, disturb every moving statistic, and recalibrate again."""
    # Asked for before the system is lent: no other evidence can be made meanwhile.
    (*others, arch), twice = base_evaluation(bench).archs, bench.evidence(repeat_again)
    with bench.scored() as system:
        state = system.state()
        moving = {n: np.array(a) for n, a in state.items() if "moving_" in n.rsplit("/", 1)[-1]}
        for other in others[:1]:
            system.recalibrate(other)  # what it leaves behind must not reach the next arch
        first = system.recalibrate(arch, inputs=True)
        more = _of_other_units(system, first, others)
        quiet = _of_small_kernels(system, arch, state)
        # Alone, as while disturbed: an arch that scores otherwise in company proves nothing here.
        alone = system.evaluate([arch])
        system.state({name: array + 0.7 for name, array in moving.items()})
        second, disturbed = system.recalibrate(arch), system.evaluate([arch])
    return RecalPair(
        first, second, len(moving), moving, alone.per_sample.get(arch, ()),
        disturbed.per_sample.get(arch, ()), is_noisy(twice), more, quiet,
    )  # fmt: skip


def _of_other_units(
    system: System, first: Recalibration, archs: Sequence[str]
) -> list[Recalibration]:
    """Recalibrate archs that run units which those before do not: a deeper option's, say."""
    seen, found = set(first.stats), list[Recalibration]()
    for arch in archs:
        recal = system.recalibrate(arch, inputs=True)
        if set(recal.stats) - seen:
            found.append(recal)
            seen |= set(recal.stats)
    return found


_SMALLER = np.float32(2**-7)
"""Times a kernel, exactly: variances of what it gives are 16,000 times smaller, and their rounding
is what it was."""


def _of_small_kernels(system: System, arch: str, state: Arrays) -> Recalibration | None:
    """Recalibrate an arch with kernels that are smaller, and put them back."""
    names = [*system.describe().slots] or [*state]
    kernels = {n: np.array(state[n]) for n in names if np.ndim(state[n]) == 4}
    if not kernels:
        return None
    system.state({name: kernel * _SMALLER for name, kernel in kernels.items()})
    found = system.recalibrate(arch, inputs=True)
    system.state(kernels)
    return found


def _population(
    inputs: tuple[NDArray[np.float32], ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return mean and variance (divided by N) over all inputs, and N, in float64."""
    values = np.concatenate([x.reshape(-1, x.shape[-1]) for x in inputs]).astype(np.float64)
    return values.mean(axis=0), values.var(axis=0), len(values)


def recal_statistics_are_exact(evidence: RecalPair) -> Outcome:
    """Require each unit's statistics equal to a float64 recomputation from its inputs."""
    every = (evidence.first, *evidence.others)
    found = [_is_exact(replace(evidence, first=one)) for one in every]
    if evidence.quiet is not None:
        quiet = _is_exact(replace(evidence, first=evidence.quiet))
        where = "with small kernels, "
        wrong = tuple(replace(v, where=f"{where}{v.where}") for v in quiet.violations)
        figures = f"{found[0].figures}{_least_variance(evidence.quiet)}"
        found = [replace(found[0], figures=figures), *found[1:], replace(quiet, violations=wrong)]
    if len(found) == 1:
        return found[0]
    units = {unit for one in every for unit in one.stats}
    figures = f"{found[0].figures}; {counted(len(units), 'unit')} of {counted(len(every), 'arch')}"
    violations = tuple(v for one in found for v in one.violations)[:6]
    return replace(found[0], violations=violations, figures=figures)


def _least_variance(quiet: Recalibration) -> str:
    variances = [_population(inputs)[1] for inputs in quiet.inputs.values() if inputs]
    least = min((float(v.min(initial=np.inf)) for v in variances), default=np.inf)
    return f", variances down to {least:.1e}" if np.isfinite(least) else ""


def _is_exact(evidence: RecalPair) -> Outcome:
    """Return what is wrong with one arch's statistics."""
    recal, violations = evidence.first, []
    channels, worst = 0, 0.0
    counts = [sum(x[..., 0].size for x in inputs) for inputs in recal.inputs.values()]
    fewest = min(counts, default=0)
    allowed = max(_STATISTIC_TOLERANCE, _FEW_INPUTS_TOLERANCE / max(fewest, 1))
    for unit, inputs in recal.inputs.items():
        mean, variance, count = _population(inputs)
        # A mean may lie near 0, where relative to itself any rounding is large.
        scale = np.sqrt(variance) + np.abs(mean) + np.finfo(np.float32).tiny
        if unit not in recal.stats:
            violations.append(Violation(f"statistics of {unit}", "mean and variance", "none"))
            continue
        found_mean, found_variance = recal.stats[unit]
        for name, found, expected, unit_scale in (
            ("mean", found_mean, mean, scale),
            ("variance", found_variance, variance, variance + np.finfo(np.float32).tiny),
        ):
            error = np.abs(found - expected) / unit_scale
            channels += error.size
            worst = max(worst, float(error.max()))
            # Not `>`: a NaN must count as wrong.
            if not (error <= allowed).all():
                c = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
                where = f"arch {recal.arch}, {unit}, {name} of channel {c} over N = {count}"
                violations.append(
                    Violation(where, f"{expected[c]:.9g}", f"{found[c]:.9g} "
                              f"(relative {error[c]:.1e}, allowed {allowed:g})"
                              f"{_statistic_instead(evidence, unit, name, allowed)}")
                )  # fmt: skip
    missing = sorted(recal.stats.keys() - recal.inputs.keys())
    unseen = "" if recal.inputs else "no unit's inputs were given (recalibrate(inputs=True))"
    if missing and recal.inputs:
        violations.append(Violation("inputs", "one per unit", f"none for {missing[:3]}"))
    figures = (
        f"{counted(len(recal.inputs), 'unit')}, {counted(channels, 'statistic')}, worst relative "
        f"error {worst:.1e}, N from {fewest}"
    )
    return outcome(violations[:6], channels, figures, unseen=unseen)


def _statistic_instead(evidence: RecalPair, unit: str, name: str, allowed: float) -> str:
    """Return what the statistics of all channels of a unit are instead, in words."""
    inputs, held = evidence.first.inputs[unit], evidence.moving.get(f"{unit}/moving_{name}")
    found = evidence.first.stats[unit][0 if name == "mean" else 1]
    parts = [_population((x,)) for x in inputs]
    means, variances = (np.stack([part[i] for part in parts]) for i in (0, 1))
    mean, variance, count = _population(inputs)
    each = means if name == "mean" else variances
    whole = mean if name == "mean" else variance
    candidates = {
        "the variance over N - 1": variance * count / max(count - 1, 1),
        "the mean of the batches' variances": variances.mean(axis=0),
        "the deviation, not the variance": np.sqrt(variance),
        "the mean of the squares, from which the mean's was not taken": variance + mean**2,
    } if name == "variance" else {
        "the mean of the batches' means, each weighing the same": means.mean(axis=0),
    }  # fmt: skip
    candidates |= {
        "of the last batch alone": each[-1], "of the first batch alone": each[0],
        "the initial value, never updated": np.full_like(whole, 0.0 if name == "mean" else 1.0),
    }  # fmt: skip
    if len(parts) > 1:
        candidates["of all batches but the last"] = _population(inputs[:-1])[name == "variance"]
    if held is not None:
        moved = np.asarray(held, np.float64)
        for batch in each:
            moved = 0.9 * moved + 0.1 * batch
        candidates |= {
            "the moving statistic that the model held, never updated": np.asarray(held, np.float64),
            "the moving statistic, updated with momentum 0.9 by each batch": moved,
            "a tenth of the batches and nine of what was held": 0.9 * held + 0.1 * whole,
        }
    # A mean may lie near 0: rounding is relative to the deviation too, as in the check.
    scale = np.sqrt(variance) + np.abs(mean) if name == "mean" else 0.0
    for words, value in candidates.items():
        if (np.abs(found - value) <= allowed * (scale + np.abs(value))).all():
            return f": {words}"
    return ""


_HINT = (
    "Recalibration must compute the population mean and variance (divided by N) of exactly the"
    " named batches. In TensorFlow 1 graphs, check that the update ops are fetched."
)


RECAL_STATISTICS_EXACT = Promise(
    id="recal-statistics-exact",
    sentence="recalibrated statistics are those of exactly those batches",
    evidence=recal_pair,
    check=recal_statistics_are_exact,
    hint=_HINT,
    explained_by=("recal-effective:no effect", "recal-effective:past"),
    varied=True,
    tier="smoke",
)


def recal_ignores_the_past(evidence: RecalPair) -> Outcome:
    """Require recalibration to depend on weights and batches, not on moving statistics."""
    violations, changed, known = [], 0, 0
    # On other batches the statistics differ anyway, which is recal-batches-fixed's to tell.
    same_batches = evidence.first.batch_hash == evidence.second.batch_hash
    for unit, (mean, variance) in evidence.first.stats.items():
        again = evidence.second.stats.get(unit)
        repeated = again is not None and all(map(np.array_equal, (mean, variance), again))
        if same_batches and not repeated:
            violations.append(
                Violation(f"{unit} after disturbing the moving statistics", "the same statistics",
                          "others: recalibration blends in what was there before", "past")
            )  # fmt: skip
        if not mean.any() and (variance == 1).all():
            violations.append(
                Violation(
                    f"{unit} after recalibration",
                    "statistics of the batches",
                    "the initial values, mean 0 and variance 1: never updated",
                    "no effect",
                )
            )
        held = evidence.moving.get(f"{unit}/moving_mean")
        known += held is not None
        changed += held is not None and not np.array_equal(held, mean)
    whole = []
    # EdgeFlowNAS ran the forward passes but not the update ops: 0 of 64 statistics changed.
    if known and changed == 0:
        whole.append(
            Violation(
                "recalibrated statistics",
                "different from the moving ones",
                f"0 of {counted(len(evidence.first.stats), 'unit')} changed: recalibration had no "
                "effect",
                "no effect",
            )
        )
    unseen = "" if known else "state() has no moving statistics of the recalibrated units"
    if evidence.disturbed == 0:
        unseen = "no moving statistic was disturbed before: state() has none"
    if evidence.scores != evidence.scores_disturbed and not evidence.noisy:
        whole.append(
            Violation(
                f"EPE of arch {evidence.first.arch} after disturbing the moving statistics",
                "the same EPE",
                "another: evaluation normalises with the moving statistics, "
                "not with the recalibrated ones",
                "no effect",
            )
        )
    units = counted(len(evidence.first.stats), "unit")
    figures = f"{changed} of {units} updated, none depends on the past"
    # What concerns all units comes first: a violation for each unit would push it out of sight.
    if evidence.noisy:
        figures += "; scores that are repeated differ, a response to them is not told from noise"
    return outcome((whole + violations)[:6], len(evidence.first.stats), figures, unseen=unseen)


RECAL_EFFECTIVE = Promise(
    id="recal-effective",
    sentence="recalibration takes effect and forgets the moving statistics",
    evidence=recal_pair,
    check=recal_ignores_the_past,
    hint=_HINT,
    explained_by=("eval-pure:state",),
    tier="smoke",
)


def recal_batches_are_fixed(evidence: RecalHashes) -> Outcome:
    """Require one hash of the recalibration batches everywhere, sensitive to one pixel."""
    hashes = dict(evidence.hashes)
    reference = next(iter(hashes.values()), "")
    violations = []
    if evidence.fixed:
        violations += [
            Violation(f"hash of the recalibration batches, {where}", shortened(reference),
                      f"{shortened(found)}: other batches", EACH_TIME)
            for where, found in hashes.items()
            if found != reference
        ]  # fmt: skip
    if evidence.one_pixel_changed == reference:
        violations.append(
            Violation("hash after changing one pixel of one frame", "another hash",
                      f"{shortened(reference)}: the same, it is not of the pixels", "hash")
        )  # fmt: skip
    mode = "fixed" if evidence.fixed else "random mode: equality over epochs does not apply"
    figures = f"{counted(len(hashes), 'hash')} ({', '.join(hashes)}), {mode}; one pixel changes it"
    return outcome(violations, sum(map(bool, hashes.values())), figures)


RECAL_BATCHES_FIXED = Promise(
    id="recal-batches-fixed",
    sentence="recalibration uses the same batches everywhere",
    evidence=recal_hashes,
    check=recal_batches_are_fixed,
    hint="The batches behind the BN statistics move, and the EPE moves with them.",
    explained_by=("same-scores-again", "recal-batches-first", "cache-never-stale"),
)
