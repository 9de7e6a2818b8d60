import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.training.fairness import add_cycle, fair_cycle, fairness_gap, no_counts

counters = st.integers(0, 10_000)

PINNED = ["220001012", "112212120", "001120201"]


@given(seed=counters, epoch=counters, step=counters)
def test_each_cycle_trains_every_option_of_every_block_once(seed, epoch, step):
    archs = fair_cycle(seed=seed, epoch=epoch, step=step)
    assert len(archs) == 3
    assert [sorted(options) for options in zip(*archs, strict=True)] == [[0, 1, 2]] * 9


@pytest.mark.parametrize("change", [{"seed": 8}, {"epoch": 2}, {"step": 4}])
def test_another_seed_epoch_or_step_gives_another_cycle(change):
    draw = {"seed": 7, "epoch": 1, "step": 3}
    assert fair_cycle(**draw) == fair_cycle(**draw)
    assert fair_cycle(**draw) != fair_cycle(**draw | change)


def test_two_epochs_hardly_repeat_a_cycle():
    draws = [(epoch, step) for epoch in (1, 2) for step in range(50)]
    cycles = {tuple(fair_cycle(seed=7, epoch=e, step=s)) for e, s in draws}
    assert len(cycles) == len(draws)


def test_blocks_are_ordered_independently_of_one_another():
    cycles = [fair_cycle(seed=7, epoch=1, step=step) for step in range(50)]
    columns = [list(zip(*archs, strict=True)) for archs in cycles]
    for block in range(1, 9):
        equal = sum(column[block] == column[0] for column in columns)
        assert 1 <= equal <= 25  # 1 of 6 orders by chance


def test_one_cycle_is_pinned():
    assert ["".join(map(str, arch)) for arch in fair_cycle(seed=42, epoch=1, step=0)] == PINNED


def test_counts_add_up_and_start_at_0():
    counts = no_counts()
    assert counts == ((0, 0, 0),) * 9
    for step in range(7):
        counts = add_cycle(counts, fair_cycle(seed=7, epoch=1, step=step))
    assert counts == ((7, 7, 7),) * 9
    assert fairness_gap(counts) == 0


def test_counts_follow_the_archs_that_were_trained():
    counts = add_cycle(no_counts(), [(0, 1, 2) * 3, (0, 0, 2) * 3])
    assert counts == ((2, 0, 0), (1, 1, 0), (0, 0, 2)) * 3


@pytest.mark.parametrize(
    ("counts", "gap"),
    [
        (((4, 4, 4), (9, 9, 9)), 0),
        (((4, 4, 4), (9, 6, 8)), 3),
        ({"EB0": [1, 1, 1], "EB1": [0, 2, 1]}, 2),
    ],
)
def test_the_gap_is_the_largest_within_a_block(counts, gap):
    assert fairness_gap(counts) == gap
