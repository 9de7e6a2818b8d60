"""Promises that range over sizes, counts, batch and micro-batch sizes, K and orders.

They are drawn by hypothesis and run on the parts that the system is put together from.
"""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.pytest_plugin import Gate

CHEAP = settings(deadline=None, database=None)


def drawn(what: str) -> str:
    """Say how many cases hypothesis draws in the profile that the tier selects."""
    return f"{settings.default.max_examples} {what}"


sides = st.integers(1, 40)
counts = st.integers(1, 60)


def test_centre_window_for_all_parities(gate: Gate) -> None:
    """Margins differ by at most one pixel, the larger one at the bottom and right."""
    center = gate.parts.data.center

    @CHEAP
    @given(sides, sides, st.data())
    def check(height: int, width: int, data: Any) -> None:
        crop = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
        window = center((height, width), crop)
        assert (window.height, window.width) == crop
        assert height - crop[0] - 2 * window.top in (0, 1)
        assert width - crop[1] - 2 * window.left in (0, 1)

    with gate.property(
        "centre-window", "centre crops for all parities", drawn("frame and crop sizes")
    ):
        check()
        for crop in ((5, 4), (4, 6), (0, 5), (4, 0), (-1, 2)):
            with pytest.raises(ValueError, match="does not fit"):
                center((4, 5), crop)
        with pytest.raises(AttributeError):  # a window is a value: nobody may move it
            center((4, 5), (1, 1)).top = 0


@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (2, 3), (0, 3)])
def test_random_windows_reach_every_place(gate: Gate, rows: int, columns: int) -> None:
    """Random crops lie inside the frame, reach all of its places, and depend on the draw."""
    random, crop = gate.parts.data.random, (4, 6)
    frame, places = (
        (4 + rows, 6 + columns),
        set(itertools.product(range(rows + 1), range(columns + 1))),
    )

    def windows(seed: int, epoch: int) -> list[Any]:
        return [random(frame, crop, seed=seed, epoch=epoch, index=i) for i in range(400)]

    with gate.property("random-window", "random crops reach every place", "400 draws of 12 places"):
        draws = windows(3, 1)
        assert {(w.top, w.left) for w in draws} == places
        assert {(w.height, w.width) for w in draws} == {crop}
        assert draws == windows(3, 1)
        assert draws != windows(4, 1)
        assert draws != windows(3, 2)


def test_orders_of_any_size(gate: Gate) -> None:
    """A full pass is a permutation, new each epoch; evaluation goes from first to last."""
    parts = gate.parts.data

    @CHEAP
    @given(counts, st.integers(1, 9), st.integers(0, 2**31))
    def check(count: int, batch: int, seed: int) -> None:
        epochs = [
            parts.train_order(count, seed=seed, epoch=e, batch_size=batch, steps=None)
            for e in (1, 2)
        ]
        assert all(sorted(order) == list(range(count)) for order in epochs)
        assert count < 12 or epochs[0] != epochs[1]
        drawn = parts.train_order(count, seed=seed, epoch=1, batch_size=batch, steps=3)
        assert len(drawn) == 3 * batch
        assert set(drawn) <= set(range(count))
        assert parts.eval_order(count) == list(range(count))

    with gate.property(
        "orders", "orders for any number of samples", drawn("counts and batch sizes")
    ):
        check()


def test_planned_clip_checks_match_a_walk_through_the_epoch(gate: Gate) -> None:
    """The closed form equals walking through batches, archs and micro-batches."""
    parts = gate.parts.train

    @CHEAP
    @given(counts, st.integers(1, 12), st.integers(1, 12), st.none() | st.integers(1, 5))
    def check(count: int, batch: int, micro: int, steps: int | None) -> None:
        full = [min(batch, count - i) for i in range(0, count, batch)]
        sizes = full if steps is None else [batch] * steps
        walked = sum(1 for s in sizes for _ in range(3) for _ in parts.micro_batches(s, micro))
        assert parts.expected_checks(sizes, micro, position="micro_step") == walked
        assert parts.expected_checks(sizes, micro, position="update") == len(sizes)
        assert 3 * sum(math.ceil(s / micro) for s in sizes) == walked
        for wrong in ("epoch", "zzz"):
            with pytest.raises(ValueError, match=wrong):
                parts.expected_checks(sizes, micro, position=wrong)

    with gate.property(
        "clip-plan", "planned clip checks in both modes", drawn("plans, uneven too")
    ):
        check()


def test_micro_batches_weigh_by_their_samples(gate: Gate) -> None:
    """Accumulated means equal the mean over the whole batch and all archs."""
    parts = gate.parts.train

    @CHEAP
    @given(st.integers(1, 17), st.integers(1, 17), st.integers(0, 2**32 - 1))
    def check(batch: int, micro: int, seed: int) -> None:
        samples = np.random.default_rng(seed).normal(size=(3, batch, 4))
        total, used = [np.zeros(4)], 0
        for arch in samples:
            for piece in parts.micro_batches(batch, micro):
                mean = arch[piece].mean(axis=0)
                used += len(arch[piece])
                weight = parts.micro_weight(len(arch[piece]), batch)
                total = parts.accumulate(total, [mean], weight)
        assert used == 3 * batch
        np.testing.assert_allclose(total[0], samples.mean(axis=(0, 1)), rtol=1e-12, atol=1e-14)

    with gate.property("accumulation", "uneven micro-batches give the mean", drawn("batch sizes")):
        check()


def test_clipping_keeps_direction_and_bounds_the_norm(gate: Gate) -> None:
    """Above the threshold only the length changes; at or below it, not one bit."""
    clip = gate.parts.train.clip

    @CHEAP
    @given(st.integers(0, 2**32 - 1), st.floats(0.1, 20))
    def check(seed: int, threshold: float) -> None:
        rng = np.random.default_rng(seed)
        gradients = [rng.normal(size=s).astype(np.float32) for s in ((2, 3), (4,))]
        norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
        clipped, before, after = clip(gradients, np.float32(threshold))
        assert math.isclose(float(before), norm, rel_tol=1e-5)
        assert math.isclose(float(after), min(norm, threshold), rel_tol=1e-5)
        if norm < threshold * (1 - 1e-5):
            assert all(map(np.array_equal, gradients, map(np.asarray, clipped)))
        ratio = min(1.0, threshold / norm)
        for old, new in zip(gradients, clipped, strict=True):
            np.testing.assert_allclose(np.asarray(new), ratio * old, rtol=2e-5)

    with gate.property("clipping", "clipping bounds the norm, keeps direction", drawn("gradients")):
        check()


def test_recalibration_pools_any_partition(gate: Gate) -> None:
    """Batches of any sizes pool to the population mean and the variance divided by N."""
    pool = gate.parts.evaluation.pool_statistics

    @CHEAP
    @given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
    def check(sizes: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        data = [rng.normal(3, 2, size=(n, 5, 4, 3)) for n in sizes]
        stats = [{"u": (d.mean((0, 1, 2)), d.var((0, 1, 2)))} for d in data]
        mean, variance = pool(stats, sizes)["u"]
        joined = np.concatenate(data)
        np.testing.assert_allclose(mean, joined.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(variance, joined.var((0, 1, 2)), rtol=1e-6)

    with gate.property("recal-pooling", "recalibration pools uneven batches", drawn("partitions")):
        check()
        batch = {"u": (np.zeros(1), np.ones(1))}
        for batches, sizes in (([], []), ([batch], [1, 1]), ([batch, batch], [1])):
            with pytest.raises(ValueError, match="as many sizes as batches"):
                pool(batches, sizes)


def test_each_sample_weighs_the_same(gate: Gate) -> None:
    """The EPE of a split does not depend on how it was cut into batches, to the last bit."""
    parts = gate.parts.evaluation

    @CHEAP
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def check(count: int, batch: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        flow, label = (rng.normal(size=(count, 5, 7, 2)).astype(np.float32) for _ in range(2))
        valid = rng.random((count, 5, 7)) < 0.7
        valid[:, 0, 0] = True
        cut = [slice(i, i + batch) for i in range(0, count, batch)]
        pieces = [parts.epe(flow[p], label[p], valid[p]) for p in cut]
        samples = np.concatenate(pieces)
        expected = [np.hypot(*(f - w)[v].astype(np.float64).T).mean()
                    for f, w, v in zip(flow, label, valid, strict=True)]  # fmt: skip
        np.testing.assert_allclose(samples, expected, rtol=1e-6)
        assert parts.mean(list(samples)) == parts.mean(list(reversed(samples)))
        assert parts.mean(list(samples)) == parts.mean(list(parts.epe(flow, label, valid)))
        for misfit in (
            (flow, label[:, 1:], valid), (flow[:, 1:], label, valid), (flow, label, valid[:, 1:]),
            (flow[:, 1:], label, valid[:, 1:]), (flow[..., :1], label[..., :1], valid),
            (flow, label, np.zeros_like(valid)),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=r"expected flow and label|no valid pixel"):
                parts.epe(*misfit)

    with gate.property("sample-weights", "every sample weighs the same, any K", drawn("splits")):
        check()
        with pytest.raises(ValueError, match="no samples"):
            parts.mean([])


def test_rank_agrees_with_counting_pairs(gate: Gate) -> None:
    """Tau-b equals counting pairs; a constant ranking has none, never 1.0."""
    rank = gate.parts.rank
    scores = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)

    @CHEAP
    @given(scores)
    def check(pairs: list[tuple[int, int]]) -> None:
        x, y = ([float(v) for v in column] for column in zip(*pairs, strict=True))
        signs = [
            (np.sign(x[i] - x[j]), np.sign(y[i] - y[j]))
            for i, j in itertools.combinations(range(len(x)), 2)
        ]
        norm = math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
        tau, reason = rank(x, y)
        if norm == 0:
            assert tau is None
            assert "constant" in reason
        else:
            assert tau == pytest.approx(sum(a * b for a, b in signs) / norm, abs=1e-12)

    with gate.property(
        "kendall-tau", "tau-b with ties, undefined when constant", drawn("rankings")
    ):
        check()
        for lists in (([1.0, 2.0], [1.0]), ([1.0], [1.0, 2.0])):
            with pytest.raises(ValueError, match="lists of one length"):
                rank(*lists)
        with pytest.raises(ValueError, match="finite"):
            rank([1.0, math.nan], [1.0, 2.0])


def test_a_pool_has_as_many_distinct_archs_as_asked(gate: Gate) -> None:
    """Pools of any size hold distinct archs, a smaller one begins a larger one."""
    assert gate.parts  # of the builtin system, whose pool this is
    from harness.evaluation.ranking import build_pool

    @CHEAP
    @given(st.integers(1, 60), st.integers(0, 2**31))
    def check(size: int, seed: int) -> None:
        pool = build_pool(seed=seed, size=size)
        assert len(set(pool)) == len(pool) == size
        assert pool == build_pool(seed=seed, size=61)[:size]

    with gate.property("pool-size", "pools of any size are distinct archs", drawn("pools")):
        check()
        for size in (-1, 0, 3**9 + 1):
            with pytest.raises(ValueError, match="1 to 19683 archs"):
                build_pool(seed=1, size=size)


def test_learning_rate_follows_the_plan(gate: Gate) -> None:
    """The cosine starts at the base rate, falls at every step and never reaches 0."""
    schedule = gate.parts.train.schedule

    @CHEAP
    @given(st.integers(1, 300), st.floats(1e-6, 1.0))
    def check(total: int, base: float) -> None:
        rates = [schedule(base, step, total) for step in range(total)]
        expected = [base * 0.5 * (1 + math.cos(math.pi * s / total)) for s in range(total)]
        assert rates == pytest.approx(expected, rel=1e-12)
        for wrong in (-1, total, total + 1):
            with pytest.raises(ValueError, match="planned steps"):
                schedule(base, wrong, total)
        assert all(a > b > 0 for a, b in itertools.pairwise(rates))

    with gate.property("learning-rate", "the cosine follows the planned steps", drawn("plans")):
        check()
