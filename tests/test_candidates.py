"""A wrong figure of a log is named by what it is instead, and never by a guess."""

import math
import statistics

import numpy as np
import pytest

from harness.promises.candidates import instead, order_instead, scores_instead
from harness.promises.schedule_candidates import schedule_instead
from harness.promises.step_candidates import (
    by_step,
    clip_column_instead,
    mean_instead,
    norm_instead,
    step_means_instead,
)

# Two epochs of three steps; three archs in micro-batches 2 + 1, 2 + 1 and 1.
RNG = np.random.default_rng(12)
COUNTS = (6, 6, 3)
EPOCHS = [[RNG.random(count).tolist() for count in COUNTS] for _ in range(2)]
BEFORE, NOW = EPOCHS
FLAT = [value for step in NOW for value in step]


def mean(values):
    return math.fsum(values) / len(values)


MEANS = {
    "that of the epoch before": mean([v for step in BEFORE for v in step]),
    "the mean over this epoch and the one before": mean(
        [v for e in EPOCHS for step in e for v in step]
    ),
    "the sum, not the mean": math.fsum(FLAT),
    "the mean over steps, each weighing the same": mean([mean(step) for step in NOW]),
    # So EdgeFlowNAS logs its loss.
    "the mean over each step's last micro-batch alone": mean([step[-1] for step in NOW]),
    "the mean over each step's first micro-batch alone": mean([step[0] for step in NOW]),
    "the mean over each step's last arch alone": mean(NOW[0][4:] + NOW[1][4:] + NOW[2][2:]),
    "the mean over each step's first arch alone": mean(NOW[0][:2] + NOW[1][:2] + NOW[2][:1]),
    "the mean of each step's sum": mean([math.fsum(step) for step in NOW]),
    "the last step's alone": mean(NOW[-1]),
    "the last micro-batch's alone": NOW[-1][-1],
    "the first step's alone": mean(NOW[0]),
    "the first micro-batch's alone": NOW[0][0],
    "the mean over all but the last micro-batch": mean(FLAT[:-1]),
    "the median": statistics.median(FLAT),
    "the mean over each step's largest": mean([max(step) for step in NOW]),
    "the largest": max(FLAT),
    "the smallest": min(FLAT),
}


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_of_something_else_is_named(name):
    assert mean_instead(MEANS[name], NOW, BEFORE) == f": {name}"


@pytest.mark.parametrize("share", [1 + 1e-6, 1 - 1e-6])
def test_a_number_that_is_only_near_a_candidate_is_not_named(share):
    for value in MEANS.values():
        assert mean_instead(value * share, NOW, BEFORE) == ""


def test_nothing_is_named_where_there_is_nothing_to_compare():
    assert mean_instead(1.0, [], BEFORE) == ""
    assert mean_instead(math.nan, NOW, BEFORE) == ""
    assert mean_instead(1.0, [[math.nan, math.inf]], BEFORE) == ""
    assert instead(None, {"nothing": 0.0}) == ""
    assert by_step([1.0, 2.0], (1, 2)) == []
    assert by_step([1.0, 2.0, 3.0], (1, 2)) == [[1.0], [2.0, 3.0]]


EPE = (2.0, 3.5, 7.25)
OF_THE_POOL = {
    ("mean_epe_12", "that of the epoch before"): 9.0,
    ("mean_epe_12", "the median over archs"): 3.5,
    ("mean_epe_12", "the sum over archs"): 12.75,
    ("mean_epe_12", "the smallest of the archs'"): 2.0,
    ("per_arch_epe_median", "the mean over archs"): 4.25,
    ("per_arch_epe_min", "the largest of the archs'"): 7.25,
    ("std_epe_12", "the deviation divided by one arch less"): statistics.stdev(EPE),
    ("std_epe_12", "the variance"): statistics.pvariance(EPE),
}


@pytest.mark.parametrize(("name", "what"), OF_THE_POOL)
def test_a_score_of_the_pool_is_named(name, what):
    assert instead(OF_THE_POOL[name, what], scores_instead(name, EPE, 9.0)) == f": {what}"


# ---- clip figures: a threshold of 0.5 over the same numbers

OVER = [value > 0.5 for value in FLAT]
CLIP = {
    ("clip_count", "that of the epoch before"): sum(v > 0.5 for step in BEFORE for v in step),
    ("clip_count", "the checks that do not clip"): len(OVER) - sum(OVER),
    ("clip_count", "every check"): len(OVER),
    ("clip_rate", "the checks that clip, per step"): sum(OVER) / 3,
    ("clip_rate", "in per cent, not as a share"): 100 * sum(OVER) / 15,
    ("train_grad_norm_epoch_avg", "the mean after clipping"): mean([min(v, 0.5) for v in FLAT]),
    ("train_grad_norm_epoch_avg", "the mean over each step's last clip check alone"): mean(
        [step[-1] for step in NOW]
    ),
}


@pytest.mark.parametrize(("name", "what"), CLIP)
def test_a_clip_figure_is_named(name, what):
    found = clip_column_instead(name, CLIP[name, what], NOW, BEFORE, 0.5)
    assert found == f": {what}"


@pytest.mark.parametrize(
    ("norm", "what"),
    [
        (3.0, "the last check's alone"), (4.0, "the first check's alone"),
        (14 / 3, "the mean of its checks"), (5.0, "the largest after clipping"),
        (14.0, "the sum of its checks"), (math.sqrt(74), "the root of the sum of squares"),
    ],
)  # fmt: skip
def test_a_step_s_norm_is_named(norm, what):
    assert norm_instead(norm, [4.0, 7.0, 3.0], 5.0) == f": {what}"


# ---- learning rates: two epochs of three steps, of a plan of three epochs

PLACES = [(epoch, step) for epoch in (1, 2) for step in (1, 2, 3)]


def rates(rule):
    return [
        (epoch, step, 0.1 * rule((epoch - 1) * 3 + step - 1, epoch, step)) for epoch, step in PLACES
    ]


def half_cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


SCHEDULES = {
    "the base rate in every step, it does not fall": lambda done, epoch, step: 1.0,
    "the plan one step late": lambda done, epoch, step: half_cosine(max(done - 1, 0) / 9),
    "the plan one step early": lambda done, epoch, step: half_cosine((done + 1) / 9),
    "a straight line, not a cosine": lambda done, epoch, step: 1 - done / 9,
    "changed once an epoch, not in every step": lambda done, epoch, step: half_cosine(
        (epoch - 1) / 3
    ),
    "a cosine that ends with each epoch": lambda done, epoch, step: half_cosine((step - 1) / 3),
    "a cosine that starts again with each epoch": lambda done, epoch, step: half_cosine(
        (step - 1) / 9
    ),
    "a cosine of one step less than the plan": lambda done, epoch, step: half_cosine(done / 8),
    "a cosine of one step more than the plan": lambda done, epoch, step: half_cosine(done / 10),
    "half of the plan in every step": lambda done, epoch, step: half_cosine(done / 9) / 2,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_schedule_is_named(name):
    assert schedule_instead(rates(SCHEDULES[name]), 0.1, 3, 9) == f": {name}"


def test_a_restart_is_named_with_its_epoch():
    places = [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2)]
    found = [
        (e, s, 0.1 * half_cosine(((e - 1) * 2 + s - 1 - (4 if e == 3 else 0)) / 8))
        for e, s in places
    ]
    assert schedule_instead(found, 0.1, 2, 8) == ": the plan restarted at epoch 3"


def test_two_rates_are_too_few_to_name_a_schedule():
    assert schedule_instead([(1, 1, 0.1), (1, 2, 0.1)], 0.1, 3, 9) == ""
    assert schedule_instead(rates(lambda done, *_: done + 0.5), 0.1, 3, 9) == ""


STEP_MEANS = {
    "the mean over steps, each weighing the same": 7 / 3,
    "the sum over micro-batches, not the mean": 13.0,
    "the last step's alone": 4.0,
    "that of the epoch before": 9.0,
    "the sum over micro-batches divided by the steps": 13 / 3,
}


@pytest.mark.parametrize("name", STEP_MEANS)
def test_an_epoch_s_mean_of_step_means_is_named(name):
    found = step_means_instead(STEP_MEANS[name], [1.0, 2.0, 4.0], [3, 3, 1], [9.0] * 3)
    assert found == f": {name}"


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ("abcd", ": the last is missing"), ("abc", ": the last 2 are missing"),
        ("bcdea", ": the same from number 1 on, then from"),
        ("bcdex", ": the same, one place early"),
        ("bcde", ": the same, one place early"),
        ("eabcd", ": the same from number 4 on"), ("xabcd", ": the same, one place late"),
        ("edcba", ": the same in reverse"),
        ("cdeab", ": the same from number 2 on, then from the start"),
        ("abdce", ": the same in another order, from number 2 on"),
        ("abcdef", ": the same, and 1 more"), ("abxyz", ": the first 2 are the same"),
        ("vwxyz", ""), ("abcde", ""), ("", ""),
    ],
)  # fmt: skip
def test_another_order_is_named(found, what):
    assert order_instead("abcde", found).startswith(what)
    assert bool(order_instead("abcde", found)) == bool(what)


def test_one_thing_has_no_order():
    assert order_instead("a", "x") == ""
    assert order_instead("ab", "bx") == ""
