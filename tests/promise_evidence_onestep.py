"""Corruptions of a step: what a trainer gets wrong, and steps that can tell nothing."""

from dataclasses import replace

import numpy as np

from harness.promises import loss, update
from harness.promises.slopes import Nudge
from tests.promise_evidence_steps import (
    ARCHS,
    BATCH,
    BEFORE,
    BLANK,
    DECAY,
    FIRST,
    FIRST_GRADIENT,
    GRADIENT,
    INPUTS,
    LR,
    MOVING,
    RECALIBRATED,
    START,
    STEP,
    ZERO,
    adam,
    decay,
    length,
    losses,
    moved,
    nudged,
    second_step,
    slopes,
)


def reported(**options):
    """Report losses from which something is left out."""
    return replace(STEP, losses=losses(BEFORE, **options))


def with_output(change):
    return replace(STEP, outputs={arch: change(list(o)) for arch, o in STEP.outputs.items()})


OF_ARCH_0 = r"training loss of arch 000000000: expected \d\.\d+ \(weight decay 0\.0\d+ included\)"
LOSS = {
    "the last scale alone": (
        reported(weights=(0, 0, 0.5)),
        OF_ARCH_0 + r", found \d\.\d+ \(relative \d\.\de-01\)",
    ),
    "scales of equal weight": (reported(weights=(1 / 3,) * 3), OF_ARCH_0),
    "fine and coarse exchanged": (reported(weights=(0.5, 0.25, 0.125)), OF_ARCH_0),
    "residuals not summed": (reported(summed=False), OF_ARCH_0),
    "no uncertainty": (reported(uncertain=False), OF_ARCH_0),
    "unknown flow taken for zero": (reported(masked=False), OF_ARCH_0),
    "no weight decay": (
        replace(STEP, losses=tuple(loss - decay(BEFORE) for loss in STEP.losses)),
        OF_ARCH_0,
    ),
    "decay without its half": (
        replace(STEP, losses=tuple(loss + decay(BEFORE) for loss in STEP.losses)),
        OF_ARCH_0,
    ),
    "losses of other archs": (
        replace(STEP, losses=(*STEP.losses[1:], STEP.losses[0])),
        r"training loss of arch 222222222: expected .*, found \d\.\d+ \(relative",
    ),
    "losses of the step before": (replace(STEP, losses=losses(START)), OF_ARCH_0),
    "a loss too few": (
        replace(STEP, losses=STEP.losses[:2]),
        "losses of the step: expected 3, found 2",
    ),
    "a wrong loss of a batch whose every sample is wrong": (
        replace(
            reported(weights=(0, 0, 0.5)),
            batch=replace(BATCH, frames=np.roll(BATCH.frames, 1, axis=2)),
        ),
        OF_ARCH_0,
    ),
    "NaN": (replace(STEP, losses=(np.nan,) * 3), OF_ARCH_0 + r", found nan \(relative nan\)"),
    "labels clipped elsewhere than declared": (
        replace(STEP, flow_clip=6.0),
        r"sample a/0, flow, at \(\d, \d+, \d\): expected -?6\.0, found -?[678]\.\d+ \(\d",
    ),
    "frames of another window": (
        replace(STEP, batch=replace(BATCH, frames=np.roll(BATCH.frames, 1, axis=2))),
        r"sample a/0, img_0 \(BGR\), at \(0, 0, 0\): expected \d+, found \d+ \(",
    ),
    "a hole that is not masked": (
        replace(STEP, batch=replace(BATCH, valid=np.ones_like(BATCH.valid))),
        r"sample a/0, valid, at \(3, 3\): expected False, found True",
    ),
}
AFTER = STEP.after


def along(gradient, *, norm=None, lr=LR):
    """Take the step that Adam makes along another gradient, and report a norm."""
    after, *second = adam(BEFORE, FIRST, gradient, 2, lr)
    norm = length(gradient) if norm is None else norm
    return replace(STEP, after=after, second=tuple(second), norm=norm)


def stepped(factor, only=START):
    """Move weights by a multiple of their step."""
    moved = {n: BEFORE[n] + np.float32(factor) * (AFTER[n] - BEFORE[n]) for n in only}
    return replace(STEP, after={**AFTER, **moved})


HALF = {name: g / 2 for name, g in GRADIENT.items()}
DECOUPLED = {n: w - np.float32(LR * DECAY) * BEFORE[n] for n, w in AFTER.items()}
SQUARES = {n: np.float32(0.9) * FIRST[1][n] + np.float32(0.1) * GRADIENT[n] ** 2 for n in START}
ADAM = {
    "another learning rate": (
        along(GRADIENT, lr=2 * LR),
        r"step of trunk/kernel: expected norm 0\.\d+, found 2 times that, 0\.\d+ away",
    ),
    "no bias correction": (
        stepped(1 / 0.2353),
        r"step of head/bias: expected norm 0\.\d+, found 4\.25 times that",
    ),
    "applied twice": (stepped(2), "step of option1/kernel: expected norm .*, found 2 times that"),
    "one weight left where it was": (
        stepped(0, ["head/bias"]),
        r"step of head/bias: expected norm 0\.\d+, found 0 times that",
    ),
    "uphill": (stepped(-1), "step of trunk/kernel: expected norm .*, found 1 times that"),
    "a gradient halved after it was measured": (
        along(HALF, norm=length(GRADIENT)),
        r"global norm of step 2: expected 0\.\d+, of the gradient that Adam's moments hold, "
        r"found \d\.\d+ reported",
    ),
    "the norm of another step": (
        replace(STEP, norm=length(FIRST_GRADIENT)),
        r"global norm of step 2: expected \d\.\d+, of .*, found \d\.\d+ reported",
    ),
    "decay past the moments": (
        replace(STEP, after=DECOUPLED),
        "step of option2/kernel: expected norm .*, found .* times that",
    ),
    "second moment with beta 0.9": (
        replace(STEP, second=(STEP.second[0], SQUARES)),
        r"second moment of trunk/kernel: expected norm .*, found \d+\.\d+ times that",
    ),
    "NaN": (
        replace(STEP, after=AFTER | {"head/bias": np.full(4, np.nan, np.float32)}),
        "step of head/bias: expected norm .*, found nan times that, nan away",
    ),
}


def losing(change):
    """Log another loss than the one that is minimised."""
    (way,) = STEP.nudged
    logged = (change(loss) for loss in (way.forth, way.back, way.level))
    return replace(STEP, nudged=(Nudge(way.length, *logged),))


SLOPE = {
    "a sum is logged": (
        losing(lambda loss: 3 * loss),
        r"slope of the mean loss along the gradient: expected (1\.36\d+), its norm, "
        r"found 4\.1\d+ by differences over 0\.0001 forth and back",
    ),
    "the gradient of another step": (
        replace(STEP, nudged_step=1),
        r"slope of the mean loss along the gradient: expected \d\.\d+, its norm, found 1\.36",
    ),
    "half of it is logged": (losing(lambda loss: loss / 2), r"found 0\.68\d+ by differences"),
    "a scale is detached": (
        second_step(slopes(BEFORE, scales=(0, 1))),
        r"slope of the mean loss along the gradient: expected 0\.\d+, its norm, found \d\.\d+ by",
    ),
    "a constant is logged": (losing(lambda loss: 1.0), "found 0 by differences over"),
    "uphill": (losing(lambda loss: -loss), r"expected 1\.36\d+, its norm, found -1\.36"),
    "NaN": (losing(lambda loss: np.nan), "found nan by differences over"),
}


def first_gradient(**changes):
    """Give weights another gradient in step 1, by their first moment after it."""
    moments = {n.replace("_", "/"): np.float32(0.1) * g for n, g in changes.items()}
    return replace(STEP, first=({**FIRST[0], **moments}, FIRST[1]))


EVERYWHERE = {
    "an option that only decays": (
        first_gradient(option2_kernel=np.float32(DECAY) * START["option2/kernel"]),
        "gradient of option2/kernel in a fair step: expected more than weight decay, over 3e-05, "
        r"found at most \d\.\de-\d\d beside it",
    ),
    "an option without any gradient": (
        first_gradient(option1_kernel=0 * START["option1/kernel"]),
        r"gradient of option1/kernel in a fair step: expected .*, found at most 0 beside it",
    ),
    "an option with half of its decay": (
        first_gradient(option0_kernel=np.float32(DECAY / 2) * START["option0/kernel"]),
        r"gradient of option0/kernel in a fair step: expected more than weight decay, over",
    ),
    "a bias without any gradient": (
        first_gradient(head_bias=0 * START["head/bias"]),
        "gradient of head/bias in a fair step: expected .*, found at most 0 beside it",
    ),
    "NaN": (
        first_gradient(head_bias=np.full(4, np.nan)),
        "gradient of head/bias in .*, found at most nan beside it",
    ),
}


def following(**options):
    return replace(STEP, moved=moved(**options))


FOLLOWED = {
    "an update missing": (
        following(archs=ARCHS[1:]),
        r"trunk/moving_mean after a step of three archs: expected \d\.\d+ \(first\), "
        r"found \d\.\d+, relative distance",
    ),
    "none made": (replace(STEP, moved=MOVING), "option1/moving_mean after a step"),
    "all made twice": (following(archs=ARCHS * 2), "trunk/moving_variance after a step"),
    "the momentum's complement": (following(momentum=0.1), "option1/moving_variance after a step"),
    "momentum 0.99": (following(momentum=0.99), "trunk/moving_mean after a step"),
    "variance over N": (
        following(ddof=0),
        r"trunk/moving_variance after a step of three archs: expected .*, found .*e-0[23]: the "
        "variance over N, not N - 1$",
    ),
    "archs in another order": (following(archs=ARCHS[::-1]), "trunk/moving_mean after a step"),
    "an update by an arch that does not run it": (
        replace(STEP, recalibrated=[RECALIBRATED[0], RECALIBRATED[2]]),
        "option1/moving_mean: expected an arch of the step that runs it, found none",
    ),
    "NaN": (
        replace(STEP, moved=STEP.moved | {"trunk/moving_mean": np.full(2, np.nan)}),
        "trunk/moving_mean after a step of three archs: expected .*, found nan, relative distance",
    ),
}
SAME = {
    f"{unit}/moving_{kind}": value
    for unit, (x,) in INPUTS["111111111"].items()
    for kind, value in (("mean", x.mean((0, 1, 2))), ("variance", x.var((0, 1, 2), ddof=1)))
}
UNMOVED = replace(BLANK, first=(ZERO, ZERO), second=(ZERO, ZERO))
NO_WEIGHTS = replace(
    STEP, start={}, before={}, after={}, first=({}, {}), second=({}, {}), norm=0.0,
    losses=(), archs=(), outputs={}, moving={}, moved={}, recalibrated=(),
)  # fmt: skip
ALL = (
    loss.loss_is_recomputed, update.update_is_adam, loss.gradient_is_the_losses,
    update.gradient_reaches_every_option, update.moving_statistics_follow,
)  # fmt: skip
NOTHING_TO_TELL = {
    loss.loss_is_recomputed: {
        "one value at a scale": (
            with_output(lambda o: [o[0], 0 * o[1], o[2]]),
            "output 1 of arch 000000000: expected different values, found one value everywhere",
        ),
        "no valid pixel": (
            replace(STEP, batch=replace(BATCH, valid=np.zeros_like(BATCH.valid))),
            "batch of step 2: expected valid pixels, found none",
        ),
        "neither a valid pixel nor decay": (
            replace(STEP, decay=0.0, batch=replace(BATCH, valid=np.zeros_like(BATCH.valid))),
            "batch of step 2: expected valid pixels, found none",
        ),
        "no loss": (replace(STEP, losses=(), archs=()), "nothing: the check saw no data"),
        "losses that are not recorded": (
            replace(STEP, losses=()),
            "not applicable: expected evidence, found the system records no losses",
        ),
        "outputs by other statistics than training's": (
            replace(STEP, outputs=None),
            "not applicable: .*, found the system predicts with the statistics that it holds",
        ),
    },
    update.update_is_adam: {
        "no gradient": (
            UNMOVED,
            "step 2: expected a gradient and a learning rate above 0, found norm 0, learning rate",
        ),
        "learning rate 0": (along(GRADIENT, lr=0.0), "step of trunk/kernel: .*found 0 times that"),
        "learning rate 0 as planned": (
            replace(along(GRADIENT, lr=0.0), lr=0.0),
            "step 2: expected a gradient and .* above 0, found norm 1.37, learning rate 0",
        ),
        "one state for both": (
            replace(STEP, after=BEFORE, second=STEP.first),
            "step 2: expected a gradient and a learning rate above 0, found norm 0",
        ),
    },
    loss.gradient_is_the_losses: {
        "no gradient": (
            replace(UNMOVED, nudged=(Nudge(1e-4, 1.0, 1.0, 1.0),)),
            "weights moved along the gradient: expected a gradient and a way above 0, found norm 0",
        ),
        "other archs after restoring": (
            replace(STEP, nudged=None),
            "not applicable: expected evidence, found a restored run trains other archs",
        ),
        "no way": (
            replace(STEP, nudged=(Nudge(0.0, 1.0, 1.0, 1.0),)),
            r"found norm 1\.37, 0 forth and back",
        ),
    },
    update.gradient_reaches_every_option: {
        "no gradient": (UNMOVED, "gradient of trunk/kernel in a fair step: expected more than"),
        "decay alone": (
            replace(STEP, first=({n: DECAY * w / 10 for n, w in START.items()}, FIRST[1])),
            "gradient of option0/kernel in a fair step: expected more than weight decay, over",
        ),
    },
    update.moving_statistics_follow: {
        "no arch": (
            replace(STEP, recalibrated=(), moved=MOVING),
            "trunk/moving_mean: expected an arch of the step that runs it, found none",
        ),
        "no recalibration": (
            replace(STEP, recalibrated=None),
            "not applicable: expected evidence, found the system recalibrates nothing",
        ),
        "batches of the moving statistics": (
            replace(STEP, recalibrated=[RECALIBRATED[1]], moving=SAME, moved=SAME),
            "moving statistics: expected batches with others, found the same in each",
        ),
    },
}  # fmt: skip
CLEAN = {check: [STEP] for check in ALL}
CLEAN[update.update_is_adam].append(replace(STEP, norm=None))
FIRST_NUDGED = replace(STEP, nudged=(nudged(START, FIRST_GRADIENT),), nudged_step=1)
CLEAN[loss.gradient_is_the_losses].append(FIRST_NUDGED)


def kinked(bend):
    """Let the loss bend where the weights stand: one side alone has the gradient's slope."""
    (way,) = STEP.nudged
    return replace(STEP, nudged=(replace(way, forth=way.forth + bend * way.length),))


CLEAN[loss.gradient_is_the_losses] += [kinked(0.2), kinked(-0.2)]
EMPTY = dict.fromkeys(ALL, NO_WEIGHTS)
CORRUPTED = dict(zip(ALL, (LOSS, ADAM, SLOPE, EVERYWHERE, FOLLOWED), strict=True))
