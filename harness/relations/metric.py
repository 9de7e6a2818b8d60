"""The metric: known answers, an independent recomputation, and whether it is alive."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evidence.bundles import ConstantRanking, Oracle, Recomputation, Response
from harness.relations.base import Outcome, Violation, outcome

__all__ = [
    "accumulate_residuals",
    "constant_ranking_has_no_tau",
    "independent_epe",
    "metric_gives_known_answers",
    "metric_is_alive",
    "metric_is_recomputed",
    "resize_legacy_bilinear",
    "unknown_flow_is_unscored",
]

_RELATIVE = 1e-5
"""Float32 network outputs, summed over three scales, against float64."""

_FLOOR = 0.01
"""px: a larger error of an exact prediction would drown what a trained net still learns."""

_ORACLE = 1e-4
"""px, absolute, for answers of 0 and 5 px."""


def resize_legacy_bilinear(x: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize (B, h, w, C) with source = target * (in / out), as TensorFlow 1 does."""
    values = np.asarray(x, np.float64)
    for axis, target in ((1, size[0]), (2, size[1])):
        length = values.shape[axis]
        position = np.arange(target) * (length / target)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def accumulate_residuals(outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the flow that residual outputs, coarse to fine, add up to, (B, H, W, 2), px."""
    total = np.asarray(outputs[0], np.float64)[..., :2]
    for residual in outputs[1:]:
        height, width = residual.shape[1:3]
        total = resize_legacy_bilinear(total, (height, width)) + residual[..., :2]
    return total


def independent_epe(
    flow: NDArray[Any], label: NDArray[Any], valid: NDArray[Any], *, epsilon: float = 0.0
) -> list[float]:
    """Return each sample's mean Euclidean distance over its valid pixels, px, in float64.

    Parameters
    ----------
    epsilon : float, default 0.0
        Added to the squared distance, px^2.
    """
    distance = np.hypot(*np.moveaxis(np.asarray(flow, np.float64) - label, -1, 0))
    distance = np.hypot(distance, math.sqrt(epsilon))
    return [math.fsum(d[v]) / int(v.sum()) for d, v in zip(distance, valid, strict=True)]


def metric_gives_known_answers(evidence: Oracle) -> Outcome:
    """Require EPE 0 for a perfect prediction and 5 px for ground truth plus (3, 4)."""
    violations, floor = [], math.sqrt(max(evidence.epsilon, 0.0))
    if not floor <= _FLOOR:
        violations.append(
            Violation("EPE that the metric gives an exact prediction, by its own epsilon",
                      f"at most {_FLOOR} px", f"{floor} px")
        )  # fmt: skip
    for case, exact, found in evidence.cases:
        expected = [math.hypot(epe, floor) for epe in exact]
        for sample, (want, got) in enumerate(itertools.zip_longest(expected, found)):
            if want is None or got is None or not abs(want - got) <= _ORACLE:
                why = _last_alone(evidence.alone.get(case, ()), sample, got)
                where = f"EPE of {case}, sample {sample}"
                violations.append(Violation(where, _px(want), f"{_px(got)}{why}"))
                break
    answers = sorted({value for _, expected, _ in evidence.cases for value in expected})
    spread = any("spread" in case for case, *_ in evidence.cases)
    figures = (
        f"{len(evidence.cases)} known answers ({', '.join(f'{a:g}' for a in answers)} px), "
        f"{'residuals in one scale and spread over three' if spread else 'in the one output'}"
        + (f"; {floor:g} px for an exact one" if floor else "")
    )
    seen = sum(len(expected) for _, expected, _ in evidence.cases)
    return outcome(violations, seen, figures)


def _px(epe: float | None) -> str:
    return "none" if epe is None else f"{epe:.6g} px"


def _last_alone(alone: Sequence[float], sample: int, found: float | None) -> str:
    """Return whether a score is that of the last residual by itself, in words."""
    if found is None or sample >= len(alone) or not abs(alone[sample] - found) <= 1e-3:
        return ""
    return " (what the last residual scores alone: the coarser scales are not added)"


def metric_is_recomputed(evidence: Recomputation) -> Outcome:
    """Require the reported EPE equal to one recomputed from the outputs by other code."""
    violations: list[Violation] = []
    worst = 0.0
    per_arch: dict[str, list[float]] = {}
    for row, (arch, ids, outputs, label, valid, reported) in enumerate(evidence.rows):
        given = {"epsilon": evidence.epsilon}
        again = independent_epe(accumulate_residuals(outputs), label, valid, **given)
        last = independent_epe(outputs[-1][..., :2], label, valid, **given)
        per_arch.setdefault(arch, []).extend(again)
        own = evidence.own[row] if evidence.own else [None] * len(ids)
        for sample, want, got, alone, fed in zip(ids, again, reported, last, own, strict=True):
            error = abs(want - got) / max(want, 1e-12)
            worst = max(worst, error)
            if not error <= _RELATIVE:
                what = _why(want, got, alone, fed)
                violations.append(
                    Violation(f"arch {arch}, sample {sample}: EPE of the accumulated flow",
                              f"{want:.6f} px", f"{got:.6f} px ({what})")
                )  # fmt: skip
    for arch, samples in per_arch.items():
        mean, reported_mean = math.fsum(samples) / len(samples), evidence.reported[arch]
        if not math.isclose(mean, reported_mean, rel_tol=_RELATIVE):
            violations.append(
                Violation(f"arch {arch}: mean over {len(samples)} samples, each weighing the same",
                          f"{mean:.6f} px", f"{reported_mean:.6f} px")
            )  # fmt: skip
    seen = sum(len(samples) for samples in per_arch.values())
    figures = f"{len(per_arch)} archs, {seen} sample scores, worst relative error {worst:.1e}"
    return outcome(violations[:6], seen, figures)


def _why(want: float, got: float, alone: float, fed: float | None) -> str:
    """Return what a reported score is, in words: the last residual's, or that of something else.

    Parameters
    ----------
    want, got, alone, fed : float
        EPE of the accumulated flow, as reported, of the last residual alone, and what the
        metric gives when it is fed with these outputs, px.
    """
    if abs(alone - got) <= 1e-3 * alone:
        return "the last residual scores that alone"
    text = f"relative {abs(want - got) / max(want, 1e-12):.1e}"
    if fed is None or abs(fed - got) <= 1e-3 * fed:
        return text
    text += f"; fed with these outputs the metric gives {fed:.6f} px"
    if abs(fed - alone) <= 1e-3 * alone and abs(fed - want) > 1e-3 * want:
        text += ", what the last residual scores alone"
    return text + "; so the evaluation scored other samples or other statistics"


def unknown_flow_is_unscored(evidence: Recomputation) -> Outcome:
    """Require the recomputed EPE for samples of which some pixels are not valid."""
    found = metric_is_recomputed(evidence)
    if all(bool(np.all(valid)) for *_, valid, _ in evidence.rows):
        nothing = Violation("evidence", "a pixel without a label", "none: nothing to leave out")
        return Outcome((*found.violations, nothing), found.figures)
    return found


def metric_is_alive(evidence: Response) -> Outcome:
    """Require the EPE to respond to each output head, and to differ between archs.

    Decided by response and not by level: early in training a live metric may well score
    worse than an all-zero flow, so that level only warns.
    """
    base, violations = evidence.base, []
    if not base.archs:
        return outcome([], 0, "no arch was scored")
    if evidence.again is not None and evidence.again.per_sample != base.per_sample:
        violations.append(
            Violation("EPE evaluated again, with nothing changed", "the same EPE",
                      "another: a response to the model cannot be told from noise")
        )  # fmt: skip
    for head, changed in evidence.changed.items():
        still = [
            arch for arch in base.archs if base.per_sample[arch] == changed.per_sample.get(arch)
        ]
        if still:
            violations.append(
                Violation(f"EPE after changing the kernels of {head}", "another EPE",
                          f"the same for {len(still)} of {len(base.archs)} archs: the metric "
                          "does not see this scale")
            )  # fmt: skip
    by_score: dict[tuple[float, ...], list[str]] = {}
    for arch in base.archs:
        by_score.setdefault(base.per_sample[arch], []).append(arch)
    violations += [
        Violation(f"EPE of archs {', '.join(twins)}", "different", "equal sample by sample")
        for twins in by_score.values()
        if len(twins) > 1
    ]
    spread = max(base.per_arch_epe) - min(base.per_arch_epe)
    warning: tuple[str, ...] = ()
    if not base.mean_epe < base.zero_flow_epe:
        warning = (
            f"mean EPE {base.mean_epe:.3f} px is not below the {base.zero_flow_epe:.3f} px that "
            "an all-zero flow scores (expected of an untrained net, not of a trained one)",
        )
    figures = (
        f"{len(evidence.changed)} heads move the EPE; {len(by_score)} of {len(base.archs)} archs "
        f"distinct, spread {spread:.4f} px"
    )
    return outcome(violations, min(len(evidence.changed), len(base.archs)), figures, warning)


def constant_ranking_has_no_tau(evidence: ConstantRanking) -> Outcome:
    """Require Kendall's tau to be undefined where every arch scores the same."""
    violations = [
        Violation(f"kendall_tau_prev of epoch {epoch}, all archs equal", "none", str(tau))
        for epoch, tau in enumerate(evidence.taus, start=1)
        if tau is not None
    ]
    if len(set(evidence.per_arch_epe)) != 1:
        violations.append(
            Violation("EPE of archs that predict zero flow", "equal", str(evidence.per_arch_epe))
        )
    figures = f"{len(evidence.per_arch_epe)} equal scores, no tau in {len(evidence.taus)} epochs"
    pairs = min(len(evidence.taus), len(evidence.per_arch_epe)) - 1  # of epochs, and of archs
    return outcome(violations, max(pairs, 0), figures)
