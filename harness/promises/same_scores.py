"""The same checkpoint evaluated twice, and how the scores differ."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

from harness.promises.candidates import order_instead
from harness.promises.promise import (
    EACH_TIME,
    Outcome,
    Violation,
    differences,
    outcome,
    with_shown,
)
from harness.promises.shown import Row, Shown, values_beside
from harness.systems.protocol import Evaluation
from harness.wording import counted, shortened

__all__ = ["Repeat", "pool_differences", "same_scores"]


@dataclass(frozen=True)
class Repeat:
    """The same checkpoint evaluated twice; `expected` selects from the first evaluation.

    ``whole`` is one of an arch, as configured, that was made behind the second.
    """

    first: Evaluation
    again: Evaluation
    how: str
    prefix: bool = False
    whole: Evaluation | None = None


def same_scores(evidence: Repeat) -> Outcome:
    """Require equal scores, to the last bit, sample by sample, for every arch asked twice."""
    first, again = evidence.first, evidence.again
    violations: list[Violation] = []
    compared = 0
    for arch in again.archs:
        old, new = first.per_sample.get(arch, ()), again.per_sample[arch]
        if evidence.prefix:
            old = old[: len(new)]
        compared += len(new)
        violations += _samples(arch, old, new, evidence)
    # Fewer batches have another hash and another mean: samples alone compare.
    if evidence.prefix:
        if all(len(again.per_sample[a]) == len(first.per_sample.get(a, ())) for a in again.archs):
            violations.append(Violation(evidence.how, "fewer samples than the whole", "as many"))
        violations += _fewer_since(evidence)
    else:
        violations += _reported(evidence)
    other = first.eval_batch_hash != again.eval_batch_hash
    violations = [
        dataclasses.replace(v, kind=EACH_TIME if other else "other scores") for v in violations
    ]
    violations = with_shown(violations, lambda: (_beside(evidence),))
    figures = (
        f"{counted(len(again.archs), 'arch')}, {counted(compared, 'sample score')} equal to the "
        f"last bit; EPE {first.mean_epe:.4f} px"
    )
    return outcome(violations[:6], compared, figures)


def _fewer_since(evidence: Repeat) -> list[Violation]:
    """Return whether an evaluation as configured has fewer samples once fewer were asked for."""
    scored = {} if evidence.whole is None else evidence.whole.per_sample
    return [
        Violation(f"arch {arch}, evaluated as configured after {evidence.how}",
                  counted(len(before), "sample"), f"{len(scored[arch])}: the number is kept")
        for arch, before in evidence.first.per_sample.items()
        if arch in scored and len(scored[arch]) < len(before)
    ]  # fmt: skip


def _beside(evidence: Repeat) -> Shown:
    """Return the scores of both evaluations beside each other, sample by sample."""
    rows = []
    for arch in evidence.again.archs:
        new = evidence.again.per_sample[arch]
        old = evidence.first.per_sample.get(arch, ())
        pairs = zip_longest(old[: len(new)] if evidence.prefix else old, new)
        rows += [Row(f"arch {arch}, sample {i}", a, b, a != b) for i, (a, b) in enumerate(pairs)]
    return values_beside("EPE of each sample", "px", rows, ("first", evidence.how))


def _samples(
    arch: str, old: tuple[float, ...], new: tuple[float, ...], evidence: Repeat
) -> list[Violation]:
    how, several = evidence.how, [counted(len(scores), "sample") for scores in (old, new)]
    if len(old) != len(new):
        return [Violation(f"{how}, arch {arch}", several[0], several[1])]
    for index, (a, b) in enumerate(zip(old, new, strict=True)):
        if a != b:
            what = f"{b!r} px{_of_another(arch, old, new, evidence.first)}"
            return [Violation(f"{how}, arch {arch}, sample {index}", f"{a!r} px", what)]
    return []


def _of_another(
    arch: str, old: tuple[float, ...], new: tuple[float, ...], first: Evaluation
) -> str:  # fmt: skip
    """Return whose scores were found for an arch: another's, or those of other samples."""
    for other, scores in first.per_sample.items():
        if other != arch and len(new) > 1 and scores[: len(new)] == new:
            return f": the scores of arch {other}"
    return order_instead(old, new) if sorted(old) == sorted(new) else ""


_HASHES = {
    "eval_batch_hash": "other evaluation batches were scored",
    "bn_recal_batch_hash": "other batches were recalibrated on",
}


def _reported(evidence: Repeat) -> list[Violation]:
    first = dict(zip(evidence.first.archs, evidence.first.per_arch_epe, strict=True))
    again = dict(zip(evidence.again.archs, evidence.again.per_arch_epe, strict=True))
    asked_twice = {arch: first[arch] for arch in again if arch in first}
    what = f"{evidence.how}, reported EPE of arch"
    reported = [
        dataclasses.replace(violation, found=f"{violation.found}{_score_of(violation, first)}")
        for violation in differences(asked_twice, again, what=what)
    ]
    hashes = [
        Violation(f"{evidence.how}, {name}", shortened(getattr(evidence.first, name)),
                  f"{shortened(found)}: {what}")
        for name, what in _HASHES.items()
        if (found := getattr(evidence.again, name)) != getattr(evidence.first, name)
    ]  # fmt: skip
    return reported + hashes


def _score_of(violation: Violation, first: Mapping[str, float]) -> str:
    """Return which arch had the score that was found, in words."""
    owners = [arch for arch, epe in first.items() if str(epe) == violation.found]
    return f": that of arch {owners[0]}" if len(owners) == 1 else ""


def pool_differences(first: Evaluation, again: Evaluation, how: str) -> list[Violation]:
    """Return how the scores of a whole pool differ; a part of it would be too little."""
    violations = list(same_scores(Repeat(first, again, how)).violations)
    if first.archs != again.archs:
        violations.append(Violation(f"archs scored {how}", str(first.archs), str(again.archs)))
    return violations
