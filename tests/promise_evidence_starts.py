"""Evidence about where a run starts, 20 kernels, and about what it says that it draws."""

from dataclasses import replace

import numpy as np

from harness.promises import drawn_together, own_draws
from harness.promises.asked_draws import Kernels
from harness.promises.own_draws import OwnDraws
from harness.records.records import StepRecord
from harness.systems.protocol import ServedBatch

RNG = np.random.default_rng(11)


def kernel(shape):
    limit = np.sqrt(6 / (shape[0] * shape[1] * (shape[2] + shape[3])))
    return (limit * RNG.uniform(-1, 1, shape)).astype(np.float32)


SHAPES = [(7, 5, 6, 5), (1, 1, 2, 4), (3, 3, 6, 7), (5, 5, 3, 4)]
FIRST, OTHER = (
    {f"b{i}/kernel": kernel(SHAPES[i % 4]) for i in range(20)} | {"zero": np.zeros((3, 3, 4, 2))}
    for _ in range(2)
)
KERNELS = Kernels("glorot_uniform", {7: FIRST, 8: OTHER})


def kernels(seed, **changes):
    named = {name.replace("_", "/"): array for name, array in changes.items()}
    return replace(KERNELS, by_seed={**KERNELS.by_seed, seed: KERNELS.by_seed[seed] | named})


STARTS = {
    "two kernels alike": (
        kernels(7, b4_kernel=FIRST["b0/kernel"]),
        "kernel b4/kernel of seed 7: expected another than any other, found that of b0/kernel",
    ),
    "a kernel of the seed before": (
        kernels(8, b5_kernel=FIRST["b1/kernel"]),
        "kernel b5/kernel of seed 8: expected another than any other, found that of b1/kernel of s",
    ),
    "one beginning in two shapes": (
        kernels(7, b1_kernel=FIRST["b3/kernel"].ravel()[:8].reshape(1, 1, 2, 4) * np.float32(2)),
        "beginning of kernel b3/kernel of seed 7: expected another than any other, found that of",
    ),
    "a kernel and a part of another": (
        kernels(7, b4_kernel=(FIRST["b0/kernel"] + FIRST["b4/kernel"]) / 2),
        "kernels b0/kernel of seed 7 and b4/kernel of seed 7, first 1024 values: expected no corr",
    ),
    "filters alike": (
        kernels(7, b2_kernel=np.repeat(FIRST["b2/kernel"][..., :1], 7, axis=-1)),
        "output channels of kernel b2/kernel of seed 7: expected 7 different, found 1",
    ),
    "twice the scale": (
        kernels(7, b2_kernel=2 * FIRST["b2/kernel"]),
        "kernel b2/kernel of seed 7, of glorot_uniform's range: expected at most 1 times the limit",
    ),
    "half the scale": (
        kernels(7, b2_kernel=FIRST["b2/kernel"] / 2),
        "kernel b2/kernel of seed 7, of glorot_uniform's range: expected some 47.2 draws in each",
    ),
}
NORMAL = Kernels(
    "", {7: {f"b{i}": RNG.normal(0, 0.1, SHAPES[i % 4]).astype(np.float32) for i in range(20)}}
)
IDS = ("a/0", "a/1", "b/2", "b/3", "c/4")


def served(digest, ids, windows):
    corners = tuple((top, left, 4, 6) for top, left in windows)
    return ServedBatch(ids, corners, np.zeros(0), np.zeros(0), np.zeros(0), None, digest)


def step(epoch, number, archs, digest):
    return StepRecord(epoch, number, archs, digest, 1e-3, 1.0, 1, 0, 1.0)


OWN_ORDER = {1: np.array([3, 0, 4, 1, 2]), 2: np.array([1, 2, 0, 3, 4])}
OWN_WINDOWS = {epoch: RNG.integers(4, size=(5, 2)) for epoch in (1, 2)}
OWN_ARCHS = {epoch: np.argsort(RNG.random((3, 3, 9)), axis=1) for epoch in (1, 2)}
BATCHES = {
    f"{epoch}{number}": served(
        f"{epoch}{number}", tuple(IDS[i] for i in OWN_ORDER[epoch][cut]),
        [tuple(window) for window in OWN_WINDOWS[epoch][cut].tolist()],
    )
    for epoch in (1, 2)
    for number, cut in enumerate((slice(0, 2), slice(2, 4), slice(4, 5)), start=1)
}  # fmt: skip
STEPS = tuple(
    step(epoch, number, tuple("".join(map(str, arch)) for arch in OWN_ARCHS[epoch][number - 1]),
         f"{epoch}{number}")
    for epoch in (1, 2)
    for number in (1, 2, 3)
)  # fmt: skip
SAID = {"order": OWN_ORDER, "windows": OWN_WINDOWS, "archs": OWN_ARCHS}
START = {**FIRST, "gamma": np.ones(3)}
OWN = OwnDraws(SAID, SAID, FIRST, START, IDS, STEPS, BATCHES)
WITHOUT = replace(OWN, said={"archs": OWN_ARCHS}, again={"archs": OWN_ARCHS}, kernels={}, served={})


def last_said(what, **found):
    """Return other draws of epoch 2 than training made."""
    return replace(OWN, said={**SAID, what: {1: SAID[what][1], 2: found["epoch_2"]}})


LABELS = {
    "another order in the last step of epoch 2": (
        last_said("order", epoch_2=np.array([1, 2, 0, 3, 3])),
        r"order of epoch 2, step 3: expected \['b/3'\] as drawn, found \['c/4'\]",
    ),
    "an order of more samples than there are": (
        last_said("order", epoch_2=np.array([1, 2, 0, 3, 5])),
        r"order of epoch 2, step 3: expected \['number 5'\] as drawn, found \['c/4'\]",
    ),
    "one window elsewhere": (
        last_said("windows", epoch_2=OWN_WINDOWS[2] + np.array([[0, 0]] * 4 + [[0, 1]])),
        "windows of epoch 2, step 3: expected ",
    ),
    "archs of another step": (
        last_said("archs", epoch_2=OWN_ARCHS[2][[0, 2, 1]]),
        "archs of epoch 2, step 2: expected ",
    ),
    "fewer steps": (
        last_said("archs", epoch_2=OWN_ARCHS[2][:2]),
        r"archs of epoch 2, step 3: expected \[\] as drawn, found ",
    ),
    "other draws when asked again": (
        replace(OWN, again={**SAID, "archs": {1: OWN_ARCHS[1], 2: OWN_ARCHS[1]}}),
        "archs of epoch 2, asked again: expected the same, found others",
    ),
    "another kernel": (
        replace(OWN, start={**START, "b2/kernel": OTHER["b2/kernel"]}),
        "kernel b2/kernel before training: expected as drawn, found another",
    ),
    "a kernel of no name": (
        replace(OWN, start={}),
        "kernel b0/kernel: expected one of the state, found none",
    ),
}
CLEAN = {
    drawn_together.kernels_are_independent: [KERNELS, NORMAL],
    own_draws.training_draws_what_is_said: [OWN, WITHOUT],
}
EMPTY = {
    drawn_together.kernels_are_independent: Kernels("", {}),
    own_draws.training_draws_what_is_said: OwnDraws({}, {}, {}, {}, (), (), {}),
}
CORRUPTED = {
    drawn_together.kernels_are_independent: STARTS,
    own_draws.training_draws_what_is_said: LABELS,
}
NOTHING_TO_TELL = {
    drawn_together.kernels_are_independent: {
        "the same for every seed": (
            Kernels("", {7: FIRST, 8: FIRST}),
            "found nothing: no kernel was drawn, or each is the same for every seed",
        ),
    },
}
