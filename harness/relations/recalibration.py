"""BN recalibration: exactly the named batches, exactly their statistics."""

import numpy as np
from numpy.typing import NDArray

from harness.evidence.bundles import RecalHashes, RecalPair
from harness.relations.base import Outcome, Violation, outcome

__all__ = [
    "recal_batches_are_fixed",
    "recal_ignores_the_past",
    "recal_statistics_are_exact",
]

_RELATIVE = 1e-5
"""Relative tolerance of a float32 statistic against its float64 recomputation: tight
enough that a variance divided by N - 1 is caught below 100,000 inputs."""

_FEW = 3e-3
"""Over the smallest N of all units, the tolerance where that is below 300: normalising by few
inputs amplifies rounding in every unit that follows (over 50 random configurations, 5.3e-5 was
seen behind a unit of N = 16), while dividing that unit's variance by N - 1 changes it by 300
times as much."""


def _population(
    inputs: tuple[NDArray[np.float32], ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return mean and variance (divided by N) over all inputs, and N, in float64."""
    values = np.concatenate([x.reshape(-1, x.shape[-1]) for x in inputs]).astype(np.float64)
    return values.mean(axis=0), values.var(axis=0), len(values)


def recal_statistics_are_exact(evidence: RecalPair) -> Outcome:
    """Require each unit's statistics equal to a float64 recomputation from its inputs."""
    recal, violations = evidence.first, []
    channels, worst = 0, 0.0
    counts = [sum(x[..., 0].size for x in inputs) for inputs in recal.inputs.values()]
    fewest = min(counts, default=0)
    allowed = max(_RELATIVE, _FEW / max(fewest, 1))
    for unit, inputs in recal.inputs.items():
        mean, variance, count = _population(inputs)
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
            if not (error <= allowed).all():
                c = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
                where = f"arch {recal.arch}, {unit}, {name} of channel {c} over N = {count}"
                violations.append(
                    Violation(where, f"{expected[c]:.9g}", f"{found[c]:.9g} "
                              f"(relative {error[c]:.1e}, allowed {allowed:g})")
                )  # fmt: skip
    missing = sorted(recal.stats.keys() - recal.inputs.keys())
    if missing:
        violations.append(Violation("inputs", "one per unit", f"none for {missing[:3]}"))
    figures = (
        f"{len(recal.inputs)} units, {channels} statistics, worst relative error {worst:.1e}, "
        f"N from {fewest}"
    )
    return outcome(violations[:6], channels, figures)


def recal_ignores_the_past(evidence: RecalPair) -> Outcome:
    """Require recalibration to depend on weights and batches, not on moving statistics."""
    violations, changed = [], 0
    for unit, (mean, variance) in evidence.first.stats.items():
        again = evidence.second.stats.get(unit)
        if again is None or not all(map(np.array_equal, (mean, variance), again)):
            violations.append(
                Violation(f"{unit} after disturbing the moving statistics", "the same statistics",
                          "others: recalibration blends in what was there before")
            )  # fmt: skip
        if not mean.any() and (variance == 1).all():
            violations.append(
                Violation(
                    f"{unit} after recalibration",
                    "statistics of the batches",
                    "the initial values, mean 0 and variance 1: never updated",
                )
            )
        held = evidence.moving.get(f"{unit}/moving_mean")
        changed += held is not None and not np.array_equal(held, mean)
    whole = []
    if changed == 0:
        whole.append(
            Violation(
                "recalibrated statistics",
                "different from the moving ones",
                f"0 of {len(evidence.first.stats)} units changed: recalibration had no effect",
            )
        )
    if evidence.disturbed == 0:
        whole.append(Violation("moving statistics", "disturbed before", "none was"))
    if evidence.scores != evidence.scores_disturbed:
        whole.append(
            Violation(
                f"EPE of arch {evidence.first.arch} after disturbing the moving statistics",
                "the same EPE",
                "another: evaluation normalises with the moving statistics, "
                "not with the recalibrated ones",
            )
        )
    figures = f"{changed} of {len(evidence.first.stats)} units updated, none depends on the past"
    return outcome((whole + violations)[:6], len(evidence.first.stats), figures)


def recal_batches_are_fixed(evidence: RecalHashes) -> Outcome:
    """Require one hash of the recalibration batches everywhere, sensitive to one pixel."""
    hashes = dict(evidence.hashes)
    reference = next(iter(hashes.values()), "")
    violations = []
    if evidence.fixed:
        violations += [
            Violation(f"hash of the recalibration batches, {where}", reference, found)
            for where, found in hashes.items()
            if found != reference
        ]
    if evidence.one_pixel_changed == reference:
        violations.append(
            Violation("hash after changing one pixel of one frame", "another hash", reference)
        )
    mode = "fixed" if evidence.fixed else "random mode: equality over epochs does not apply"
    figures = f"{len(hashes)} hashes ({', '.join(hashes)}), {mode}; one pixel changes it"
    return outcome(violations, sum(map(bool, hashes.values())), figures)
