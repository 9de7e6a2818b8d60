import math
from dataclasses import replace

import numpy as np
import pytest

from harness.promises import loss, micro_batches, one_step, update
from tests.promise_evidence_accumulation import ACCUMULATED, THRESHOLD
from tests.promise_evidence_onestep import GRADIENT, along
from tests.promise_evidence_pixels import pixel_loss, softplus
from tests.promise_evidence_steps import BATCH, STEP, decay, mean_loss

RNG = np.random.default_rng(2)
HALVED, UNEVEN = ((2, 3), (4, 6), (8, 12)), ((3, 4), (5, 9), (8, 13))
"""Sizes of three scales; the second ones are no halves of each other."""


def drawn(sizes, samples=2):
    outputs = [RNG.normal(0, 2, (samples, *size, 4)).astype(np.float32) for size in sizes]
    label = RNG.normal(0, 5, (samples, *sizes[-1], 2)).astype(np.float32)
    return outputs, label, np.ones((samples, *sizes[-1]), bool)


def holes(valid):
    valid = valid.copy()
    valid[0, :5, :6], valid[-1, 3:, 2] = False, False
    return valid


def one_sample_unknown(valid):
    valid = valid.copy()
    valid[0] = False
    return valid


def one_pixel(valid):
    alone = np.zeros_like(valid)
    alone[:, 4, 4] = True
    return alone


@pytest.mark.parametrize("sizes", [HALVED, UNEVEN], ids=["halved", "uneven"])
@pytest.mark.parametrize("mask", [np.array, holes, one_sample_unknown, one_pixel])
def test_the_loss_by_arrays_is_the_loss_pixel_by_pixel(sizes, mask):
    outputs, label, valid = drawn(sizes)
    valid = mask(valid)
    label = np.where(valid[..., None], label, np.float32(0))
    found = loss.independent_loss(outputs, label, valid)
    assert found == pytest.approx(pixel_loss(outputs, label, valid), rel=1e-12)
    assert found > 0


def test_the_loss_of_no_flow_at_all_is_as_worked_out_by_hand():
    outputs, label, valid = drawn(HALVED)
    found = loss.independent_loss([0 * o for o in outputs], 0 * label + 2, valid)
    by_hand = 2 + 2 / softplus(1e-3) + math.log(2)
    assert found == pytest.approx((0.125 + 0.25 + 0.5) * by_hand, rel=1e-12)


def test_a_very_sure_network_divides_by_the_least_sigma():
    outputs, label, valid = drawn(HALVED)
    sure = [o * np.float32([0, 0, 0, 0]) - np.float32([0, 0, 90, 90]) for o in outputs]
    found = loss.independent_loss(sure, 0 * label + 2, valid)
    assert found == pytest.approx(0.875 * (2 + 2 / 1e-3), rel=1e-12)


def test_a_label_where_nothing_is_known_does_not_enter_the_loss():
    outputs, label, valid = drawn(HALVED)
    valid = holes(valid)
    other = np.where(valid[..., None], label, np.float32(77))
    assert loss.independent_loss(outputs, label, valid) == loss.independent_loss(
        outputs, other, valid
    )


def test_samples_weigh_alike_whatever_is_known_of_them():
    outputs, label, valid = drawn(HALVED)
    valid = holes(valid)
    alone = [
        loss.independent_loss([o[i : i + 1] for o in outputs], label[i : i + 1], valid[i : i + 1])
        for i in (0, 1)
    ]
    both = loss.independent_loss(outputs, label, valid)
    assert both == pytest.approx(sum(alone) / 2, rel=1e-12)


def test_the_toy_that_is_judged_is_a_hard_case():
    height, width = BATCH.valid.shape[1:]
    assert height != width
    assert not BATCH.valid[:, ::4, ::4].all()
    assert (np.abs(BATCH.flow) == BATCH.flow_clip).any()
    assert len(set(STEP.losses)) == len(STEP.losses) == 3
    assert np.mean(STEP.losses) == pytest.approx(mean_loss(STEP.before), rel=1e-9)
    assert decay(STEP.before) > 10 * one_step.LOSS_TOLERANCE * max(STEP.losses)


@pytest.mark.parametrize("factor", [1 - 3e-2, 1 + 3e-2, 1 - 5e-3, 1 + 5e-3])
def test_a_step_that_is_off_by_half_a_percent_is_reported(factor):
    found = update.update_is_adam(along(GRADIENT, lr=STEP.lr * factor))
    assert [v.where for v in found.violations] == [f"step of {name}" for name in STEP.start]


@pytest.mark.parametrize("factor", [1 - 1e-4, 1 + 1e-4])
def test_rounding_is_not_reported(factor):
    assert update.update_is_adam(along(GRADIENT, lr=STEP.lr * factor)).violations == ()
    rounded = tuple(loss * (factor**0.5) for loss in STEP.losses)
    assert loss.loss_is_recomputed(replace(STEP, losses=rounded)).violations == ()


def test_decay_is_taken_out_of_kernels_alone():
    bias = np.float32(0.1 * STEP.decay) * STEP.start["head/bias"]
    moments = {**STEP.first[0], "head/bias": bias}
    found = update.gradient_reaches_every_option(replace(STEP, first=(moments, STEP.first[1])))
    assert found.violations == ()


def test_checks_below_the_threshold_bound_what_a_micro_step_leaves():
    micro = ACCUMULATED.clipped_micro
    low = tuple(replace(c, before=THRESHOLD / 2, after=THRESHOLD / 2) for c in micro.checks)
    found = micro_batches.clip_is_applied(
        replace(ACCUMULATED, clipped_micro=replace(micro, checks=low))
    ).violations
    assert [v.where for v in found] == ["gradient clipped per micro-step"]
    assert found[0].expected.startswith(f"norm at most {THRESHOLD / 2:.6g}")


@pytest.mark.parametrize("promise", [loss.loss_is_recomputed, update.update_is_adam])
def test_a_step_that_is_wrong_everywhere_is_cut_short(promise):
    wrong = replace(
        STEP, losses=(1.0,) * 3, lr=1.0, flow_clip=1.0, batch=replace(BATCH, frames=~BATCH.frames),
        second=(STEP.second[0], STEP.first[0]), norm=0.0,
    )  # fmt: skip
    assert len(promise(wrong).violations) == 6
