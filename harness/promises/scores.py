"""A metric change means a model change: the same checkpoint scores the same."""

import dataclasses
import itertools
from collections.abc import Iterator
from functools import partial

from harness.archs import Space
from harness.errors import NotApplicableError
from harness.promises.arch_codes import is_code, options_run, require_codes, space_of
from harness.promises.bench import Bench
from harness.promises.promise import Promise, needs, require_seen
from harness.promises.same_scores import Repeat, same_scores
from harness.promises.second_process import evaluation_of_end
from harness.supernet.space import SKELETONS
from harness.systems.protocol import Evaluation

__all__ = [
    "SAME_SCORES_AGAIN", "SAME_SCORES_ALONE", "SAME_SCORES_FRESH", "SAME_SCORES_PERMUTED",
    "SAME_SCORES_PREFIX", "SAME_SCORES_SKELETONS", "SAME_SCORES_SUBSET", "base_evaluation",
    "is_noisy", "repeat_again", "repeat_alone", "repeat_fresh", "repeat_permuted",
    "repeat_prefix", "repeat_skeleton", "repeat_subset",
]  # fmt: skip


_HINT = (
    "The number moves although the model does not. Look for random sampling or cropping in "
    "evaluation, a cursor that is not reset, or state carried from one arch to the next."
)


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
    tier="smoke",
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


@needs("evaluate", says=("several archs",))
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


@needs("evaluate", says=("several archs",))
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


@needs("evaluate", says=("arch codes",))
def repeat_alone(bench: Bench) -> Repeat:
    """Evaluate neighbours together, which share the most, and each of them alone."""
    space, base = space_of(bench.describe()), base_evaluation(bench)
    require_codes(base.archs, space, what="the system scores")
    arch = next(arch for arch in reversed(base.archs) if is_code(arch, space))
    # A block of one option changes nothing.
    pool = tuple(dict.fromkeys((arch, *_neighbours(arch, space))))
    if len(pool) < 2:
        msg = f"arch {arch} has no neighbour: no other code differs from it in one block"
        raise NotApplicableError(msg)
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


def _neighbours(arch: str, space: Space) -> Iterator[str]:
    """Yield the arch with the next option in one block, block by block, where there is its code."""
    choice = options_run(arch, space)
    for block, count in enumerate(space.counts):
        others = ((choice[block] + more) % count for more in range(1, count))
        codes = (space.write((*choice[:block], o, *choice[block + 1 :])) for o in others)
        yield from itertools.islice(filter(None, codes), 1)


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
        evidence=needs("evaluate", "train", says=("supports: skeletons",))(
            partial(repeat_skeleton, skeleton=skeleton)
        ),
        check=same_scores,
        hint=_HINT,
        tier="full",
        blocked_by=("same-scores-again",),
    )
    for skeleton in SKELETONS
)


@needs("evaluate", "batches")
def repeat_prefix(bench: Bench) -> Repeat:
    """Evaluate on fewer batches per arch, and an arch as configured behind it."""
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
        whole = system.evaluate(base.archs[:1])
    return Repeat(base, again, f"K = {fewer}", prefix=True, whole=whole)


SAME_SCORES_PREFIX = Promise(
    id="same-scores-prefix",
    sentence="the first batches score the same with a larger K",
    evidence=repeat_prefix,
    check=same_scores,
    hint=_HINT,
    blocked_by=("same-scores-again",),
    explained_by=("metric-recomputed:score",),
)
