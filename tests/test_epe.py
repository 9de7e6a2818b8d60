import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.supernet.epe import mean_epe, sample_epe

HEIGHT, WIDTH = 5, 8


@pytest.fixture
def label():
    return np.random.default_rng(4).normal(0, 9, (3, HEIGHT, WIDTH, 2)).astype(np.float32)


@pytest.fixture
def valid(label):
    return np.random.default_rng(5).random(label.shape[:3]) < 0.7


def test_a_perfect_prediction_scores_0(label, valid):
    assert sample_epe(label.copy(), label, valid).tolist() == [0, 0, 0]


def test_ground_truth_plus_3_and_4_scores_5_px(label, valid):
    for error in [(3, 4), (-4, 3), (0, 5)]:
        found = sample_epe(label + np.float32(error), label, valid)
        np.testing.assert_allclose(found, 5, rtol=1e-6)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda flow: flow[..., ::-1],
        lambda flow: -flow,
        np.zeros_like,
        lambda flow: np.roll(flow, 1, axis=1),
        lambda flow: np.roll(flow, 1, axis=2),
        lambda flow: np.roll(flow, 1, axis=0),
    ],
    ids=["u and v swapped", "negated", "zero", "a row off", "a column off", "samples mixed up"],
)
def test_a_mistaken_flow_does_not_score_0(label, valid, mistake):
    assert (sample_epe(mistake(label), label, valid) > 1).all()


def test_an_error_is_averaged_over_the_valid_pixels_of_its_sample(label):
    flow, valid = label.copy(), np.zeros(label.shape[:3], bool)
    valid[:, 0] = True
    valid[1, 1, :4] = True
    flow[1, 0, 2] += np.float32([3, 4])
    np.testing.assert_allclose(sample_epe(flow, label, valid), [0, 5 / (WIDTH + 4), 0], rtol=1e-6)


def test_what_lies_under_invalid_pixels_does_not_count(label, valid):
    flow = label + np.float32([3, 4])
    expected = sample_epe(flow, label, valid)
    flow[~valid], label[~valid] = 1e6, -1e9
    np.testing.assert_allclose(sample_epe(flow, label, valid), 5, rtol=1e-6)
    assert expected.dtype == np.float64
    assert expected.shape == (3,)


def test_a_sample_without_a_valid_pixel_is_an_error(label, valid):
    valid[1] = False
    with pytest.raises(ValueError, match="sample 1 of the batch has no valid pixel"):
        sample_epe(label, label, valid)


@pytest.mark.parametrize(
    ("flow", "valid"),
    [
        ((3, HEIGHT, WIDTH, 2), (3, WIDTH, HEIGHT)),
        ((3, WIDTH, HEIGHT, 2), (3, HEIGHT, WIDTH)),
        ((2, HEIGHT, WIDTH, 2), (3, HEIGHT, WIDTH)),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(label, flow, valid):
    with pytest.raises(ValueError, match=r"expected flow and label of shape \(B, H, W, 2\)"):
        sample_epe(np.zeros(flow, np.float32), label, np.ones(valid, bool))


def test_outputs_with_log_variance_are_not_taken_for_flow(valid):
    four = np.zeros((*valid.shape, 4), np.float32)
    with pytest.raises(ValueError, match="expected flow and label of shape"):
        sample_epe(four, four, valid)


@given(
    samples=st.lists(st.floats(0, 1e9), min_size=1, max_size=30),
    chance=st.randoms(use_true_random=False),
)
def test_the_mean_does_not_depend_on_the_order(samples, chance):
    shuffled = samples.copy()
    chance.shuffle(shuffled)
    assert mean_epe(shuffled) == mean_epe(samples)
    assert mean_epe(samples) == pytest.approx(math.fsum(samples) / len(samples), rel=1e-15)


def test_the_mean_is_of_samples_and_not_of_batches():
    samples = np.random.default_rng(6).uniform(0, 20, 7).tolist()
    batches = [samples[:3], samples[3:6], samples[6:]]
    assert mean_epe(s for batch in batches for s in batch) == mean_epe(samples)
    assert mean_epe([mean_epe(batch) for batch in batches]) != pytest.approx(mean_epe(samples))


def test_small_errors_beside_large_ones_are_not_lost():
    assert mean_epe([1e16, 1.0, 1.0, -1e16]) == 0.5


def test_the_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="the EPE of no samples is undefined"):
        mean_epe([])
