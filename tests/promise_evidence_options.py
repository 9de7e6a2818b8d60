"""Evidence about batch mates, and about options that an arch does not run."""

import math
from dataclasses import replace

import numpy as np

from harness.promises import batch_mates, split_sizes, unrun_options
from harness.promises.batch_mates import BatchMates
from harness.promises.moved_statistics import StatisticsMoved
from harness.promises.split_sizes import SplitScores
from harness.promises.unrun_options import Poisoned

# ---- two archs, two of three samples of a batch

MATES = BatchMates(
    3, ("a/0", "a/2"),
    {"000": (1.25, 3.5), "212": (2.0, 4.0)},
    {"000": (1.25, 3.5), "212": (2.0, 4.0)},
    {"000": (1.25, 3.5), "212": (2.00001, 4.0)},
)  # fmt: skip


def beside_copies(**scores):
    return replace(MATES, alone={**MATES.alone, **{k[1:]: v for k, v in scores.items()}})


MIXED = {
    "normalised by the batch, 1.3 % off": (
        beside_copies(_212=(2.0, 4.0 * 1.013)),
        r"arch 212: sample a/2 in its batch of 3: expected 4\.052 px, as beside copies of itself, "
        r"found 4 px \(1\.3 % off\): evaluation normalises by the batch",
    ),
    "a little more than rounding": (
        beside_copies(_000=(1.25 * (1 + 2e-4), 3.5)),
        "arch 000: sample a/0 in its batch of 3",
    ),
    "NaN beside copies": (beside_copies(_000=(math.nan, 3.5)), "found 1.25 px .nan % off"),
    "NaN in the batch": (
        replace(MATES, together={**MATES.together, "000": (math.nan, 3.5)}),
        "arch 000: sample a/0 in its batch of 3: expected 1.25 px, .*, found nan px",
    ),
}

# ---- two blocks: depth options that nest, kernel options without statistics

DEPTH = [("b0/1", "b0/1/moving_mean"), ("b0/2", "b0/2/moving_mean"), ("b0/3", "b0/3/moving_mean")]
OPTIONS = [
    [frozenset(name for unit in DEPTH[: option + 1] for name in unit) for option in range(3)],
    [frozenset({f"b1/k{size}"}) for size in (7, 5, 3)],
]
SCORES = (1.5, 2.5)
UNRUN = ("b0/2", "b0/2/moving_mean", "b0/3", "b0/3/moving_mean", "b1/k3", "b1/k5")


def poisoned(*values, found=SCORES, error=""):
    return Poisoned("00", values, UNRUN, SCORES, found, error)


WILD = (1e30, math.inf, math.nan)
CASES = [poisoned(7.0), poisoned(*WILD)]
REFUSED = poisoned(math.nan, found=(), error="ValueError: b0/3[0] is nan")
NAN = (math.nan, math.nan)
SEEN = {
    "an option that is run": (
        [poisoned(7.0, found=(1.5, 2.6)), poisoned(*WILD)],
        "EPE of arch 00, sample 1, with 7 in all 6 arrays of options that it does not run: "
        r"expected 2\.5 px, as before, found 2\.6 px: the score depends on options that its code",
    ),
    "options multiplied by 0": (
        [poisoned(7.0), poisoned(1e30), *(poisoned(v, found=NAN) for v in (math.inf, math.nan))],
        r"sample 0, with inf, nan in all 6 arrays .*: expected 1\.5 px, .*, found nan px: what is "
        "not chosen is multiplied by 0",
    ),
    "an evaluation that stops and names the arch": (
        [
            *CASES[:1],
            poisoned(math.nan, found=(), error="NonFiniteScoreError: arch 00: EPE is nan"),
        ],
        "sample 0, with nan .*, found NonFiniteScoreError: arch 00: EPE is nan: what is not chosen",
    ),
    "a sample that is no longer scored": (
        [poisoned(7.0, found=SCORES[:1])],
        r"sample 1, with 7 in all 6 arrays .*: expected 2\.5 px, as before, found no score",
    ),
}

# ---- moving statistics after two steps of three archs, momentum 0.9, from 1e6

STEPS = [("01", "12", "20"), ("00", "22", "11")]
COUNTS = {"trunk/moving_mean": 6, "b0/1/moving_mean": 6, "b0/2/moving_mean": 4,
          "b0/3/moving_mean": 2}  # fmt: skip


def left(momentum=0.9, **counts):
    """Update each statistic so many times by batches of 3, in two channels."""
    renamed = {name.replace("_", "/", 2).replace("/moving/", "/moving_"): n
               for name, n in counts.items()}  # fmt: skip
    return {
        name: (3 + (1e6 - 3) * np.full(2, momentum**n)).astype(np.float32)
        for name, n in {**COUNTS, **renamed}.items()
    }


MOVED = StatisticsMoved(1e6, STEPS, OPTIONS, left())
WITH_NAN = {**left(), "b0/3/moving_mean": np.full(2, math.nan, np.float32)}
FOLLOWING = {
    "every branch is updated for every arch": (
        replace(MOVED, moved=left(b0_2_moving_mean=6, b0_3_moving_mean=6)),
        r"b0/2/moving_mean after steps of 3 archs: expected 2 update\(s\) a step, of the archs "
        "that run it, found 3: it follows archs that do not run it",
    ),
    "one update too many in two steps": (
        replace(MOVED, moved=left(b0_3_moving_mean=3)),
        r"b0/3/moving_mean after steps of 3 archs: expected 1 update\(s\) a step, .*, found 1\.5",
    ),
    "momentum 0.99": (
        replace(MOVED, moved=left(momentum=0.99, b0_3_moving_mean=6)),
        r"b0/3/moving_mean after steps of 3 archs: expected 1 .*, found 3: it follows archs",
    ),
    "none of its own": (
        replace(MOVED, moved=left(b0_3_moving_mean=0)),
        r"b0/3/moving_mean .*: expected 1 .*, found -?0: it does not follow all that do",
    ),
    "NaN": (replace(MOVED, moved=WITH_NAN), "b0/3/moving_mean .*: expected 1 .*, found nan"),
}
NO_SHARED = {name: array for name, array in MOVED.moved.items() if name.startswith("b0/2")}
LONG = [("a", 1.5), ("b", 3.0), ("b", 3.0), ("a", 1.5), ("b", 3.0)]
SPLITS = SplitScores({"000": LONG}, {"000": ("b", [3.0])})


def scored_at(place, epe):
    """Return the splits with another score at one position of the long one."""
    rows = [*LONG[:place], (LONG[place][0], epe), *LONG[place + 1 :]]
    return replace(SPLITS, long={"000": rows})


PIECES = {
    "a later piece": (
        scored_at(4, 3.1),
        r"arch 000: EPE of sample b at position 4 of 5: expected 3 px, as at position 1, found 3.1",
    ),
    "NaN": (scored_at(3, math.nan), r"sample a at position 3 .*: expected 1.5 px, .* found nan px"),
    "one sample": (
        replace(SPLITS, alone={"000": ("b", [2.9])}),
        r"sample b at a split of one: expected 3 px, as at position 1, found 2.9 px",
    ),
    "nothing": (
        replace(SPLITS, alone={"000": ("b", [])}),
        r"arch 000: scores of a split of one sample: expected 1, found 0",
    ),
}
CLEAN = {
    batch_mates.scores_ignore_batch_mates: [MATES],
    split_sizes.scores_ignore_split_size: [
        SPLITS, replace(SPLITS, alone={}), scored_at(4, 3.0001),
    ],
    unrun_options.unrun_options_are_unseen: [CASES, [*CASES[:1], REFUSED]],
    unrun_options.unrun_statistics_stay: [
        MOVED, replace(MOVED, moved=left(momentum=0.99)), replace(MOVED, moved=left(momentum=0.5)),
    ],
}  # fmt: skip
EMPTY = {
    batch_mates.scores_ignore_batch_mates: BatchMates(0, (), {}, {}, {}),
    split_sizes.scores_ignore_split_size: SplitScores({"000": LONG[:2]}, {}),
    unrun_options.unrun_options_are_unseen: [],
    unrun_options.unrun_statistics_stay: StatisticsMoved(1e6, [], [], {}),
}
CORRUPTED = {
    batch_mates.scores_ignore_batch_mates: MIXED,
    split_sizes.scores_ignore_split_size: PIECES,
    unrun_options.unrun_options_are_unseen: SEEN,
    unrun_options.unrun_statistics_stay: FOLLOWING,
}
NOTHING_TO_TELL = {
    batch_mates.scores_ignore_batch_mates: {
        "another prediction when asked again": (
            replace(beside_copies(_000=(1.5, 3.5)), again={**MATES.again, "000": (1.4, 3.5)}),
            "not applicable: expected evidence, found arch 000 predicts otherwise for the same",
        ),
    },
    unrun_options.unrun_options_are_unseen: {
        "all refused": (
            [REFUSED],
            "not applicable: expected evidence, found the system refuses every weight",
        ),
    },
    unrun_options.unrun_statistics_stay: {
        "no layer that all run": (
            replace(MOVED, moved=NO_SHARED),
            "not applicable: expected evidence, found no layer with moving statistics is run by",
        ),
        "nothing moved": (
            replace(MOVED, moved=left(momentum=1.0)),
            "not applicable: .*, found layers that every arch runs keep 1 of what",
        ),
        "all forgotten": (
            replace(MOVED, moved=left(momentum=0.0)),
            "not applicable: .*, found layers that every arch runs keep 3e-06 of what",
        ),
        "steps of other shares": (
            replace(MOVED, steps=[*STEPS, ("00", "00", "00")]),
            "not applicable: .*, found steps train unequally many archs that run b0/2",
        ),
    },
}
