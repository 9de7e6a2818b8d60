"""The arithmetic of an evaluation, for splits, partitions, rankings and pools of any size."""

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness.promises.bench import Bench
from harness.promises.drawn_cases import case_count, for_all, parts, require, require_refusal
from harness.promises.promise import Outcome, Promise, needs, outcome

__all__ = [
    "KENDALL_TAU", "POOL_SIZE", "RECAL_POOLING", "SAMPLE_WEIGHTS", "all_parts", "evaluation_parts",
    "pools_are_distinct", "rank_counts_pairs", "samples_weigh_the_same",
    "statistics_pool_any_partition",
]  # fmt: skip

_SEEDS = st.integers(0, 2**32 - 1)


@needs(says=("parts",))
def evaluation_parts(bench: Bench) -> Any:
    """Return the parts that an evaluation is put together from."""
    return parts(bench).evaluation


@needs(says=("parts",))
def all_parts(bench: Bench) -> Any:
    """Return all parts of the system."""
    return parts(bench)


def samples_weigh_the_same(evidence: Any) -> Outcome:
    """Require an EPE that does not depend on how a split is cut, to the last bit."""

    def split(count: int, batch: int, seed: int) -> None:
        rng, where = np.random.default_rng(seed), f"{count} samples in batches of {batch}"
        flow, label = (rng.normal(size=(count, 5, 7, 2)).astype(np.float32) for _ in range(2))
        valid = rng.random((count, 5, 7)) < 0.7
        # A sample without a valid pixel is an error, which is tried below.
        valid[:, 0, 0] = True
        cut = [slice(i, i + batch) for i in range(0, count, batch)]
        samples = np.concatenate([evidence.epe(flow[p], label[p], valid[p]) for p in cut])
        expected = [np.hypot(*(f - w)[v].astype(np.float64).T).mean()
                    for f, w, v in zip(flow, label, valid, strict=True)]  # fmt: skip
        # A pixel's distance is float32 (decision 0011).
        close = np.allclose(samples, expected, rtol=1e-6)
        require(f"EPE of {where}", expected, samples.tolist(), holds=close)
        # Equal and not close, here and below: exact sums
        # (math.fsum) know no order and no grouping.
        mean = evidence.mean(list(samples))
        require(f"mean EPE of {where}, reversed", mean, evidence.mean(list(reversed(samples))))
        whole = list(evidence.epe(flow, label, valid))
        require(f"mean EPE of {where}, in one batch", mean, evidence.mean(whole))
        for misfit in (
            (flow, label[:, 1:], valid), (flow[:, 1:], label, valid), (flow, label, valid[:, 1:]),
            (flow[:, 1:], label, valid[:, 1:]), (flow[..., :1], label[..., :1], valid),
        ):  # fmt: skip
            shapes = ", ".join(str(array.shape) for array in misfit)
            require_refusal(f"EPE of shapes {shapes}", "expected flow and label",
                            evidence.epe, *misfit)  # fmt: skip
        none_valid = np.zeros_like(valid)
        require_refusal("EPE of no valid pixel", "no valid pixel",
                        evidence.epe, flow, label, none_valid)  # fmt: skip

    def no_samples(_: None) -> None:
        require_refusal("mean EPE of no samples", "no samples", evidence.mean, [])

    sizes = st.integers(1, 9)
    violations = for_all(split, sizes, sizes, _SEEDS) or for_all(no_samples, st.just(None))
    return outcome(violations, case_count(), f"{case_count()} splits")


SAMPLE_WEIGHTS = Promise(
    id="sample-weights",
    sentence="every sample weighs the same, any K",
    evidence=evaluation_parts,
    check=samples_weigh_the_same,
    hint="Batches are averaged instead of samples, or pixels without a label count.",
    explained_by=("metric-oracle", "metric-recomputed"),
    blocked_by=("same-scores-again",),
)


def statistics_pool_any_partition(evidence: Any) -> Outcome:
    """Require batches of any sizes to pool to the mean, and the variance divided by N."""
    pool = evidence.pool_statistics

    def partition(sizes: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        data = [rng.normal(3, 2, size=(n, 5, 4, 3)) for n in sizes]
        stats = [{"u": (d.mean((0, 1, 2)), d.var((0, 1, 2)))} for d in data]
        joined, found = np.concatenate(data), pool(stats, sizes)["u"]
        expected = joined.mean((0, 1, 2)), joined.var((0, 1, 2))
        for name, want, got in zip(("mean", "variance"), expected, found, strict=True):
            close = np.allclose(got, want, rtol=1e-6)
            require(f"{name} of batches of {sizes}", want, np.asarray(got), holds=close)

    def misfit(_: None) -> None:
        batch = {"u": (np.zeros(1), np.ones(1))}
        for batches, sizes in (([], []), ([batch], [1, 1]), ([batch, batch], [1])):
            where = f"{len(batches)} batches with {len(sizes)} sizes"
            require_refusal(where, "as many sizes as batches",
                            pool, batches, sizes)  # fmt: skip

    few = st.lists(st.integers(1, 7), min_size=1, max_size=6)
    # As many as a run recalibrates on, and more.
    many = st.lists(st.integers(1, 2), min_size=65, max_size=70)
    violations = for_all(partition, few | many, _SEEDS) or for_all(misfit, st.just(None))
    return outcome(violations, case_count(), f"{case_count()} partitions")


RECAL_POOLING = Promise(
    id="recal-pooling",
    sentence="recalibration pools uneven batches",
    evidence=evaluation_parts,
    check=statistics_pool_any_partition,
    hint="Statistics are averaged over batches, leave out the variance between batches, or "
    "divide by N - 1.",
    explained_by=("recal-statistics-exact", "recal-effective:no effect"),
)


_APART = (1.0, 1e-3, 1e-6, 1e-12)
"""From one score to the next, px."""


def rank_counts_pairs(evidence: Any) -> Outcome:
    """Require tau-b to equal counting pairs; a constant ranking has none, never 1.0."""
    rank = evidence.rank

    def ranking(pairs: list[tuple[int, int]], apart: float) -> None:
        # Of a trained pool, scores often differ in a late digit alone.
        x, y = ([2.75 + apart * v for v in column] for column in zip(*pairs, strict=True))
        signs = [
            (np.sign(x[i] - x[j]), np.sign(y[i] - y[j]))
            for i, j in itertools.combinations(range(len(x)), 2)
        ]
        norm = math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
        tau, reason = rank(x, y)
        where = f"tau of {x} and {y}"
        if norm == 0:
            require(where, "None: a ranking is constant", f"{tau}: {reason}",
                    holds=tau is None and "constant" in str(reason))  # fmt: skip
        else:
            expected = sum(a * b for a, b in signs) / norm
            close = tau is not None and math.isclose(tau, expected, abs_tol=1e-12)
            require(where, expected, tau, holds=close)

    def misfit(_: None) -> None:
        for lists in (([1.0, 2.0], [1.0]), ([1.0], [1.0, 2.0])):
            require_refusal(f"tau of {lists}", "lists of one length", rank, *lists)
        require_refusal("tau with NaN", "finite", rank, [1.0, math.nan], [1.0, 2.0])

    value = st.integers(0, 5)
    rankings = st.lists(st.tuples(value, value), min_size=2, max_size=12)
    violations = for_all(ranking, rankings, st.sampled_from(_APART)) or for_all(
        misfit, st.just(None)
    )
    return outcome(violations, case_count(), f"{case_count()} rankings")


KENDALL_TAU = Promise(
    id="kendall-tau",
    sentence="tau-b with ties, undefined when constant",
    evidence=all_parts,
    check=rank_counts_pairs,
    hint="Ties count as agreement, or a ranking in which nothing differs is called stable.",
    explained_by=("tau-of-changed-ranking", "constant-ranking"),
)


def pools_are_distinct(evidence: Any) -> Outcome:
    """Require pools of any size to be distinct archs, of which a smaller one begins a larger."""
    build = evidence.pool

    def pool(size: int, seed: int) -> None:
        found, where = build(seed=seed, size=size), f"pool of {size}, seed {seed}"
        require(f"{where}, distinct archs", size, len(set(found)))
        require(f"{where}, archs", size, len(found))
        larger = build(seed=seed, size=61)[:size]
        require(f"{where}, as the start of 61", larger, found)

    def misfit(_: None) -> None:
        for size in (-1, 0, 3**9 + 1):
            require_refusal(f"pool of {size}", "1 to 19683 archs",
                            build, seed=1, size=size)  # fmt: skip

    violations = for_all(pool, st.integers(1, 60), st.integers(0, 2**31))
    violations = violations or for_all(misfit, st.just(None))
    return outcome(violations, case_count(), f"{case_count()} pools")


POOL_SIZE = Promise(
    id="pool-size",
    sentence="pools of any size are distinct archs",
    evidence=all_parts,
    check=pools_are_distinct,
    hint="An arch is scored twice, so that the pool is smaller than it says.",
    explained_by=("pool-as-declared",),
)
