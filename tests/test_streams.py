import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.streams import choice_with_replacement, integer, permutation, raw, uniform

# The literals below are the promise that a run can be repeated years later: NumPy keeps the
# raw output of Philox and SeedSequence across versions, and nothing else is drawn from. If one
# of these fails, every recorded run has become unrepeatable; do not update the numbers.


def test_the_raw_draws_are_the_same_on_every_version_and_machine():
    assert raw(0, "train/order").tolist() == [100987986142837175]
    assert raw(7, "train/crop", 2, 3, size=3).tolist() == [
        16797350969052880098,
        4226589573063420506,
        1725071218600657362,
    ]


def test_permutations_are_the_same_on_every_version_and_machine():
    assert permutation(7, "train/order", 1, n=11) == [8, 7, 4, 3, 2, 10, 6, 1, 5, 0, 9]
    assert permutation(7, "train/order", 2, n=11) == [8, 1, 2, 3, 9, 5, 4, 6, 7, 0, 10]


def test_bounded_integers_are_the_same_on_every_version_and_machine():
    assert integer(7, "train/crop", 1, 4, below=(22, 28)) == [4, 26]
    assert integer(7, "train/crop", 2, 4, below=(22, 28)) == [7, 8]


def test_draws_with_replacement_are_the_same_on_every_version_and_machine():
    assert choice_with_replacement(7, "train/draw", 1, n=11, size=6) == [0, 5, 0, 9, 5, 6]


def test_uniform_numbers_are_the_same_on_every_version_and_machine():
    drawn = uniform(7, "ranking/bootstrap", size=3)
    assert drawn.tolist() == [0.5385196940555116, 0.17216487262190472, 0.6923264919134391]
    assert drawn.dtype == np.float64


def test_seed_name_epoch_and_index_each_select_another_draw():
    keys = [(3, "a", 1, 2), (4, "a", 1, 2), (3, "b", 1, 2), (3, "a", 2, 2), (3, "a", 1, 3)]
    keys += [(3, "a", 2, 1), (1, "a", 3, 2), (2, "a", 1, 3), (3, "a", 0, 0), (3, "", 1, 2)]
    draws = [tuple(raw(*key, size=4).tolist()) for key in keys]
    assert len(set(draws)) == len(keys)


def test_a_draw_does_not_depend_on_the_draws_before_it():
    wanted = raw(3, "a", 1, 2, size=5).tolist()
    raw(3, "a", 1, 1, size=9)
    np.random.default_rng(0).random(3)
    assert raw(3, "a", 1, 2, size=5).tolist() == wanted


@given(st.integers(0, 40), st.integers(0, 40))
def test_asking_for_more_keeps_the_first_values(few, more):
    shorter, longer = sorted((few, more))
    drawn = raw(3, "a", 1, 2, size=longer)
    assert (drawn.dtype, drawn.shape) == (np.uint64, (longer,))
    assert raw(3, "a", 1, 2, size=shorter).tolist() == drawn[:shorter].tolist()


@pytest.mark.parametrize(
    ("name", "counters"),
    [
        ("seed", {"seed": -1}),
        ("epoch", {"epoch": -2}),
        ("index", {"index": -3}),
        ("size", {"size": -4}),
    ],
)
def test_a_negative_counter_is_named(name, counters):
    value = counters[name]
    with pytest.raises(ValueError, match=f"^`{name}` must be non-negative, got {value}$"):
        raw(**{"seed": 0, "stream": "a"} | counters)


@given(st.integers(0, 2**40), st.integers(0, 500), st.integers(0, 60))
def test_a_permutation_holds_every_index_once(seed, epoch, n):
    assert sorted(permutation(seed, "train/order", epoch, n=n)) == list(range(n))


def test_every_place_of_a_permutation_sees_every_index():
    orders = np.array([permutation(5, "train/order", epoch, n=5) for epoch in range(1, 301)])
    counts = np.array([[np.sum(orders[:, place] == i) for i in range(5)] for place in range(5)])
    assert counts.min() > 30  # 60 expected, 7 standard deviations below would be 11


@given(st.lists(st.integers(1, 2**20), max_size=5), st.integers(0, 1000))
def test_an_integer_stays_below_its_bound(bounds, index):
    drawn = integer(1, "train/crop", 1, index, below=bounds)
    assert len(drawn) == len(bounds)
    assert all(0 <= value < bound for value, bound in zip(drawn, bounds, strict=True))


def test_an_integer_reaches_every_value_below_its_bound():
    drawn = {tuple(integer(1, "train/crop", 1, i, below=(3, 4))) for i in range(200)}
    assert drawn == {(a, b) for a in range(3) for b in range(4)}


@pytest.mark.parametrize("bound", [0, -5])
def test_a_bound_that_is_not_positive_is_refused(bound):
    with pytest.raises(ValueError, match=rf"every bound must be at least 1, got \[3, {bound}\]"):
        integer(1, "train/crop", 1, 1, below=[3, bound])


def test_draws_with_replacement_repeat_and_reach_everything():
    drawn = choice_with_replacement(1, "train/draw", 1, n=5, size=200)
    assert len(drawn) == 200
    assert set(drawn) == set(range(5))
    assert drawn != choice_with_replacement(1, "train/draw", 2, n=5, size=200)


def test_drawing_from_nothing_is_refused():
    with pytest.raises(ValueError, match="cannot draw from 0 items"):
        choice_with_replacement(1, "train/draw", 1, n=0, size=3)


@given(st.integers(0, 2**40))
@settings(max_examples=50)
def test_uniform_numbers_lie_in_zero_to_one_exclusive(seed):
    drawn = uniform(seed, "ranking/bootstrap", size=64)
    assert (drawn >= 0).all()
    assert (drawn < 1).all()


def test_the_largest_draw_stays_below_one(monkeypatch):
    top = np.array([2**64 - 1, 0], np.uint64)
    monkeypatch.setattr("harness.streams.raw", lambda *_, **__: top)
    assert uniform(0, "ranking/bootstrap", size=2).tolist() == [1 - 2.0**-53, 0.0]


def test_uniform_numbers_spread_evenly():
    drawn = uniform(1, "ranking/bootstrap", size=4000)
    counts, _ = np.histogram(drawn, bins=8, range=(0, 1))
    assert abs(counts - 500).max() < 100
