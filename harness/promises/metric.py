"""The reported number is the EPE of the accumulated full-scale flow."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.candidates import instead
from harness.promises.independent_epe import accumulate_residuals, independent_epe
from harness.promises.known_answers import Oracle, oracle
from harness.promises.metric_shown import answers_shown, flow_shown, scores_shown
from harness.promises.promise import Outcome, Promise, Violation, outcome, with_shown
from harness.promises.recomputed import Recomputation, odd_recomputation, recomputation
from harness.promises.score_candidates import (
    OF_3_4,
    mean_of_samples_instead,
    mean_over,
    over_text,
    sample_score_instead,
)
from harness.promises.shown import Row
from harness.wording import counted

__all__ = [
    "METRIC_ORACLE", "METRIC_RECOMPUTED", "UNKNOWN_FLOW_UNSCORED", "metric_gives_known_answers",
    "metric_is_recomputed", "unknown_flow_is_unscored",
]  # fmt: skip


_EPE_TOLERANCE = 1e-5
"""Float32 network outputs, summed over three scales, against float64."""


_FLOOR = 0.01
"""px: a larger error of an exact prediction would drown what a trained net still learns."""


_ORACLE_TOLERANCE = 1e-4
"""px, absolute, for answers of 0 and 5 px, and as large a share of larger ones."""


def metric_gives_known_answers(evidence: Oracle) -> Outcome:
    """Require EPE 0 of a perfect prediction, 5 px of ground truth plus (3, 4), and far answers."""
    violations, floor = [], math.sqrt(max(evidence.epsilon, 0.0))
    # Not `>`, here and below: a NaN must count as wrong.
    if not floor <= _FLOOR:
        violations.append(
            Violation("EPE that the metric gives an exact prediction, by its own epsilon",
                      f"at most {_FLOOR} px", f"{floor} px")
        )  # fmt: skip
    for case, exact, found in evidence.cases:
        expected = [math.hypot(epe, floor) for epe in exact]
        for sample, (want, got) in enumerate(itertools.zip_longest(expected, found)):
            allowed = _ORACLE_TOLERANCE * max(1.0, (want or 0.0) / 5)
            if want is None or got is None or not abs(want - got) <= allowed:
                why = _last_alone(evidence.alone.get(case, ()), sample, got)
                if not why and want is not None and abs(want - 5) <= _ORACLE_TOLERANCE:
                    why = instead(got, OF_3_4, rel_tol=_ORACLE_TOLERANCE)
                where = f"EPE of {case}, sample {sample}"
                violations.append(Violation(where, _px(want), f"{_px(got)}{why}"))
                break
    violations = with_shown(
        violations, lambda: (answers_shown(evidence, floor, tolerance=_ORACLE_TOLERANCE),)
    )
    answers = sorted({value for _, expected, _ in evidence.cases for value in expected})
    spread = any("spread" in case for case, *_ in evidence.cases)
    known = counted(len(evidence.cases), "known answer")
    figures = (
        f"{known} ({', '.join(f'{a:g}' for a in answers)} px), "
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
    # EdgeFlowNAS scored that until commit 5f197cd, for hundreds of epochs.
    return " (what the last residual scores alone: the coarser scales are not added)"


METRIC_ORACLE = Promise(
    id="metric-oracle",
    sentence="a perfect prediction scores 0, ground truth plus (3, 4) scores 5 px",
    evidence=oracle,
    check=metric_gives_known_answers,
    hint="The metric does not score the accumulated full-scale flow.",
    tier="smoke",
)


def metric_is_recomputed(evidence: Recomputation) -> Outcome:
    """Require the reported EPE equal to one recomputed from the outputs by other code."""
    violations: list[Violation] = []
    worst = 0.0
    per_arch: dict[str, list[list[float]]] = {}
    known: dict[str, list[list[int]]] = {}
    compared, means, flow = list[Row](), list[Row](), None
    for row, (arch, ids, outputs, label, valid, reported) in enumerate(evidence.rows):
        if len(reported) != len(ids):
            where = f"arch {arch}, scores of samples {', '.join(ids)}"
            violations.append(Violation(where, str(len(ids)), str(len(reported)), _SCORE))
            continue
        unlabelled = [i for i, v in zip(ids, valid, strict=True) if not np.any(v)]
        if unlabelled and evidence.mean == "samples":
            msg = f"sample {unlabelled[0]} has no pixel with a label in its window: it has no EPE"
            raise NotApplicableError(msg)
        given = {"epsilon": evidence.epsilon}
        again = independent_epe(accumulate_residuals(outputs), label, valid, **given)
        last = independent_epe(outputs[-1][..., :2], label, valid, **given)
        everywhere = independent_epe(
            accumulate_residuals(outputs), label, np.ones_like(valid), **given
        )
        per_arch.setdefault(arch, []).append(again)
        known.setdefault(arch, []).append([int(mask.sum()) for mask in valid])
        own = evidence.own[row] if evidence.own else [None] * len(ids)
        for place, (sample, want, got, alone, fed) in enumerate(
            zip(ids, again, reported, last, own, strict=True)
        ):
            if not np.any(valid[place]):
                continue  # of no weight in a mean over pixels
            error = abs(want - got) / max(want, 1e-12)
            worst, wrong = max(worst, error), not error <= _EPE_TOLERANCE
            compared.append(Row(f"arch {arch}, sample {sample}", want, got, wrong))
            if wrong:
                what = _why(want, got, alone, fed)
                flow = flow or flow_shown(
                    f"arch {arch}, sample {sample}", outputs, place, label, valid,
                    last_alone="that alone" in what,
                )  # fmt: skip
                if "that alone" not in what and len(violations) < 6:  # all that is shown
                    batch = (outputs, label, valid)
                    other = sample_score_instead(got, place, batch, again, rel_tol=_EPE_TOLERANCE)
                    what = f"{what}; {other}" if other else what
                violations.append(
                    Violation(f"arch {arch}, sample {sample}: EPE of the accumulated flow",
                              f"{want:.6f} px", f"{got:.6f} px ({what})",
                              _kind(got, want, everywhere[place], valid[place]))
                )  # fmt: skip
    if flow is not None:
        shown = (scores_shown("EPE of each sample", compared), flow)
        violations = with_shown(violations, lambda: shown)
    violations += _zero_flow_differs(evidence)
    for arch, batches in per_arch.items():
        samples = [score for batch in batches for score in batch]
        pixels = [count for batch in known[arch] for count in batch]
        violations += _other_pixels(arch, pixels, evidence.pixels)
        mean = mean_over(samples, pixels, evidence.mean)
        reported_mean = evidence.reported[arch]
        wrong = not math.isclose(mean, reported_mean, rel_tol=_EPE_TOLERANCE)
        means.append(Row(f"arch {arch}", mean, reported_mean, wrong))
        if wrong:
            violations.append(
                Violation(
                    f"arch {arch}: mean over {over_text(len(samples), pixels, evidence.mean)}, "
                    "each weighing the same",
                    f"{mean:.6f} px", f"{reported_mean:.6f} px" + mean_of_samples_instead(
                        reported_mean, batches, known[arch], rel_tol=_EPE_TOLERANCE,
                        over=evidence.mean,
                    ),
                    _SCORE,
                )
            )  # fmt: skip
    if flow is None and any(row.wrong for row in means):
        violations = with_shown(violations, lambda: (scores_shown("EPE of each arch", means),))
    if evidence.turned is not None and not violations:
        found = metric_is_recomputed(evidence.turned).violations
        violations = [replace(v, where=f"{v.where}, once {_TURNED}") for v in found]
    seen = sum(len(batch) for batches in per_arch.values() for batch in batches)
    archs, scores = counted(len(per_arch), "arch"), counted(seen, "sample score")
    figures = f"{archs}, {scores}, worst relative error {worst:.1e}"
    return outcome(violations[:6], seen, figures)


_TURNED = "a kernel was changed"

_SCORE, _UNKNOWN = "score", "unknown flow"
"""Kinds of a score that is wrong: of whatever reason, and because it has unknown flow in it."""

_FAR = 1e3
"""So many times the EPE, px, no score is that unknown flow, of 1e9 px and more, is not in."""


def _kind(got: float, want: float, everywhere: float, valid: NDArray[Any]) -> str:
    """Return what kind a wrong score is of."""
    entered = math.isclose(got, everywhere, rel_tol=_EPE_TOLERANCE) or got > _FAR * max(want, 1.0)
    return _UNKNOWN if entered and not np.all(valid) else _SCORE


def _zero_flow_differs(evidence: Recomputation) -> list[Violation]:
    """Return whether the all-zero flow was scored on other samples than the net."""
    rows = [row for row in evidence.rows if row[0] == evidence.rows[0][0]]
    given = {"epsilon": evidence.epsilon}
    batches = [
        independent_epe(np.zeros_like(label), label, valid, **given)
        for _, _, _, label, valid, _ in rows
    ]
    samples, found = [score for batch in batches for score in batch], evidence.zero_flow
    known = [[int(mask.sum()) for mask in row[4]] for row in rows]
    pixels = [count for batch in known for count in batch]
    want = mean_over(samples, pixels, evidence.mean) if samples else 0.0
    if not samples or math.isclose(want, found, rel_tol=_EPE_TOLERANCE, abs_tol=1e-9):
        return []
    what = mean_of_samples_instead(
        found, batches, known, rel_tol=_EPE_TOLERANCE, over=evidence.mean
    )
    where = f"EPE of the all-zero flow over {over_text(len(samples), pixels, evidence.mean)}"
    return [Violation(where, f"{want:.6f} px", f"{found:.6f} px{what}", "zero flow")]


def _other_pixels(arch: str, pixels: Sequence[int], told: Sequence[int]) -> list[Violation]:
    """Return the first sample of which another number of valid pixels is told."""
    pairs = enumerate(zip(pixels, told, strict=False))
    return next(
        (
            [Violation(f"arch {arch}, valid pixels of sample number {i}", str(want), str(got))]
            for i, (want, got) in pairs
            if want != got
        ),
        [],
    )


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


METRIC_RECOMPUTED = Promise(
    id="metric-recomputed",
    sentence="the reported EPE is that of the predicted flow",
    evidence=recomputation,
    check=metric_is_recomputed,
    hint=(
        "The outputs are residuals: scoring the last one alone leaves the EPE near that of an all-"
        "zero flow. Samples must weigh equally, whatever batch they are in. What is kept from one "
        "evaluation for the next must go by the weights, and not by the step alone."
    ),
    explained_by=("metric-oracle", "recal-effective:no effect", "recal-effective:past"),
    blocked_by=("same-scores-again",),
    tier="smoke",
)


def unknown_flow_is_unscored(evidence: Recomputation) -> Outcome:
    """Require the recomputed EPE for samples of which some pixels are not valid."""
    found = metric_is_recomputed(evidence)
    if all(bool(np.all(valid)) for *_, valid, _ in evidence.rows):
        nothing = "no pixel without a label was scored: nothing to leave out"
        return replace(found, unseen=nothing)
    return found


UNKNOWN_FLOW_UNSCORED = Promise(
    id="unknown-flow-unscored",
    sentence="unknown flow does not enter the EPE",
    evidence=odd_recomputation,
    check=unknown_flow_is_unscored,
    hint="The EPE averages over pixels without a label, or leaves out pixels that have one.",
    explained_by=("metric-oracle", "metric-recomputed", "unknown-flow-masked:label"),
)
