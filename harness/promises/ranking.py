"""The pool is what it is declared to be, and tau is that of two rankings."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.archs import digits
from harness.errors import NotApplicableError
from harness.promises.arch_codes import NINE_BLOCKS, require_codes, space_of
from harness.promises.bench import Bench, Tree, changed
from harness.promises.ledger.tau import tau_follows, tau_of_changed_ranking
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.recorded_run import recorded, with_epoch_log
from harness.promises.scores import base_evaluation, is_noisy, repeat_again
from harness.promises.states import require_named
from harness.records.records import NOT_LOGGED
from harness.records.run import RunEvidence
from harness.systems.beside import Job
from harness.systems.protocol import System
from harness.wording import counted

__all__ = [
    "CONSTANT_RANKING", "POOL_AS_DECLARED", "TAU_OF_CHANGED_RANKING", "ConstantRanking", "Pools",
    "constant_ranking", "constant_ranking_has_no_tau", "nearly_equal", "pool_is_declared", "pools",
    "shaken", "tau_of_close_scores",
]  # fmt: skip


@dataclass(frozen=True)
class Pools:
    """The default pool of nine archs, by the seed and by another one.

    ``again`` is the same seed's pool asked for once more: of a system that is trained, in the
    second process, which has another hash seed.
    """

    one: Sequence[str]
    again: Sequence[str]
    other: Sequence[str]


@needs("evaluate", says=("arch codes",))
def pools(bench: Bench) -> Pools:
    """Evaluate a default pool of nine archs, twice, and with another seed."""
    _require_declared_space(bench)
    seed, found = bench.config["runtime"]["seed"], []
    # Only the archs are looked at: what costs is left out.
    few = {"eval_batches_per_arch": 1, "bn_recal_batches": 1, "batch_size": 2}
    nine = {"eval_pool_size": 9}
    elsewhere = bench.beside(_pool_of(bench, few, nine)) if bench.trainable else None
    for value in (seed, seed + 1, *([seed] if elsewhere is None else [])):
        with bench.open_cheaply(few, runtime={"seed": value}, eval=nine) as system:
            found.append(system.evaluate().archs)
    one, other = found[:2]
    return Pools(one, found[2] if elsewhere is None else elsewhere.result(), other)


def _pool_of(bench: Bench, few: Tree, nine: Tree) -> Job[tuple[str, ...]]:
    """Return the job that asks for the default pool of nine."""
    config = changed(bench.config, eval={**bench.settable("eval", few), **nine})

    def job(make: Callable[[], System]) -> tuple[str, ...]:
        system = make()
        system.open(config)
        return system.evaluate().archs

    return job


def _require_declared_space(bench: Bench) -> None:
    """Require a system that scores codes of the space of which the pool is declared."""
    space = space_of(bench.describe())
    require_codes(base_evaluation(bench).archs, space, what="the system scores")
    if space != digits(NINE_BLOCKS):
        found = f"{counted(len(space.names), 'block')} of {', '.join(map(str, space.counts))}"
        msg = f"the pool is declared for nine blocks of three digits, the system has {found}"
        raise NotApplicableError(msg)


def pool_is_declared(evidence: Pools) -> Outcome:
    """Require the six declared archs, then distinct ones that the seed draws."""
    declared = [
        "".join(str(code(i) % 3) for i in range(9))
        for code in (
            lambda _: 0, lambda _: 1, lambda _: 2, lambda i: i, lambda i: 2 - i, lambda i: i + 1,
        )
    ]  # fmt: skip
    violations = []
    for name, pool in (("", evidence.one), (" with another seed", evidence.other)):
        violations += [
            Violation(f"arch {index} of the pool{name}", want, got)
            for index, (want, got) in enumerate(zip(declared, pool, strict=False))
            if want != got
        ]
        if len(pool) != 9 or len(set(pool)) != len(pool):
            distinct = f"{len(pool)}, {len(set(pool))} of them distinct"
            violations.append(Violation(f"archs of the pool{name}", "9 distinct", distinct))
    if list(evidence.one) != list(evidence.again):
        one, again = next(
            (
                pair
                for pair in zip(evidence.one, evidence.again, strict=False)
                if len(set(pair)) > 1
            ),
            (f"{len(evidence.one)} archs", f"{len(evidence.again)}"),
        )
        violations.append(Violation("pool asked for again, the first that differs", one, again))
    drawn, other = list(evidence.one)[6:], list(evidence.other)[6:]
    if drawn == other:
        violations.append(Violation("drawn archs with another seed", f"not {drawn}", str(other)))
    figures = f"6 declared and {counted(len(drawn), 'drawn arch')}, others with another seed"
    return outcome(violations[:6], len(evidence.one), figures)


POOL_AS_DECLARED = Promise(
    id="pool-as-declared",
    sentence="the pool is the declared archs, then distinct ones from the seed",
    evidence=pools,
    check=pool_is_declared,
    hint="Scores of different archs are compared as if they were those of one pool.",
)


@dataclass(frozen=True)
class ConstantRanking:
    """Scores of a pool whose archs all predict zero flow, and tau after each epoch."""

    per_arch_epe: tuple[float, ...]
    taus: tuple[float | None, ...]


@needs("train", "state", "describe", "evaluate", says=("heads", "Training.epochs", "several archs"))
def constant_ranking(bench: Bench) -> ConstantRanking:
    """Train two epochs in which no arch's flow differs from zero."""
    if is_noisy(bench.evidence(repeat_again)):
        msg = "the same weights score otherwise when evaluated again: equal archs cannot be told"
        raise NotApplicableError(f"{msg} from noise")
    # 0 is no valid rate; at this one the zeroed heads stay far below the rounding of an EPE.
    with bench.open(train={"lr": 1e-30}) as system:
        _scale_heads(system, 0.0)
        rows = with_epoch_log(system.train(2)).epochs
        scores = system.evaluate()
    if len(scores.archs) == 1:
        msg = "the pool is one arch, which has no order"
        raise NotApplicableError(msg)
    if any(row.reasons.get("kendall_tau_prev") == NOT_LOGGED for row in rows):
        msg = "the system's log has no kendall_tau_prev"
        raise NotApplicableError(msg)
    return ConstantRanking(scores.per_arch_epe, tuple(row.kendall_tau_prev for row in rows))


def _scale_heads(system: System, factor: float) -> None:
    """Multiply every output head, so that all archs predict less flow, or none."""
    state, heads = system.state(), system.describe().heads
    names = [name for kernels in heads.values() for name in kernels]
    if not names:
        msg = "the system names no output head (describe().heads)"
        raise NotApplicableError(msg)
    require_named(state, names, "describe().heads")
    system.state({n: (np.asarray(state[n]) * factor).astype(state[n].dtype) for n in names})


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
    epochs = counted(len(evidence.taus), "epoch")
    figures = f"{counted(len(evidence.per_arch_epe), 'equal score')}, no tau in {epochs}"
    pairs = min(len(evidence.taus), len(evidence.per_arch_epe)) - 1  # of epochs, and of archs
    nothing = "no two epoch rows (Training.epochs), or no two archs"
    return outcome(violations, max(pairs, 0), figures, without=nothing)


CONSTANT_RANKING = Promise(
    id="constant-ranking",
    sentence="tau is undefined where all archs score the same",
    evidence=constant_ranking,
    check=constant_ranking_has_no_tau,
    hint="A constant ranking has no order to agree with; 1.0 would read as perfect agreement.",
    explained_by=("tau-of-changed-ranking",),
)


@needs("train", "evaluate", says=("Training.records",))
def shaken(bench: Bench) -> RunEvidence:
    """Train so fast that the ranking of a larger pool turns over from epoch to epoch."""
    changes: dict[str, dict[str, Any]] = {
        "train": {"lr": 0.03},
        "eval": {"eval_every_epoch": 1, **bench.settable("eval", {"eval_pool_size": 9})},
    }
    with bench.open(**changes) as system:
        run = system.train(2)
    return recorded(changed(bench.config, **changes), bench.describe(), run)


TAU_OF_CHANGED_RANKING = Promise(
    id="tau-of-changed-ranking",
    sentence="tau follows from both rankings where they differ",
    evidence=shaken,
    check=tau_of_changed_ranking,
    hint="The ranking is compared with itself, or another correlation is logged as tau.",
)


_CLOSE = 1e-2
"""Share of the mean EPE within which scores are close: two digits of it are the same."""


@needs("train", "state", "describe", "evaluate", says=("Training.records", "heads"))
def nearly_equal(bench: Bench) -> RunEvidence:
    """Train two epochs in which archs predict so little flow that their scores hardly differ."""
    changes: dict[str, dict[str, Any]] = {
        # A tenth of a head's weights in a step: the ranking moves, and scores stay close.
        "train": {"lr": 1e-6},
        "eval": {"eval_every_epoch": 1, **bench.settable("eval", {"eval_pool_size": 9})},
    }
    with bench.open(**changes) as system:
        _scale_heads(system, 1e-4)
        run = system.train(2)
    return recorded(changed(bench.config, **changes), bench.describe(), run)


def tau_of_close_scores(run: RunEvidence) -> Outcome:
    """Require tau recomputed where scores differ in a late digit alone.

    Raises
    ------
    NotApplicableError
        If scores are not close, or all the same.
    """
    apart = [max(e.per_arch_epe) - min(e.per_arch_epe) for e in run.evals]
    close = [0 < a < _CLOSE * e.mean_epe for a, e in zip(apart, run.evals, strict=True)]
    if run.evals and not all(close):
        msg = f"scores are {max(apart):.3g} px apart, which is not close, or all the same"
        raise NotApplicableError(msg)
    found = tau_follows(run)
    figures = f"{found.figures}; scores {max(apart, default=0.0):.2g} px apart"
    return dataclasses.replace(found, figures=figures)


TAU_OF_CLOSE_SCORES = Promise(
    id="tau-of-close-scores",
    sentence="tau follows from both rankings where scores hardly differ",
    evidence=nearly_equal,
    check=tau_of_close_scores,
    hint="Scores are rounded before they are ranked, as in a log: archs that differ count as ties.",
    explained_by=("tau-of-changed-ranking", "constant-ranking"),
)
