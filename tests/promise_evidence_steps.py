"""Evidence about one step of a toy: three options of one kernel, trained by NumPy alone.

The second of two Adam steps on two 8 x 12 crops. Gradients are central differences, losses
come from a loop over pixels: what the promises recompute was computed otherwise.
"""

import math
from dataclasses import replace

import numpy as np

from harness.promises import loss
from harness.promises.one_step import OneStep
from harness.promises.slopes import Nudge
from harness.systems.protocol import Recalibration, ServedBatch
from tests.promise_evidence_pixels import pixel_loss

RNG = np.random.default_rng(5)
LR, DECAY, CLIP = 0.02, 0.01, 8.0
ARCHS = ("000000000", "111111111", "222222222")


def sample():
    """Make 10 x 14 frames and flow, unknown in a block that covers a whole coarse pixel."""
    flow = RNG.normal(0, 5, (10, 14, 2)).astype(np.float32)
    flow[4:7, 4:8] = 1e10
    return RNG.integers(0, 256, (10, 14, 6), np.uint8), flow


DECODED = {"a/0": sample(), "a/1": sample()}


def served():
    frames, raw = (np.stack([d[i][1:9, 1:13] for d in DECODED.values()]) for i in (0, 1))
    valid = (np.abs(raw) <= 1e9).all(axis=-1)
    flow = np.clip(np.where(valid[..., None], raw, np.float32(0)), -CLIP, CLIP)
    return ServedBatch(tuple(DECODED), ((1, 1, 8, 12),) * 2, frames, flow, valid, CLIP, "b")


BATCH = served()
START = {
    name: RNG.normal(0, 0.3, shape).astype(np.float32)
    for name, shape in {
        "trunk/kernel": (1, 1, 6, 2), "option0/kernel": (1, 1, 2, 4),
        "option1/kernel": (1, 1, 2, 4), "option2/kernel": (1, 1, 2, 4), "head/bias": (4,),
    }.items()
}  # fmt: skip


def predict(weights, arch):
    """Return residuals of 2 x 3, 4 x 6 and 8 x 12: the same layers on frames of three sizes."""
    option = weights[f"option{arch[0]}/kernel"][0, 0]
    frames = BATCH.frames.astype(np.float64) / 255
    list_changes = (frames[:, ::k, ::k] @ weights["trunk/kernel"][0, 0] for k in (4, 2, 1))
    return [features @ option + weights["head/bias"] for features in list_changes]


def decay(weights):
    return DECAY * sum(0.5 * float((w.astype(float) ** 2).sum()) for w in kernels(weights))


def kernels(weights):
    return [w for w in weights.values() if w.ndim == 4]


def losses(state, **options):
    """Return each arch's loss by the loop over pixels, decay included."""
    found = (predict(state, arch) for arch in ARCHS)
    return tuple(pixel_loss(o, BATCH.flow, BATCH.valid, **options) + decay(state) for o in found)


def mean_loss(weights, scales=(0, 1, 2)):
    """Return the mean loss over archs by arrays; `scales` are those that are not detached."""
    total, detached = 0.0, {0, 1, 2} - set(scales)
    for arch in ARCHS:
        outputs = predict(weights, arch)
        total += loss.independent_loss(outputs, BATCH.flow, BATCH.valid)
        for scale in detached:  # without what it adds to the scales before it
            whole, less = outputs[: scale + 1], outputs[:scale]
            total -= loss.independent_loss(whole, BATCH.flow, BATCH.valid)
            total += loss.independent_loss(less, BATCH.flow, BATCH.valid) if less else 0.0
    return total / len(ARCHS) + decay(weights)


def slopes(weights, **options):
    """Return the gradient of the mean loss, by central differences."""
    gradient = {}
    for name, values in weights.items():
        gradient[name] = np.empty(values.shape)
        for place in np.ndindex(values.shape):
            ends = []
            for sign in (1, -1):
                moved = {n: w.astype(np.float64) for n, w in weights.items()}
                moved[name][place] += sign * 1e-6
                ends.append(mean_loss(moved, **options))
            gradient[name][place] = (ends[0] - ends[1]) / 2e-6
    return gradient


def adam(weights, moments, gradient, number, lr):
    """Make one step of Kingma and Ba (2015), algorithm 1, with its bias corrections."""
    first = {n: 0.9 * moments[0][n] + 0.1 * g for n, g in gradient.items()}
    second = {n: 0.999 * moments[1][n] + 0.001 * g * g for n, g in gradient.items()}
    rate = lr * math.sqrt(1 - 0.999**number) / (1 - 0.9**number)
    moved = {n: w - rate * first[n] / (np.sqrt(second[n]) + 1e-8) for n, w in weights.items()}
    return tuple({n: a.astype(np.float32) for n, a in d.items()} for d in (moved, first, second))


def length(gradient):
    return math.sqrt(sum(float((g * g).sum()) for g in gradient.values()))


def nudged(weights, gradient):
    size, along = 1e-4, []
    for sign in (1, -1):
        far = sign * size / length(gradient)
        along.append(mean_loss({n: w + far * gradient[n] for n, w in weights.items()}))
    return Nudge(size, *along, mean_loss(weights))


ZERO = {name: np.zeros_like(w) for name, w in START.items()}
FIRST_GRADIENT = slopes(START)
BEFORE, *FIRST = adam(START, (ZERO, ZERO), FIRST_GRADIENT, 1, 2 * LR)


def second_step(gradient, **changes):
    """Return the evidence of a second step along any gradient."""
    after, *second = adam(BEFORE, FIRST, gradient, 2, LR)
    return replace(
        BLANK, after=after, second=tuple(second), norm=length(gradient),
        nudged=(nudged(BEFORE, gradient),), **changes,
    )  # fmt: skip


# ---- moving statistics: a unit that all archs run, and one that the second runs

UNITS = {"000000000": ("trunk",), "111111111": ("trunk", "option1"), "222222222": ("trunk",)}
INPUTS = {
    arch: {unit: (RNG.normal(2, 3, (2, 3, 4, 2)).astype(np.float32),) for unit in units}
    for arch, units in UNITS.items()
}
MOVING = {
    f"{unit}/{kind}": RNG.random(2).astype(np.float32)
    for unit in ("trunk", "option1")
    for kind in ("moving_mean", "moving_variance")
}
RECALIBRATED = [
    Recalibration(
        arch, {u: (x.mean((0, 1, 2)), x.var((0, 1, 2))) for u, (x,) in units.items()}, units, "b"
    )
    for arch, units in INPUTS.items()
]


def moved(archs=ARCHS, momentum=0.9, ddof=1, start=MOVING):
    """Follow the batches of archs, one by one, as TensorFlow's fused kernel does."""
    now = {name: values.astype(np.float64) for name, values in start.items()}
    for arch in archs:
        for unit, (x,) in INPUTS[arch].items():
            batch = {
                "moving_mean": x.mean((0, 1, 2)),
                "moving_variance": x.var((0, 1, 2), ddof=ddof),
            }
            for kind, value in batch.items():
                name = f"{unit}/{kind}"
                now[name] = momentum * now[name] + (1 - momentum) * value
    return {name: values.astype(np.float32) for name, values in now.items()}


BLANK = OneStep(
    start=START, before=BEFORE, after=BEFORE, first=tuple(FIRST), second=tuple(FIRST),
    batch=BATCH, decoded=DECODED, flow_clip=CLIP, losses=losses(BEFORE), archs=ARCHS,
    outputs={a: [o.astype(np.float32) for o in predict(BEFORE, a)] for a in ARCHS}, norm=0.0,
    lr=LR, decay=DECAY, nudged=(Nudge(0.0, 0.0, 0.0, 0.0),), moving=MOVING, moved=moved(),
    recalibrated=RECALIBRATED,
)  # fmt: skip
GRADIENT = slopes(BEFORE)
STEP = second_step(GRADIENT)
