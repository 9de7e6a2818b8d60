import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.fc2.loader import in_order


def loaders():
    return [t for t in threading.enumerate() if t.name.startswith("loader")]


@given(
    naps=st.lists(st.integers(0, 2), max_size=7),
    workers=st.integers(0, 4),
    depth=st.integers(0, 4),
    bad=st.sets(st.integers(0, 6), max_size=2),
)
@settings(max_examples=60)
def test_results_and_errors_come_in_order_however_long_each_takes(naps, workers, depth, bad):
    def work(item):
        index, nap = item
        time.sleep(nap / 1000)
        if index in bad:
            raise ValueError(f"item {index}")
        return index

    wrong = sorted(index for index in bad if index < len(naps))
    wanted = list(range(wrong[0] if wrong else len(naps)))
    results = in_order(work, list(enumerate(naps)), workers=workers, depth=depth)
    found = []
    try:
        for result in results:
            found.append(result)  # noqa: PERF402 -- what came before an error counts
        message = None
    except ValueError as error:
        message = str(error)
    assert found == wanted
    assert message == (f"item {wrong[0]}" if wrong else None)
    assert loaders() == []


@pytest.mark.parametrize(("workers", "depth"), [(1, 0), (1, 3), (3, 2), (2, 5)])
def test_no_more_is_computed_than_the_depth_allows(workers, depth):
    begun = []
    results = in_order(lambda i: begun.append(i) or i, range(50), workers=workers, depth=depth)
    for taken in range(1, 6):
        next(results)
        assert len(begun) <= taken + depth
    deadline = time.monotonic() + 5
    while len(begun) < 5 + depth and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sorted(begun) == list(range(5 + depth))  # and as much is, beside the consumer
    results.close()


def test_closing_cancels_what_waits_and_leaves_no_thread():
    begun, gate = [], threading.Event()

    def work(item):
        begun.append(item)
        if item:
            gate.wait(5)
        return item

    results = in_order(work, range(9), workers=1, depth=8)
    assert next(results) == 0
    threading.Timer(0.05, gate.set).start()
    results.close()
    assert loaders() == []
    assert len(begun) <= 3
