import math

import pytest

from harness.comparing import ABSENT, Change, changes

OLD = {"train": {"lr": 0.1, "distill": {"weight": 1.0}}, "seed": 7, "gone": "x"}
NEW = {"train": {"lr": 0.2, "distill": {"weight": 2.0}}, "seed": 7, "new": None}


def test_each_value_that_differs_is_said_by_its_dotted_key_old_ones_first():
    found = changes(OLD, NEW)
    assert list(map(str, found)) == [
        "train.lr: 0.1 -> 0.2", "train.distill.weight: 1.0 -> 2.0", "gone: x -> absent",
        "new: absent -> None",
    ]  # fmt: skip
    assert found[2] == Change("gone", "x", ABSENT)


def test_a_key_that_is_not_there_may_count_as_no_value():
    assert list(map(str, changes(OLD, NEW, absent=None))) == [
        "train.lr: 0.1 -> 0.2", "train.distill.weight: 1.0 -> 2.0", "gone: x -> None",
    ]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), ("1", 1), (0.0, -0.0), ([], ())])
def test_values_of_another_type_or_sign_differ(one, other):
    assert changes({"a": one}, {"a": other}) == (Change("a", one, other),)


def test_equal_trees_have_no_change_and_nan_is_one_value():
    assert changes(OLD, dict(OLD)) == ()
    assert changes({"a": math.nan}, {"a": math.nan}) == ()


def test_a_section_in_place_of_a_value_is_named_on_both_sides():
    assert list(map(str, changes({"a": 1}, {"a": {"b": 1}}))) == [
        "a: 1 -> absent", "a.b: absent -> 1",
    ]  # fmt: skip
