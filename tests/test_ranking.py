import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluation.ranking import build_pool, kendall_tau
from harness.supernet.space import format_arch

score = st.integers(0, 4).map(lambda n: n / 4) | st.floats(0, 100)
rankings = st.lists(st.tuples(score, score), min_size=2, max_size=12)

DRAWN_FROM_42 = ["011112211", "222110200", "111210222", "121110121", "202200001", "000111100"]


def counted_tau(xs, ys):
    """Kendall's tau-b from its definition, pair by pair."""
    pairs = list(itertools.combinations(zip(xs, ys, strict=True), 2))
    signs = [
        (math.copysign(1, a - c) * (a != c), math.copysign(1, b - d) * (b != d))
        for (a, b), (c, d) in pairs
    ]
    moved = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    return sum(x * y for x, y in signs) / math.sqrt(moved[0] * moved[1])


@given(rankings)
def test_tau_is_tau_b_counted_pair_by_pair_ties_included(ranking):
    xs, ys = zip(*ranking, strict=True)
    tau, reason = kendall_tau(xs, ys)
    if len(set(xs)) > 1 and len(set(ys)) > 1:
        assert reason is None
        assert tau == pytest.approx(counted_tau(xs, ys), abs=1e-12)
        assert kendall_tau(ys, xs)[0] == pytest.approx(tau, abs=1e-12)
    else:
        assert tau is None


@pytest.mark.parametrize(
    ("scores", "previous", "tau"),
    [
        ([1, 2, 3, 4.5], [10, 20, 21, 22], 1),
        ([1, 2, 3, 4.5], [22, 21, 20, 10], -1),
        ([1, 2, 3, 4], [1, 2, 4, 3], 2 / 3),
        ([1, 1, 2], [1, 2, 3], math.sqrt(2 / 3)),
    ],
)
def test_known_rankings_have_a_known_tau(scores, previous, tau):
    assert kendall_tau(scores, previous) == (pytest.approx(tau, abs=1e-12), None)


@pytest.mark.parametrize(
    ("scores", "previous", "reason"),
    [
        ([2.0, 2.0, 2.0], [1, 2, 3], "this ranking is constant"),
        ([1, 2, 3], [5, 5, 5], "the previous ranking is constant"),
        ([4, 4, 4], [4, 4, 4], "this ranking is constant"),
        ([3.5], [3.5], "this ranking is constant"),
    ],
)
def test_a_constant_ranking_has_no_tau_and_says_why(scores, previous, reason):
    assert kendall_tau(scores, previous) == (None, reason)


@pytest.mark.parametrize("place", [0, 1])
def test_a_score_that_is_not_a_number_is_an_error(place):
    lists = [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]]
    lists[place][1] = math.nan
    with pytest.raises(ValueError, match=r"(?i)nan|finite"):
        kendall_tau(*lists)


def test_rankings_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="two lists of one length, got 3 and 2"):
        kendall_tau([1, 2, 3], [1, 2])


DOCUMENTED = ["000000000", "111111111", "222222222", "012012012", "210210210", "120120120"]


@pytest.mark.parametrize("size", [1, 4, 6, 12])
def test_a_pool_starts_with_the_documented_archs(size):
    pool = build_pool(seed=3, size=size)
    assert [format_arch(arch) for arch in pool[:6]] == DOCUMENTED[:size]
    assert len(pool) == size


def test_the_pool_of_12_from_seed_42_is_pinned():
    pool = build_pool(seed=42, size=12)
    assert [format_arch(arch) for arch in pool] == DOCUMENTED + DRAWN_FROM_42


@given(seed=st.integers(0, 2**32), size=st.integers(1, 100))
@settings(max_examples=30)
def test_archs_of_a_pool_are_distinct_valid_and_the_start_of_a_larger_one(seed, size):
    pool = build_pool(seed=seed, size=size)
    assert len(pool) == len(set(pool)) == size
    assert all(len(arch) == 9 and set(arch) <= {0, 1, 2} for arch in pool)
    assert build_pool(seed=seed, size=size + 1)[:size] == pool


@pytest.mark.parametrize("size", [3, 5, 12])
def test_a_pool_covers_every_option_of_every_block(size):
    columns = zip(*build_pool(seed=1, size=size), strict=True)
    assert [set(options) for options in columns] == [{0, 1, 2}] * 9


def test_another_seed_draws_other_archs_after_the_documented_ones():
    one, other = (build_pool(seed=seed, size=12) for seed in (1, 2))
    assert one[:6] == other[:6]
    assert not set(one[6:]) & set(other[6:])


@pytest.mark.parametrize("size", [0, -1, 19_684])
def test_an_impossible_pool_size_is_an_error(size):
    with pytest.raises(ValueError, match=re.escape(f"a pool has 1 to 19683 archs, got {size}")):
        build_pool(seed=1, size=size)
