import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.evaluation.recalibration import pool_statistics

PIXELS, CHANNELS = 6, 3


def per_batch(batches):
    """Each batch's mean and variance over samples and pixels, divided by N, as recalibrated."""
    return [
        {"E0": (batch.mean(axis=(0, 1)), batch.var(axis=(0, 1)))}
        for batch in (b.astype(np.float64) for b in batches)
    ]


def draw(sizes, seed, spread):
    rng = np.random.default_rng(seed)
    return [rng.normal(spread * i, 1 + i, (n, PIXELS, CHANNELS)) for i, n in enumerate(sizes)]


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 999),
    spread=st.floats(0, 20),
)
def test_any_partition_pools_to_the_statistics_of_all_inputs(sizes, seed, spread):
    batches = draw(sizes, seed, spread)
    mean, variance = pool_statistics(per_batch(batches), sizes)["E0"]
    whole = np.concatenate(batches).reshape(-1, CHANNELS)
    np.testing.assert_allclose(mean, whole.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, whole.var(axis=0), rtol=1e-6)


def test_the_variance_is_divided_by_n_and_not_by_n_minus_1():
    sizes = (4, 1)
    batches = draw(sizes, 3, 1.5)
    variance = pool_statistics(per_batch(batches), sizes)["E0"][1]
    whole = np.concatenate(batches).reshape(-1, CHANNELS)
    np.testing.assert_allclose(variance, whole.var(axis=0), rtol=1e-6)
    assert not np.isclose(variance, whole.var(axis=0, ddof=1), rtol=1e-3).any()


def test_a_partial_batch_weighs_by_its_samples():
    ones, fives = np.full((4, PIXELS, CHANNELS), 1.0), np.full((1, PIXELS, CHANNELS), 6.0)
    mean, variance = pool_statistics(per_batch([ones, fives]), [4, 1])["E0"]
    np.testing.assert_array_equal(mean, np.full(CHANNELS, 2.0, np.float32))
    np.testing.assert_array_equal(variance, np.full(CHANNELS, 4.0, np.float32))


def test_every_unit_is_pooled_on_its_own_as_float32():
    batch = {"a": (np.float32([1]), np.float32([2])), "b": (np.float32([3, 4]),) * 2}
    pooled = pool_statistics([batch, batch], [3, 2])
    assert {unit: pair[0].tolist() for unit, pair in pooled.items()} == {"a": [1], "b": [3, 4]}
    assert {array.dtype.name for pair in pooled.values() for array in pair} == {"float32"}


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (2, [3]), (1, [3, 2])])
def test_as_many_sizes_as_batches_are_required(count, sizes):
    batches = [{"E0": (np.zeros(1), np.ones(1))}] * count
    with pytest.raises(ValueError, match=f"at least one; got {len(sizes)}, {count}"):
        pool_statistics(batches, sizes)
