"""How likely it is that draws repeat: the bounds, beside all that may be drawn."""

import itertools
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import NotApplicableError
from harness.promises.augmentation import augmented, found_in_both, same_in_place
from harness.systems.answers import AnswerError, answer
from harness.systems.protocol import Description

ROWS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


def chances(count, every):
    """Return the share of all rows that are as likely, of so many places or values, or more."""
    return sum(one >= count for one in every) / len(every)


@given(ROWS, st.randoms(use_true_random=False))
def test_places_agree_no_more_often_than_is_said(one, random):
    other = [random.randrange(4) for _ in one]
    count, chance = same_in_place(one, other)
    every = [sum(a == b for a, b in zip(one, row, strict=True))
             for row in itertools.permutations(other)]  # fmt: skip
    assert count == sum(a == b for a, b in zip(one, other, strict=True))
    assert chances(count, every) <= math.exp(chance) + 1e-12


def test_of_rows_that_agree_everywhere_the_bound_is_the_chance():
    count, chance = same_in_place("aabcc", "aabcc")
    assert count == 5
    assert math.exp(chance) == pytest.approx(2 * 2 / math.factorial(5))


@given(ROWS, ROWS)
def test_values_that_are_in_both_rows_have_the_chance_that_is_said(one, other):
    count, chance = found_in_both(one, other)
    every = []
    for chosen in itertools.combinations(range(len(one) + len(other)), len(one)):
        both = [*one, *other]
        here = [both[i] for i in chosen]
        every.append(sum(both.count(v) == 2 and here.count(v) == 1 for v in set(both)))
    assert math.exp(chance) == pytest.approx(chances(count, every) if count else 1.0)


def test_a_trainer_that_declares_nothing_is_not_asked():
    bench = SimpleNamespace(describe=lambda: Description("n", frozenset()))
    with pytest.raises(NotApplicableError, match="declares no augmentation"):
        augmented(bench)


def test_a_last_batch_is_left_out_or_filled():
    both = {"name": "n", "can": [], "drop_last": True, "whole_batches": True}
    with pytest.raises(AnswerError, match=r"drop_last: expected false where whole_batches"):
        answer("describe", both)


def test_the_samples_are_those_of_each_step():
    step = {"epoch": 1, "step": 1, "archs": ["n"], "batch": "b", "lr": 0.1, "loss": 1.0,
            "checks": 0, "clipped": 0, "norm": 0.0}  # fmt: skip
    assert answer("train", {"steps": [step], "samples": [["d"]]}).samples == (("d",),)
    with pytest.raises(AnswerError, match=r"train\(\).samples: expected the digests of each of 1"):
        answer("train", {"steps": [step], "samples": []} | {"samples": [["d"], ["e"]]})
