"""Benchmarks cry wolf about no noise, and say beforehand how long they take."""

import numpy as np
import pytest

from benchmarks.expected import expected_line
from benchmarks.linearity import linearity

COUNTS = (1, 2, 4, 6, 8)


def rounds(shape, noise, seed, *, number=7, spells=0.0):
    """Return seconds by count: a shape, noise, and slow spells that last a round."""
    rng = np.random.default_rng(seed)
    table = np.array([shape(count) for count in COUNTS]) + noise * rng.standard_normal(
        (number, len(COUNTS))
    )
    table += spells * rng.random((number, 1))
    return dict(zip(COUNTS, table.T.tolist(), strict=True))


def test_a_straight_line_is_one_on_a_busy_machine():
    """The wall clock gave R^2 of 0.82 and 0.44: noise of a third of the span, and spells."""
    found = [linearity(rounds(lambda k: 1 + k / 8, 0.3, s, spells=2.0)) for s in range(300)]
    assert min(one.r_squared for one in found) < 0.82
    assert not any(one.is_broken for one in found)


def test_a_curve_is_seen_through_noise():
    curve = rounds(lambda k: 1 + (k / 8) ** 3, 0.03, 1, spells=2.0)
    assert linearity(curve).is_broken
    assert "not linear, by processor time: R^2 0.8" in linearity(curve).text()


def test_a_deviation_of_no_weight_is_no_curve():
    """However well it is measured."""
    found = linearity(rounds(lambda k: 1 + k / 8 + 0.01 * (k == 4), 1e-6, 1))
    assert found.chance < 1e-6
    assert not found.is_broken
    assert found.text().startswith("linear, by")


def test_chance_is_evenly_spread_where_the_line_is_true():
    chances = [linearity(rounds(lambda k: 2 + k, 0.5, seed)).chance for seed in range(2000)]
    assert np.mean(np.array(chances) < 0.1) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("given", [{1: [1.0], 2: [2.0], 4: [3.0]}, {1: [1, 2], 2: [1, 2]},
                                   {1: [1, 2], 2: [2, 3], 4: [3]}])  # fmt: skip
def test_too_little_to_judge_is_refused(given):
    with pytest.raises(ValueError, match="expected at least 3 counts and 2 whole rounds"):
        linearity(given)


def test_the_time_to_come_is_that_of_last_time_here_then_that_of_the_file():
    line = expected_line(["a", "b", "c"], {"a": 70.2}, {"a": 1.0, "b": 20.0})
    assert line == (
        "samebits: 3 benchmarks, about 1 min 30 s (1 as last time here, 1 as on another machine, "
        "1 not known)"
    )
    quick = expected_line(["a"], {"a": 9.0, "a quick": 2.0}, {}, " quick")
    assert quick == "samebits: 1 benchmarks, about 0 min 2 s (1 as last time here)"
