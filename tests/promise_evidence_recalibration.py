"""Evidence about recalibration: two units, batches of 3 and 2 samples."""

from dataclasses import replace

import numpy as np

from harness.promises import recalibration
from harness.promises.recal_hashes import RecalHashes
from harness.promises.recalibration import RecalPair
from harness.systems.protocol import Recalibration

RNG = np.random.default_rng(8)
INPUTS = {
    unit: tuple(RNG.normal(2, 3, (n, 4, 6, 2)).astype(np.float32) for n in (3, 2))
    for unit in ("E0", "EB0/deep1/conv1")
}


def population(batches, ddof=0):
    values = np.concatenate([b.reshape(-1, 2) for b in batches]).astype(np.float64)
    mean, variance = values.mean(axis=0), values.var(axis=0, ddof=ddof)
    return mean.astype(np.float32), variance.astype(np.float32)


STATS = {unit: population(batches) for unit, batches in INPUTS.items()}
RECAL = Recalibration("012012012", STATS, INPUTS, "r1")
MOVING = {
    f"{unit}/{name}": np.full(2, value, np.float32)
    for unit in STATS
    for name, value in (("moving_mean", 0), ("moving_variance", 1))
}
PAIR = RecalPair(RECAL, RECAL, 4, MOVING, (1.0, 2.0), (1.0, 2.0))


def with_stats(**changes):
    return replace(PAIR, first=replace(RECAL, stats=STATS | changes))


DEEPER = Recalibration(
    "222222222", {"EB0/deep3/conv1": population(INPUTS["E0"])}, {"EB0/deep3/conv1": INPUTS["E0"]},
    "r1",
)  # fmt: skip
OF_OTHERS = replace(PAIR, others=(DEEPER,))
SMALL = {u: tuple(b * np.float32(2**-7) for b in batches) for u, batches in INPUTS.items()}
SMALL_STATS = {unit: population(batches) for unit, batches in SMALL.items()}
QUIET = replace(RECAL, stats=SMALL_STATS, inputs=SMALL)
FLOORED = {u: (m, np.maximum(v, np.float32(1e-3))) for u, (m, v) in SMALL_STATS.items()}
BLENDED = tuple(np.float32(0.9) * s + np.float32(0.1) for s in STATS["E0"])
EXACT = {
    "a deeper option of another arch": (
        replace(
            PAIR, others=(replace(DEEPER, stats={"EB0/deep3/conv1": population(INPUTS["E0"][1:])}),)
        ),
        r"arch 222222222, EB0/deep3/conv1, mean of channel \d over N = 120: .*: of the last batch",
    ),
    "variances held from below": (
        replace(PAIR, quiet=replace(QUIET, stats=FLOORED)),
        r"with small kernels, arch 012012012, E0, variance of channel \d over N = 120: expected "
        r".*, found 0\.001",
    ),
    "divided by N - 1": (
        with_stats(E0=population(INPUTS["E0"], ddof=1)),
        r"arch 012012012, E0, variance of channel \d over N = 120: .* \(relative 8\.\de-03",
    ),
    "a batch left out": (
        with_stats(E0=population(INPUTS["E0"][:1])),
        r"E0, mean of channel \d over N = 120",
    ),
    "NaN": (
        with_stats(E0=(STATS["E0"][0], np.float32([1, np.nan]))),
        "E0, variance of channel 1 over N = 120: expected .*, found nan",
    ),
    "a unit whose inputs are unknown": (
        replace(PAIR, first=replace(RECAL, inputs={"E0": INPUTS["E0"]})),
        r"inputs: expected one per unit, found none for \['EB0/deep1/conv1'\]",
    ),
}
PAST = {
    "evaluation by the moving statistics": (
        replace(PAIR, scores_disturbed=(1.0, 2.5)),
        "EPE of arch .* after disturbing the moving statistics: expected the same EPE",
    ),
    "blends in the past": (
        replace(PAIR, second=replace(RECAL, stats=STATS | {"E0": BLENDED})),
        "E0 after disturbing the moving statistics: expected the same statistics",
    ),
    "a unit left out the second time": (
        replace(PAIR, second=replace(RECAL, stats={"E0": STATS["E0"]})),
        "EB0/deep1/conv1 after disturbing the moving statistics: expected the same",
    ),
    "no effect": (
        replace(PAIR, moving={f"{unit}/moving_mean": mean for unit, (mean, _) in STATS.items()}),
        "expected different from the moving ones, found 0 of 2 units changed: recalibration had no",
    ),
}
HASHES = RecalHashes(True, {"epoch 1": "r1", "epoch 2": "r1", "fresh": "r1"}, "r9")
FIXED = {
    "other batches in epoch 2": (
        replace(HASHES, hashes=HASHES.hashes | {"epoch 2": "r2"}),
        "hash of the recalibration batches, epoch 2: expected r1, found r2",
    ),
    "a hash that does not see pixels": (
        replace(HASHES, one_pixel_changed="r1"),
        "hash after changing one pixel of one frame: expected another hash, found r1",
    ),
}

CLEAN = {
    recalibration.recal_statistics_are_exact: [PAIR, replace(PAIR, quiet=QUIET), OF_OTHERS],
    recalibration.recal_ignores_the_past: [
        PAIR, replace(PAIR, scores_disturbed=(1.0, 2.5), noisy=True),
    ],
    recalibration.recal_batches_are_fixed: [
        HASHES, replace(HASHES, fixed=False, hashes={"epoch 1": "r1", "epoch 2": "r2"}),
    ],
}  # fmt: skip
NOTHING = Recalibration("012012012", {}, {}, "")
EMPTY = {
    recalibration.recal_statistics_are_exact: RecalPair(NOTHING, NOTHING, 0, {}, (), ()),
    recalibration.recal_ignores_the_past: RecalPair(NOTHING, NOTHING, 4, {}, (), ()),
    recalibration.recal_batches_are_fixed: RecalHashes(True, {}, "r9"),
}
CORRUPTED = {
    recalibration.recal_statistics_are_exact: EXACT,
    recalibration.recal_ignores_the_past: PAST,
    recalibration.recal_batches_are_fixed: FIXED,
}
NO_INPUTS = replace(PAIR, first=replace(RECAL, inputs={}))
NOTHING_TO_TELL = {
    recalibration.recal_statistics_are_exact: {
        "no inputs": (NO_INPUTS, "found no unit's inputs were given"),
    },
    recalibration.recal_ignores_the_past: {
        "nothing was disturbed": (
            replace(PAIR, disturbed=0),
            "found no moving statistic was disturbed before",
        ),
        "statistics of other names": (
            replace(PAIR, moving={"elsewhere/moving_mean": MOVING}),
            "found state.. has no moving statistics of the recalibrated units",
        ),
    },
}
