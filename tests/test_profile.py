"""A device's busy share is of the time in which anything ran, however spans overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.profile import summary


def test_overlapping_spans_count_once_and_gaps_are_named():
    found = summary(
        [(1.0, 3.0, "a"), (2.0, 2.5, "b"), (2.9, 4.0, "c"), (6.0, 7.0, "d"), (7.5, 9.0, "e")]
    )
    assert found.seconds == 8.0
    assert found.busy == pytest.approx(5.5 / 8)
    assert found.kernels == 5
    assert found.gaps == ((2.0, "d"), (0.5, "e"))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_share_is_that_of_the_seconds_in_which_something_ran(drawn):
    spans = sorted((float(start), float(start + length), "k") for start, length in drawn)
    seconds = {s for start, stop, _ in spans for s in range(int(start), int(stop))}
    found = summary(spans)
    assert found.busy * found.seconds == pytest.approx(len(seconds))
    assert sum(gap for gap, _ in summary(spans[:1]).gaps) == 0
