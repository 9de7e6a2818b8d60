import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.training.ladder import SATURATED, advise_threshold, next_rung

THRESHOLDS = st.floats(0.01, 1e6)
NORMS = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40)


def test_the_ladder_is_the_plans_and_goes_on_in_decades():
    rungs = [0.5]
    while rungs[-1] < 1000:
        rungs.append(next_rung(rungs[-1]))
    assert rungs[1:] == [5, 20, 50, 100, 200, 500, 1000]


@given(THRESHOLDS)
def test_a_rung_lies_above_and_not_far(threshold):
    assert threshold < next_rung(threshold) <= max(5.0, 10 * threshold)


@given(NORMS, THRESHOLDS)
def test_the_threshold_is_raised_where_clipping_is_saturated_and_nowhere_else(norms, threshold):
    found = advise_threshold(norms, threshold)
    assert found.clip_rate == np.mean(np.asarray(norms) > threshold)
    if found.clip_rate < SATURATED:
        assert (found.threshold, found.changes) == (threshold, False)
    else:
        assert threshold < found.threshold <= next_rung(threshold)
        assert found.changes
    assert found.predicted_rate <= found.clip_rate


def test_the_measured_p90_is_advised_where_it_lies_below_the_next_rung():
    norms = [*np.linspace(6.0, 8.0, 91), *np.linspace(300.0, 400.0, 9)]
    found = advise_threshold(norms, 5.0)
    assert found.threshold == float(f"{np.quantile(norms, 0.9):.3g}") < 20
    assert re.search(r"100\.0% .* measured p90 of 7\.98 lies below the next rung 20", found.reason)
    assert advise_threshold([90.0, 140.0], 5.0).threshold == 20


@pytest.mark.parametrize("norms", [[], [1.0, math.nan], [math.inf]])
def test_norms_that_are_none_are_refused(norms):
    with pytest.raises(ValueError, match="expected finite gradient norms"):
        advise_threshold(norms, 5.0)
