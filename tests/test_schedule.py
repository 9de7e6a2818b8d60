import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.training.schedule import (
    cosine_lr,
    expected_clip_checks,
    micro_batches,
)

sizes = st.lists(st.integers(1, 20), min_size=1, max_size=6)


def counted(planned_sizes, micro_batch, position):
    """Clip checks, by walking through an epoch sample by sample."""
    checks = 0
    for size in planned_sizes:
        for _arch, sample in itertools.product(range(3), range(size)):
            checks += position == "micro_step" and sample % micro_batch == 0
        checks += position == "update"
    return checks


def test_the_first_step_uses_the_base_rate_and_half_way_half_of_it():
    assert cosine_lr(3e-4, 0, 10) == 3e-4
    assert cosine_lr(3e-4, 5, 10) == pytest.approx(1.5e-4, rel=1e-15)
    assert cosine_lr(1.0, 1, 3) == pytest.approx(0.75, rel=1e-15)
    assert cosine_lr(1.0, 2, 3) == pytest.approx(0.25, rel=1e-15)


@pytest.mark.parametrize("total", [1, 2, 7, 101, 10_000])
def test_the_rate_only_falls_and_never_reaches_0(total):
    rates = [cosine_lr(1e-3, step, total) for step in range(total)]
    assert all(new < old for old, new in itertools.pairwise(rates))
    assert rates[-1] > 0


@given(total=st.integers(1, 1_000_000))
def test_the_last_step_of_any_plan_still_moves(total):
    assert 0 < cosine_lr(1e-4, total - 1, total) <= 1e-4


@pytest.mark.parametrize(("step", "total"), [(-1, 4), (4, 4), (5, 4), (0, 0)])
def test_a_step_outside_the_plan_is_an_error(step, total):
    with pytest.raises(ValueError, match=f"step {step} is not one of the {total} planned steps"):
        cosine_lr(1e-4, step, total)


@given(size=st.integers(1, 40), micro_batch=st.integers(1, 12))
def test_micro_batches_cut_a_batch_without_gap_or_overlap(size, micro_batch):
    pieces = [list(range(size))[piece] for piece in micro_batches(size, micro_batch)]
    assert [sample for piece in pieces for sample in piece] == list(range(size))
    assert all(len(piece) == micro_batch for piece in pieces[:-1])
    assert 1 <= len(pieces[-1]) <= micro_batch


@given(planned=sizes, micro_batch=st.integers(1, 12))
def test_expected_clip_checks_are_those_counted_step_by_step(planned, micro_batch):
    for position in ("micro_step", "update"):
        expected = counted(planned, micro_batch, position)
        assert expected_clip_checks(planned, micro_batch, position=position) == expected


@pytest.mark.parametrize(
    ("planned", "micro_batch", "per_micro_step", "per_update"),
    [((5, 4), 2, 15, 2), ((5, 5, 5), 2, 27, 3), ((32,) * 50, 32, 150, 50)],
)
def test_known_plans_have_known_clip_checks(planned, micro_batch, per_micro_step, per_update):
    assert expected_clip_checks(planned, micro_batch, position="micro_step") == per_micro_step
    assert expected_clip_checks(planned, micro_batch, position="update") == per_update


def test_an_unknown_clip_position_is_an_error():
    with pytest.raises(ValueError, match="'micro_step' or 'update', got 'epoch'"):
        expected_clip_checks([5, 4], 2, position="epoch")
