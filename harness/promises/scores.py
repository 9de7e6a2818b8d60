"""A metric change means a model change: the same checkpoint scores the same."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from harness.errors import NotApplicableError
from harness.promises.arch_codes import is_code, options_per_block, require_codes
from harness.promises.bench import Bench
from harness.promises.candidates import order_instead
from harness.promises.promise import (
    EACH_TIME,
    Outcome,
    Promise,
    Violation,
    differences,
    needs,
    outcome,
    require_seen,
)
from harness.promises.second_process import evaluation_of_end
from harness.supernet.space import SKELETONS
from harness.systems.protocol import Evaluation
from harness.wording import counted, shortened

__all__ = [
    "SAME_SCORES_AGAIN",
    "SAME_SCORES_ALONE",
    "SAME_SCORES_FRESH",
    "SAME_SCORES_PERMUTED",
    "SAME_SCORES_PREFIX",
    "SAME_SCORES_SKELETONS",
    "SAME_SCORES_SUBSET",
    "Repeat",
    "base_evaluation",
    "is_noisy",
    "pool_differences",
    "repeat_again",
    "repeat_alone",
    "repeat_fresh",
    "repeat_permuted",
    "repeat_prefix",
    "repeat_skeleton",
    "repeat_subset",
    "same_scores",
]  # fmt: skip


_HINT = (
    "The number moves although the model does not. Look for random sampling or cropping in "
    "evaluation, a cursor that is not reset, or state carried from one arch to the next."
)


@dataclass(frozen=True)
class Repeat:
    """The same checkpoint evaluated twice; `expected` selects from the first evaluation."""

    first: Evaluation
    again: Evaluation
    how: str
    prefix: bool = False


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
    else:
        violations += _reported(evidence)
    other = first.eval_batch_hash != again.eval_batch_hash
    violations = [
        dataclasses.replace(v, kind=EACH_TIME if other else "other scores") for v in violations
    ]
    figures = (
        f"{counted(len(again.archs), 'arch')}, {counted(compared, 'sample score')} equal to the "
        f"last bit; EPE {first.mean_epe:.4f} px"
    )
    return outcome(violations[:6], compared, figures)


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


@needs("evaluate")
def repeat_again(bench: Bench) -> Repeat:
    """Evaluate twice in a row, so that whatever the first one leaves behind reaches the second."""
    with bench.scored() as system:
        return Repeat(system.evaluate(), system.evaluate(), "evaluated again")


SAME_SCORES_AGAIN = Promise(
    id="same-scores-again",
    sentence="the same checkpoint scores the same when evaluated again",
    evidence=repeat_again,
    check=same_scores,
    hint=_HINT,
    # An arch that starts from what the one before it left.
    explained_by=("recal-effective:past",),
)


def base_evaluation(bench: Bench) -> Evaluation:
    """Return the evaluation that others are held against."""
    first = bench.evidence(repeat_again).first
    require_seen(first.archs, "no arch was scored")
    for arch in first.archs:
        require_seen(first.per_sample.get(arch), f"no score of a sample of arch {arch}")
    return first


def is_noisy(twice: Repeat) -> bool:
    """Return whether nothing that moves the scores can be told from noise."""
    return twice.first.per_sample != twice.again.per_sample


@needs("evaluate", "train", "state", "save", "restore")
def repeat_fresh(bench: Bench) -> Repeat:
    """Evaluate the saved checkpoint in a fresh process."""
    again = bench.evidence(evaluation_of_end).result()
    return Repeat(base_evaluation(bench), again, "in a fresh process")


SAME_SCORES_FRESH = Promise(
    id="same-scores-fresh",
    sentence="the same checkpoint scores the same in a fresh process",
    evidence=repeat_fresh,
    check=same_scores,
    hint=_HINT,
    blocked_by=("same-scores-again",),
)


@needs("evaluate")
def repeat_permuted(bench: Bench) -> Repeat:
    """Evaluate the pool in reversed order."""
    _require_several(bench)
    base = base_evaluation(bench)
    with bench.scored() as system:
        return Repeat(base, system.evaluate(tuple(reversed(base.archs))), "pool reversed")


SAME_SCORES_PERMUTED = Promise(
    id="same-scores-permuted",
    sentence="the same checkpoint scores the same with the pool in another order",
    evidence=repeat_permuted,
    check=same_scores,
    hint=_HINT,
    explained_by=("recal-effective:past",),
    blocked_by=("same-scores-again",),
)


@needs("evaluate")
def repeat_subset(bench: Bench) -> Repeat:
    """Evaluate one arch of the pool alone, and not the first."""
    _require_several(bench)
    base = base_evaluation(bench)
    with bench.scored() as system:
        # Not the first arch, to which nothing can have been carried over.
        return Repeat(base, system.evaluate(base.archs[-1:]), "one arch alone")


SAME_SCORES_SUBSET = Promise(
    id="same-scores-subset",
    sentence="the same checkpoint scores the same when only part of the pool is asked",
    evidence=repeat_subset,
    check=same_scores,
    hint=_HINT,
    explained_by=("same-scores-permuted",),
    blocked_by=("same-scores-again",),
)


def _require_several(bench: Bench) -> None:
    if len(base_evaluation(bench).archs) < 2:
        msg = "the pool is one arch, which has no order and no part"
        raise NotApplicableError(msg)


@needs("evaluate")
def repeat_alone(bench: Bench) -> Repeat:
    """Evaluate neighbours together, which share the most, and each of them alone."""
    space, base = options_per_block(bench.describe().options), base_evaluation(bench)
    require_codes(base.archs, space, what="the system scores")
    arch = next(arch for arch in reversed(base.archs) if is_code(arch, space))
    pool = (arch, *(_changed(arch, place, space) for place in range(len(arch))))
    pool = tuple(dict.fromkeys(pool))  # a block of one option changes nothing
    with bench.scored() as system:
        together = system.evaluate(pool)
        alone = [system.evaluate((neighbour,)) for neighbour in pool]
    # Put together, so that the check for two evaluations compares them.
    merged = dataclasses.replace(
        together,
        per_arch_epe=tuple(score for found in alone for score in found.per_arch_epe),
        per_sample={name: epe for found in alone for name, epe in found.per_sample.items()},
    )
    return Repeat(together, merged, "each arch alone")


def _changed(arch: str, place: int, space: Sequence[int]) -> str:
    """Return the arch with another option at one place."""
    return arch[:place] + str((int(arch[place]) + 1) % space[place]) + arch[place + 1 :]


SAME_SCORES_ALONE = Promise(
    id="same-scores-alone",
    sentence="archs that are scored together score as each one alone",
    evidence=repeat_alone,
    check=same_scores,
    hint=(
        "Archs share a value or a statistic whose inputs differ. Look for a cache whose key leaves"
        " out a code that the value depends on."
    ),
    explained_by=("same-scores-permuted", "same-scores-subset"),
    blocked_by=("same-scores-again",),
)


@needs("evaluate", "train")
def repeat_skeleton(bench: Bench, *, skeleton: str) -> Repeat:
    """Train and evaluate one skeleton twice over."""
    if "skeletons" not in bench.describe().supports:
        msg = "the system does not say that it builds every skeleton (supports: skeletons)"
        raise NotApplicableError(msg)
    found = []
    for _ in range(2):
        with bench.open(model={"skeleton": skeleton}) as system:
            system.train(1, evaluate=False)
            found.append(system.evaluate())
    return Repeat(found[0], found[1], f"skeleton {skeleton}, trained and evaluated again")


SAME_SCORES_SKELETONS = tuple(
    Promise(
        id=f"same-scores-{skeleton}",
        sentence=f"the same checkpoint scores the same when skeleton {skeleton} is trained again",
        evidence=needs("evaluate", "train")(partial(repeat_skeleton, skeleton=skeleton)),
        check=same_scores,
        hint=_HINT,
        tier="full",
        blocked_by=("same-scores-again",),
    )
    for skeleton in SKELETONS
)


@needs("evaluate", "batches")
def repeat_prefix(bench: Bench) -> Repeat:
    """Evaluate on fewer batches per arch."""
    base, fixed = base_evaluation(bench), bench.describe().settings
    if "eval.eval_batches_per_arch" in fixed:
        only = fixed["eval.eval_batches_per_arch"]
        msg = f"the system has eval.eval_batches_per_arch {only!r} alone, fewer are needed"
        raise NotApplicableError(msg)
    with bench.scored() as system:
        fewer = len(system.batches("eval")) - 1
        if fewer < 1:
            msg = "the validation split gives one batch, a prefix needs at least two"
            raise NotApplicableError(msg)
        again = system.evaluate(batches_per_arch=fewer)
    return Repeat(base, again, f"K = {fewer}", prefix=True)


SAME_SCORES_PREFIX = Promise(
    id="same-scores-prefix",
    sentence="the first batches score the same with a larger K",
    evidence=repeat_prefix,
    check=same_scores,
    hint=_HINT,
    blocked_by=("same-scores-again",),
    explained_by=("metric-recomputed",),
)
