"""Parts for the promises over drawn cases: sound ones, those of faults, and none."""

from types import SimpleNamespace

import numpy as np

from harness.faults import arithmetic
from harness.promises import score_arithmetic, step_arithmetic, windows
from harness.promises.step_arithmetic import Accumulated
from harness.runs.parts import Parts

SOUND = Parts()


def silent(*names):
    """Return parts that answer every call with nothing."""
    return SimpleNamespace(**dict.fromkeys(names, lambda *_, **__: None))


def broken(fault):
    return fault().apply(SOUND)


def gradients(scale=1.0, *, whole=1.0):
    first, last = (np.random.default_rng(n).normal(size=(3, 5)).astype(np.float32) for n in (3, 4))
    mean = np.float32(0.8) * first + np.float32(0.2) * last
    pieces = (4, [first, first[0]]), (4, [first, first[0]]), (2, [last, last[0]])
    return Accumulated(
        [mean * np.float32(whole), mean[0] * np.float32(whole)],
        [mean * np.float32(scale), mean[0] * np.float32(scale)], pieces,
    )  # fmt: skip


CLEAN = {
    windows.centre_windows: [SOUND.data],
    windows.random_windows: [SOUND.data],
    windows.orders: [SOUND.data],
    step_arithmetic.planned_checks_match_a_walk: [SOUND.train],
    step_arithmetic.micro_batches_give_the_mean: [SOUND.train],
    step_arithmetic.clipping_keeps_direction: [SOUND.train],
    step_arithmetic.learning_rate_follows_the_plan: [SOUND.train],
    step_arithmetic.gradient_accumulates: [gradients()],
    score_arithmetic.samples_weigh_the_same: [SOUND.evaluation],
    score_arithmetic.statistics_pool_any_partition: [SOUND.evaluation],
    score_arithmetic.rank_counts_pairs: [SOUND],
    score_arithmetic.pools_are_distinct: [SOUND],
}
EMPTY = {
    windows.centre_windows: silent("center"),
    windows.random_windows: silent("random"),
    windows.orders: silent("train_order", "eval_order"),
    step_arithmetic.planned_checks_match_a_walk: silent("micro_batches", "expected_checks"),
    step_arithmetic.micro_batches_give_the_mean: silent("micro_batches"),
    step_arithmetic.clipping_keeps_direction: silent("clip"),
    step_arithmetic.learning_rate_follows_the_plan: silent("schedule"),
    step_arithmetic.gradient_accumulates: Accumulated([np.zeros(0)], [np.zeros(0)], ()),
    score_arithmetic.samples_weigh_the_same: silent("epe", "mean"),
    score_arithmetic.statistics_pool_any_partition: silent("pool_statistics"),
    score_arithmetic.rank_counts_pairs: silent("rank"),
    score_arithmetic.pools_are_distinct: silent("pool"),
}
CORRUPTED = {
    windows.centre_windows: {
        "a crop that is cut down": (
            broken(arithmetic.CropClamped).data,
            r"crop \(5, 4\) of a frame of \(4, 5\): expected an error that says 'does not fit'",
        ),
    },
    windows.random_windows: {
        "a place that is never reached": (
            broken(arithmetic.LastPlaceMissed).data, r"frame \(7, 8\), places: expected .*\(3, 2\)",
        ),
    },
    windows.orders: {
        "a pass without its tail": (
            broken(arithmetic.TailDropped).data, r"epoch 1, sorted: expected \[0, 1, 2\], found",
        ),
    },
    step_arithmetic.planned_checks_match_a_walk: {
        "a plan that rounds down": (
            broken(arithmetic.PlanRoundsDown).train, r"per micro_step: expected 3, found 0",
        ),
    },
    step_arithmetic.micro_batches_give_the_mean: {
        "a remainder that is dropped": (
            broken(arithmetic.RemainderDropped).train, "samples used by three archs: expected 9",
        ),
        "an add that is lost": (broken(arithmetic.AddIsLost).train, "mean: expected"),
    },
    step_arithmetic.clipping_keeps_direction: {
        "a short gradient made longer": (
            broken(arithmetic.GradientNormalised).train, "norm after: expected",
        ),
    },
    step_arithmetic.learning_rate_follows_the_plan: {
        "a step too many": (
            broken(arithmetic.ScheduleAStepLong).train, "expected an error that says 'planned step",
        ),
    },
    step_arithmetic.gradient_accumulates: {
        "a gradient a little too long": (
            gradients(1.0001),
            r"gradient of 4 \+ 4 \+ 2 samples: expected the sum of those of 4 \+ 4 \+ 2 by their "
            "samples, within 1e-05, found relative distance 1.0e-04",
        ),
        "a whole of other samples": (
            gradients(whole=1.06), "expected that of 10 at once, within 0.05, found relative",
        ),
    },
    score_arithmetic.samples_weigh_the_same: {
        "a sum in float32": (broken(arithmetic.MeanInFloat32).evaluation, "reversed: expected"),
    },
    score_arithmetic.statistics_pool_any_partition: {
        "variances averaged": (
            broken(arithmetic.VariancesAveraged).evaluation, r"variance of batches of \[1, 1\]",
        ),
    },
    score_arithmetic.rank_counts_pairs: {
        "NaN ranked": (broken(arithmetic.NanRanksLast), "tau with NaN: expected an error"),
    },
    score_arithmetic.pools_are_distinct: {
        "an arch twice": (broken(arithmetic.PoolPadded), "distinct archs: expected 11, found 10"),
    },
}  # fmt: skip
