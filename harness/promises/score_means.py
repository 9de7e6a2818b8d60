"""The numbers that a team reads and tunes by follow from the scores of the samples beneath them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.promises.bench import Bench
from harness.promises.candidates import instead, mean_of, scores_instead
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome, with_shown
from harness.promises.score_candidates import mean_of_samples_instead, mean_over, over_text
from harness.promises.scores import repeat_again, repeat_subset
from harness.promises.shown import Row, Shown, values_beside
from harness.systems.protocol import Evaluation
from harness.wording import counted

__all__ = ["EPE_ADDS_UP", "Evaluations", "epe_adds_up", "evaluations"]

_TOLERANCE = 1e-5
"""Relative: means may be taken in float32."""


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of one system in the order in which they were made, each with its name.

    ``mean`` is what the system declares that an arch's EPE averages over.
    """

    made: tuple[tuple[str, Evaluation], ...]
    mean: str = "samples"


@needs("evaluate")
def evaluations(bench: Bench) -> Evaluations:
    """Return two of the whole pool, and one of a part, whose mean is another."""
    twice = bench.evidence(repeat_again)
    made = [("the pool", twice.first), ("the pool again", twice.again)]
    if len(twice.first.archs) > 1:
        made.append(("one arch alone", bench.evidence(repeat_subset).again))
    return Evaluations(tuple(made), bench.describe().mean)


def epe_adds_up(evidence: Evaluations) -> Outcome:
    """Require each arch's EPE to be the mean over its samples, and the pool's that over archs."""
    violations, seen, before, unseen = [], 0, list[float](), ""
    for name, found in evidence.made:
        where = f"evaluation of {name}"
        if not len(found.archs) == len(found.per_arch_epe) > 0:
            epe = f"{len(found.per_arch_epe)} EPE"
            violations.append(Violation(where, f"one for each of {len(found.archs)} archs", epe))
            continue
        if evidence.mean == "pixels" and not found.pixels:
            unseen = (
                "the system declares a mean over pixels (describe()['mean']), and evaluate() "
                "returns no pixels of its samples"
            )
        else:
            violations += _wrong_archs(where, found, evidence.mean)
        violations += _wrong_mean(where, found, before)
        before.append(mean_of(found.per_arch_epe))
        seen += sum(map(len, found.per_sample.values()))
    violations = with_shown(violations, lambda: (_beside(evidence),))
    figures = f"{counted(len(evidence.made), 'evaluation')}, {counted(seen, 'sample score')}"
    return outcome(violations[:6], seen, figures, unseen=unseen)


def _beside(evidence: Evaluations) -> Shown:
    """Return the means that follow from the scores beneath them, beside those reported."""
    rows = []
    for name, found in evidence.made:
        for arch, epe in zip(found.archs, found.per_arch_epe, strict=False):
            samples = found.per_sample.get(arch, ())
            known = samples and (evidence.mean == "samples" or len(found.pixels) == len(samples))
            rows.append(
                _row(f"{name}, arch {arch}",
                     mean_over(samples, found.pixels, evidence.mean) if known else None, epe)
            )  # fmt: skip
        if found.per_arch_epe:
            rows.append(_row(f"{name}, mean EPE", mean_of(found.per_arch_epe), found.mean_epe))
    return values_beside("means of the scores beneath them", "px", rows, ("recomputed", "reported"))


def _row(name: str, mean: float | None, epe: float) -> Row:
    return Row(name, mean, epe, mean is None or not math.isclose(mean, epe, rel_tol=_TOLERANCE))


def _wrong_archs(where: str, found: Evaluation, over: str) -> list[Violation]:
    violations, count = [], max(map(len, found.per_sample.values()), default=0)
    for arch, epe in zip(found.archs, found.per_arch_epe, strict=True):
        samples = found.per_sample.get(arch, ())
        what = f"{where}, arch {arch}"
        if not len(samples) == count > 0:
            expected = f"scores of {counted(max(count, 1), 'sample')}, as of the others"
            violations.append(Violation(what, expected, str(len(samples))))
        # A NaN is close to nothing: it counts as wrong.
        elif not math.isclose(
            mean := mean_over(samples, found.pixels, over), epe, rel_tol=_TOLERANCE
        ):
            pixels = found.pixels or [1] * count
            other = mean_of_samples_instead(epe, [samples], [pixels], rel_tol=_TOLERANCE, over=over)
            expected = f"{mean:.6f} px, the mean over {over_text(count, found.pixels, over)}"
            violations.append(Violation(what, expected, f"{epe:.6f} px{other}"))
    return violations


def _wrong_mean(where: str, found: Evaluation, before: Sequence[float]) -> list[Violation]:
    """Return whether the pool's mean is not that of its archs.

    Parameters
    ----------
    before : sequence of float
        The means of earlier evaluations, px.
    """
    mean, epe = mean_of(found.per_arch_epe), found.mean_epe
    if math.isclose(mean, epe, rel_tol=_TOLERANCE):
        return []
    candidates = scores_instead("mean_epe", found.per_arch_epe)
    if before:
        candidates = {
            **candidates,
            "that of the evaluation before": before[-1],
            "that of the first evaluation": before[0],
            "the mean over all evaluations so far": mean_of([*before, mean]),
        }
    what = instead(epe, candidates, rel_tol=_TOLERANCE)
    expected = f"{mean:.6f} px, the mean over {counted(len(found.archs), 'arch')}"
    return [Violation(f"{where}, mean EPE", expected, f"{epe:.6f} px{what}")]


EPE_ADDS_UP = Promise(
    id="epe-adds-up",
    sentence="each arch's EPE is the mean over its samples, the pool's the mean over its archs",
    evidence=evaluations,
    check=epe_adds_up,
    hint=(
        "Scores are right and the number that is read is not: a meter that is not reset between "
        "evaluations, samples that are left out, a mean of something else."
    ),
    explained_by=("metric-recomputed",),
    tier="smoke",
)
