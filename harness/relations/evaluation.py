"""A metric change means a model change."""

from itertools import zip_longest

from harness.evidence.bundles import Purity, Repeat
from harness.relations.base import Outcome, Violation, differences, outcome

__all__ = ["evaluation_changes_nothing", "same_scores"]


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
        violations += _samples(arch, old, new, evidence.how)
    if evidence.prefix:
        if all(len(again.per_sample[a]) == len(first.per_sample.get(a, ())) for a in again.archs):
            violations.append(Violation(evidence.how, "fewer samples than the whole", "as many"))
    else:
        violations += _reported(evidence)
    figures = (
        f"{len(again.archs)} archs, {compared} sample scores equal to the last bit; "
        f"EPE {first.mean_epe:.4f} px"
    )
    return outcome(violations[:6], compared, figures)


def _samples(
    arch: str, old: tuple[float, ...], new: tuple[float, ...], how: str
) -> list[Violation]:
    if len(old) != len(new):
        return [Violation(f"{how}, arch {arch}", f"{len(old)} samples", f"{len(new)} samples")]
    for index, (a, b) in enumerate(zip(old, new, strict=True)):
        if a != b:
            return [Violation(f"{how}, arch {arch}, sample {index}", f"{a!r} px", f"{b!r} px")]
    return []


def _reported(evidence: Repeat) -> list[Violation]:
    first = dict(zip(evidence.first.archs, evidence.first.per_arch_epe, strict=True))
    again = dict(zip(evidence.again.archs, evidence.again.per_arch_epe, strict=True))
    asked_twice = {arch: first[arch] for arch in again if arch in first}
    reported = differences(asked_twice, again, what=f"{evidence.how}, reported EPE of arch")
    hashes = [
        Violation(f"{evidence.how}, {name}", getattr(evidence.first, name), found)
        for name in ("eval_batch_hash", "bn_recal_batch_hash")
        if (found := getattr(evidence.again, name)) != getattr(evidence.first, name)
    ]
    return reported + hashes


def evaluation_changes_nothing(evidence: Purity) -> Outcome:
    """Require the complete state and the next training draws unchanged by an evaluation."""
    violations = differences(dict(evidence.before), dict(evidence.after), what="state after eval")
    before, after = evidence.draws_before, evidence.draws_after
    if before is None and after is None:
        figures = f"{len(evidence.before)} arrays unchanged; training draws cannot be asked for"
        return outcome(violations, len(evidence.before), figures)
    before, after = before or (), after or ()
    for index, (old, new) in enumerate(zip_longest(before, after, fillvalue="no batch")):
        if old != new:
            violations.append(Violation(f"next training epoch, batch {index}", old, new))
    figures = f"{len(evidence.before)} arrays and {len(before)} upcoming training batches unchanged"
    return outcome(violations, min(len(evidence.before), len(before)), figures)
