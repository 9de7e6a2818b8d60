"""Bounds of chances are no smaller than the chances, counted out where that is possible."""

import itertools
import math

import numpy as np
import pytest

from harness.promises.chance import (
    FALSE_ALARM,
    Finding,
    agreement,
    repeats,
    signs,
    spread,
    too_unlikely,
)
from harness.promises.drawn_together import _long_order
from harness.promises.joint_tables import of_repeats, order_agreements


def multinomial(counts, shares):
    ways = math.factorial(sum(counts)) / math.prod(math.factorial(c) for c in counts)
    return ways * math.prod(s**c for s, c in zip(shares, counts, strict=True))


@pytest.mark.parametrize(("draws", "shares"), [(23, (0.5, 0.5)), (12, (0.1, 0.2, 0.7))])
def test_uneven_counts_are_bounded(draws, shares):
    every = [c for c in itertools.product(range(draws + 1), repeat=len(shares)) if sum(c) == draws]
    chances = sorted((spread(c, shares), multinomial(c, shares)) for c in every)
    assert math.isclose(sum(chance for _, chance in chances), 1)
    tail, told = 0.0, 0
    for bound, chance in chances:
        tail += chance
        told += bound < math.log(0.01)
        assert bound >= math.log(tail) - 1e-9 or bound == 0.0
    assert told  # it is not all of them that it cannot tell


def test_draws_without_replacement_spread_no_more():
    """Four of twelve in three cells of four: counted out over all 495 choices."""
    found = [
        spread(np.bincount([place // 4 for place in chosen], minlength=3))
        for chosen in itertools.combinations(range(12), 4)
    ]
    for bound in set(found):
        assert bound >= math.log(sum(other <= bound for other in found) / len(found)) - 1e-9


def test_a_cell_that_cannot_be_is_no_chance():
    assert spread((3, 1), (1.0, 0.0)) == -math.inf
    assert spread((4, 0), (1.0, 0.0)) == 0.0
    assert spread((5,)) == 0.0


def test_the_chance_of_repeats_is_bounded_by_counting_them_out():
    """Five draws of seven places, all 16,807."""
    found = [5 - len(set(draws)) for draws in itertools.product(range(7), repeat=5)]
    for count in range(5):
        tail = sum(other >= count for other in found) / len(found)
        assert repeats(count, 5, 7) >= math.log(tail) - 1e-9
    assert repeats(400, 1000, 10**6) < math.log(1e-300)
    assert repeats(0, 1, 5) == 0.0


def test_the_chance_of_agreements_is_bounded_by_counting_them_out():
    """Orders of seven that agree with the first in so many places, or pairs of neighbours."""
    orders = list(itertools.permutations(range(7)))
    places = [sum(i == o for i, o in enumerate(order)) for order in orders]
    pairs = [sum(order[i + 1] == order[i] + 1 for i in range(0, 6, 2)) for order in orders]
    for found in (places, pairs):
        for count in range(max(found) + 1):
            tail = sum(other >= count for other in found) / len(found)
            assert agreement(count) >= math.log(tail) - 1e-9
    assert agreement(20) < -42
    assert agreement(20, 1000) == pytest.approx(agreement(20) + math.log(1000))


def test_products_of_random_signs_are_bounded():
    """All signs of ten values of unequal size."""
    sizes = np.array([1, 1, 1, 1, 2, 2, 3, 3, 5, 9.0])
    every = np.array(list(itertools.product((-1, 1), repeat=10))) * sizes
    found = np.abs(every.sum(axis=1)) / np.sqrt((sizes**2).sum())
    for ratio in np.unique(found):
        assert signs(float(ratio)) >= math.log((found >= ratio).mean()) - 1e-9


def test_many_figures_share_one_chance():
    one = Finding("here", "that", "this", math.log(FALSE_ALARM) - 1)
    assert [str(v) for v in too_unlikely([one])] == ["here: expected that, found this"]
    assert too_unlikely([one] * 3) == []
    rare = Finding("there", "that", "this", -100.0)
    assert [v.where for v in too_unlikely([one, rare, one])] == ["there"]
    assert too_unlikely([]) == []


@pytest.mark.parametrize(("count", "orders"), [(0, 1), (1, 1), (2, 2), (3, 6), (4, 24), (7, 5040)])
def test_the_chance_of_an_agreement_is_one_in_its_orders(count, orders):
    assert math.isclose(agreement(count), -math.log(orders), abs_tol=1e-12)
    assert math.isclose(agreement(count, 2), min(0.0, math.log(2 / orders)), abs_tol=1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 1.5, 2.0, 3.5])
def test_the_chance_of_signs_is_a_chance(ratio):
    bound = min(1.0, 2 * math.exp(-(ratio**2) / 2))
    assert math.isclose(signs(ratio), math.log(bound), abs_tol=1e-12)


@pytest.mark.parametrize("size", [2, 4, 5, 6, 7, 12])
def test_neighbours_of_two_orders_are_counted_in_both_directions(size):
    rng = np.random.default_rng(size)
    for other in (np.arange(size), np.arange(size)[::-1], *(rng.permutation(size),) * 40):
        order = rng.permutation(size)
        pairs = {(int(a), int(b)) for a, b in itertools.pairwise(order)}
        twos = [tuple(map(int, other[at : at + 2])) for at in range(0, size - 1, 2)]
        found = [int(f.found) for f in order_agreements("orders", order, other)]
        assert found == [
            int((order == other).sum()), sum(two in pairs for two in twos),
            sum(two[::-1] in pairs for two in twos),
        ]  # fmt: skip


def test_repeats_are_told_beside_what_is_expected():
    draws = np.arange(10).reshape(-1, 1) % 8
    found = of_repeats("windows", draws, 100.0)
    # 100 (1 - 0.99 ** 10) = 9.56
    assert (found.where, found.expected, found.found) == (
        "different windows in 10 draws", "some 10", "8"
    )  # fmt: skip


@pytest.mark.parametrize("count", [40, 41])
def test_a_long_order_of_odd_length_is_looked_at_in_pairs(count):
    found = list(_long_order((1, 0), np.arange(count), count))
    assert found[-1].found == f"{count // 2} of {count // 2}"
    assert found[-1].where.endswith("neighbours that are 1 apart")
