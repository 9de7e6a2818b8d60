"""Evidence about later steps: two epochs walked, labels of many lengths, micro-batches."""

import itertools
import math
from dataclasses import replace

import numpy as np

from harness.promises import (
    every_step,
    kept_share,
    logged_archs,
    micro_statistics,
    own_labels,
    whole_passes,
)
from harness.promises.kept_share import KeptShare
from harness.promises.micro_statistics import MicroStatistics
from harness.promises.own_labels import LabelledStep, Labels
from harness.promises.slopes import Nudge
from harness.promises.walk import Turned, Walk, WalkedStep
from harness.promises.whole_passes import Passes
from harness.systems.protocol import Recalibration

RNG = np.random.default_rng(21)
SHAPES = {"E0/kernel": (3, 3, 2, 4), "E0/gamma": (4,)}
SIZES, TOTAL = (5, 5, 1), 12
BETA = (0.9, 0.999)


def rate(number):
    return 1e-3 * (1 + math.cos(math.pi * (number - 1) / TOTAL)) / 2


def drawn(scale=1.0):
    return {name: RNG.normal(0, scale, shape) for name, shape in SHAPES.items()}


def norm(gradient):
    return math.sqrt(sum(float((g * g).sum()) for g in gradient.values()))


def turned(after=(5.0, 2.0, 3.0)):
    archs, runs = ("012", "120", "201"), (True, False, False)
    return Turned(archs, ("B0/option0/kernel",), runs, (1.0, 2.0, 3.0), after)


def taken(weights, moments, number, place, gradient, lr):
    """Return a step as Adam makes it."""
    new = tuple(
        {n: b * moments[i][n] + (1 - b) * gradient[n] ** (i + 1) for n in SHAPES}
        for i, b in enumerate(BETA)
    )
    correction = math.sqrt(1 - BETA[1] ** number) / (1 - BETA[0] ** number)
    after = {
        n: weights[n] - lr * correction * new[0][n] / (np.sqrt(new[1][n]) + 1e-8) for n in SHAPES
    }
    epoch, step = place
    slope = norm(gradient)
    nudges = [Nudge(w, 9 + slope * w, 9 - slope * w, 9.0) for w in (1e-3, 2e-3)]
    return WalkedStep(
        epoch, step, number, SIZES[step - 1], rate(number), weights, after, moments, new,
        nudges if place in ((2, 2), (2, 3)) else None, turned() if place == (2, 3) else None,
    )  # fmt: skip


def walked(rates=rate):
    """Return two epochs of sound steps, or of steps at other rates than planned."""
    weights, moments = drawn(), tuple(dict.fromkeys(SHAPES, 0.0) for _ in BETA)
    moments = tuple({n: np.zeros(shape) for n, shape in SHAPES.items()} for _ in BETA)
    steps = []
    places = itertools.product((1, 2), (1, 2, 3))
    for number, place in enumerate(places, start=1):
        step = taken(weights, moments, number, place, drawn(3.0), rates(number))
        weights, moments = step.after, step.new
        steps.append(step)
    return Walk(tuple(steps), tuple(rate(n) for n in range(1, 7)))


def changed(walk, number, **what):
    return replace(walk, steps=tuple(
        replace(s, **{k: v(s) for k, v in what.items()}) if s.number == number else s
        for s in walk.steps
    ))  # fmt: skip


WALK = walked()
HELD = walked(lambda number: rate(number - 1) if number == 3 else rate(number))


def restarted(step):
    return tuple({n: np.zeros(shape) for n, shape in SHAPES.items()} for _ in BETA)


def flows(order, losses=None, **losses_of):
    """Return two epochs on samples in this order, the first two of them under two labels each."""
    lengths = [(50.0, 10.0), (2.0, 50.0), (10.0, 10.0), (0.4, 0.4)]
    steps = []
    for epoch, place in itertools.product((1, 2), range(len(order))):
        one = order[place] if losses is None else losses[place]
        # Of archs that differ by more than labels do: their level tells nothing.
        level = float(RNG.normal(100, 40))
        pair = tuple(level + 2.5 * length for length in lengths[one])
        steps.append(LabelledStep(epoch, place + 1, f"{order[place]:07d}", lengths[order[place]],
                                  losses_of.get(f"of_{epoch}_{place + 1}", pair)))  # fmt: skip
    return Labels(tuple(steps))


COPIES = 5
VALUES = RNG.normal(0.4, 1.5, (3, 4, 2)).astype(np.float32)
MOVING = {"E0/moving_mean": np.zeros(2, np.float32), "E0/moving_variance": np.ones(2, np.float32)}
NEAR_ZERO = (VALUES - VALUES.mean(axis=(0, 1)) + 0.002).astype(np.float32)


def of_copies(values):
    return Recalibration(
        "012012012", {"E0": (np.zeros(2, np.float32), np.ones(2, np.float32))},
        {"E0": (np.stack([values] * COPIES),)}, "hash",
    )  # fmt: skip


OF_COPIES = of_copies(VALUES)


def followed(pieces, *, archs=3, momentum=0.9, values=VALUES, off=0.0):
    flat = values.reshape(-1, 2).astype(np.float64)
    mean, variance = np.zeros(2), np.ones(2)
    for _ in range(archs):
        for samples in pieces:
            count = samples * len(flat)
            mean = momentum * mean + (1 - momentum) * flat.mean(0)
            corrected = flat.var(0) * count / (count - 1)
            variance = momentum * variance + (1 - momentum) * corrected
    moved = {"E0/moving_mean": mean + off, "E0/moving_variance": variance}
    arrays = {n: a.astype(np.float32) for n, a in moved.items()}
    return MicroStatistics(MOVING, arrays, [of_copies(values)] * 3, (2, 2, 1))


def left(*shares, declared=0.9):
    return KeptShare(
        declared, 1e9,
        {f"E{i}/moving_mean": np.full(3, 1e9 * s, np.float32) for i, s in enumerate(shares)},
    )  # fmt: skip


def trained(first, second):
    return Passes((3, 3, 2), {1: first, 2: second})


CLEAN = {
    kept_share.declared_share_is_kept: [
        left(0.9, 0.9**3, 1.0),
        left(0.99**4, declared=0.99),
        left(0.9**18),
    ],
    whole_passes.passes_are_trained_whole: [
        trained((3, 3, 2), (3, 3, 2)),
        trained((3, 3, 3), (8, 8)),
    ],
    every_step.every_step_is_adam: [WALK],
    every_step.gradients_are_slopes: [WALK],
    logged_archs.archs_are_those_logged: [WALK],
    own_labels.losses_follow_labels: [flows((2, 0, 3, 1))],
    micro_statistics.every_micro_batch_is_followed: [
        followed((2, 2, 1)),
        # What float32 leaves of a mean near zero is much of it, and nothing of its values.
        followed((2, 2, 1), values=NEAR_ZERO, off=3e-7),
    ],
}
EMPTY = {
    kept_share.declared_share_is_kept: left(),
    whole_passes.passes_are_trained_whole: Passes((), {}),
    every_step.every_step_is_adam: Walk((), ()),
    every_step.gradients_are_slopes: Walk((), ()),
    logged_archs.archs_are_those_logged: Walk((), ()),
    own_labels.losses_follow_labels: Labels(()),
    micro_statistics.every_micro_batch_is_followed: MicroStatistics({}, {}, [OF_COPIES], (2, 1)),
}
CORRUPTED = {
    kept_share.declared_share_is_kept: {
        "the complement": (
            left(0.9**3, 0.1**3),
            "E1/moving_mean after training: expected 0.9 kept by each update, as declared, found "
            "0.001 of it left, as 0.1 kept by 3 updates would leave",
        ),
        "another share": (left(0.99), "found 0.99 of it left, as 0.99 kept by 1 update would"),
        "a share that nobody has": (left(0.87), "found 0.87 of it left$"),
        "no number": (left(math.nan), "found nan of it left"),
        "no value of all": (left(-0.5), "found -0.5 of it left"),
    },
    whole_passes.passes_are_trained_whole: {
        "a rest that is dropped": (
            trained((3, 3, 2), (3, 3)),
            r"epoch 2, samples in its steps: expected 8 \(3 \+ 3 \+ 2\), found 6 \(3 \+ 3\)",
        ),
        "an epoch without a step": (trained((3, 3, 2), ()), r"epoch 2.*, found 0 \(no step\)"),
    },
    every_step.every_step_is_adam: {
        "the rate of the step before": (
            HELD,
            r"step 3 of epoch 1 \(1 sample\), 2 of 2 weights such as E0/kernel: expected moved by "
            r"Adam at the planned rate of 0\.00093\d+, found 1\.05\d* times as far, a rate of "
            r"0\.00098\d+: that of step 2 of the run",
        ),
        "moments that start again with the epoch": (
            changed(WALK, 4, old=lambda s: (s.old[0], {n: 9 * v for n, v in s.old[1].items()})),
            r"step 1 of epoch 2 \(5 samples\), second moment of E0/kernel: expected norm",
        ),
        "an update that is left out": (
            changed(WALK, 5, after=lambda s: s.before),
            r"step 2 of epoch 2 \(5 samples\), .* found 0 times as far",
        ),
        "a gradient of nothing": (
            changed(WALK, 6, new=lambda s: ({n: 0.9 * m for n, m in s.old[0].items()}, s.new[1])),
            r"step 3 of epoch 2 \(1 sample\): expected a gradient above 0, found none",
        ),
    },
    logged_archs.archs_are_those_logged: {
        "the archs of the step before": (
            changed(WALK, 6, turned=lambda _: turned((1.0, 6.0, 3.0))),
            r"step 3 of epoch 2 \(1 sample\), logged arch 012, with others in place of 1 kernel "
            r"such as B0/option0/kernel: expected another loss, found 1: the step trains another",
        ),
        "one arch for two": (
            changed(WALK, 6, turned=lambda _: turned((5.0, 6.0, 3.0))),
            "logged arch 120, .*: expected 2 as before, it does not run them, found 6: the step",
        ),
    },
    every_step.gradients_are_slopes: {
        "a partial batch divided by a full one's samples": (
            changed(WALK, 6, nudges=lambda s: [
                Nudge(n.length, 9 + 5 * (n.forth - 9), 9 + 5 * (n.back - 9), 9.0) for n in s.nudges
            ]),
            r"step 3 of epoch 2 \(1 sample\): slope of its mean loss along its gradient: expected "
            "[0-9.]+, the gradient's norm, found [0-9.]+ by differences: as if divided by the "
            "samples of a full batch",
        ),
        "a gradient of an earlier step in the accumulator": (
            changed(WALK, 5, nudges=lambda s: [
                Nudge(n.length, 9 + (n.forth - 9) / 2, 9 + (n.back - 9) / 2, 9.0) for n in s.nudges
            ]),
            r"step 2 of epoch 2 \(5 samples\): slope",
        ),
        "losses that are no numbers": (
            changed(WALK, 5, nudges=lambda s: [Nudge(1e-3, math.nan, 9.0, 9.0)]), "found nan",
        ),
    },
    own_labels.losses_follow_labels: {
        "the labels of the step before": (
            flows((2, 0, 3, 1), losses=(1, 2, 0, 3)),
            r"loss of step 2 of epoch 1, on 0000000: expected another than \d+\.?\d* once its flow "
            r"is 10 px long, not 50 px, found \d+\.?\d*: every step moves with the label of the "
            "step before",
        ),
        "a label of another step, once": (
            flows((2, 0, 3, 1), of_2_3=(140.0, 139.0)),
            "loss of step 3 of epoch 2, on 0000003: expected 140 as before, its flow is 0.4 px "
            "long as before, found 139$",
        ),
        "a third of a lagging label": (
            flows((2, 0, 3, 1), of_1_1=(1000.0, 1000.2)),
            "loss of step 1 of epoch 1, on 0000002: expected 1e.03 as before|expected 1000 as",
        ),
        "a loss that is no number": (
            flows((2, 0, 3, 1), of_2_4=(math.nan, 1.0)),
            "loss of step 4 of epoch 2, on 0000001: expected a number, found nan, then 1",
        ),
        "labels all alike": (flows((2, 3)), "labels of the steps: expected some changed, found 0"),
    },
    micro_statistics.every_micro_batch_is_followed: {
        "the last micro-batch alone": (
            followed((1,)),
            "E0/moving_mean after micro-batches of 2, 2, 1: expected an update by each of them for "
            "each arch that runs it, 0.9 kept, found relative distance .*, as the last micro-batch "
            "alone would give",
        ),
        "the whole batch once": (followed((5,)), "as the whole batch once would give|alone would"),
        "another momentum": (followed((2, 2, 1), momentum=0.99), "found relative distance"),
        "another mean near zero": (
            followed((2, 2, 1), values=NEAR_ZERO, off=1e-5),
            "E0/moving_mean after .* found relative distance",
        ),
    },
}  # fmt: skip
NOTHING_TO_TELL = {
    kept_share.declared_share_is_kept: {
        "all frozen": (left(1.0, 1.0), "no moving statistic was updated: all are frozen"),
    },
}
