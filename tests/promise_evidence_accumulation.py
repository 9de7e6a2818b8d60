"""Evidence about micro-batches and clips: gradients of sample A, of B, and of both."""

import math
from dataclasses import replace

import numpy as np

from harness.promises import micro_batches
from harness.promises.copies import SmallerLast
from harness.promises.micro_batches import Accumulation, StepRun
from harness.systems.protocol import Check

RNG = np.random.default_rng(6)
ARCHS = ("000000000", "111111111", "222222222")
SHAPES = {"trunk/kernel": (3, 3, 2, 4), "head/kernel": (1, 1, 4, 2), "head/bias": (2,)}


def drawn():
    return {name: RNG.normal(0, 1, shape) for name, shape in SHAPES.items()}


def mixed(*terms):
    return {name: sum(weight * g[name] for weight, g in terms) for name in SHAPES}


def norm(gradient):
    return math.sqrt(sum(float((g * g).sum()) for g in gradient.values()))


def clipped(gradient, threshold):
    """Scale a gradient down to the threshold's norm, as a whole."""
    return mixed((min(1.0, threshold / norm(gradient)), gradient))


def each_clipped(gradient, threshold):
    """Clip every variable alone, as ``clip_by_norm`` would."""
    return {n: clipped({**dict.fromkeys(SHAPES, np.zeros(1)), n: g}, threshold)[n]
            for n, g in gradient.items()}  # fmt: skip


def checks(gradients, threshold):
    return tuple(Check(1, 1, norm(g), min(norm(g), threshold)) for g in gradients)


COMMON = drawn()
BY_ARCH = [mixed((1.0, COMMON), (0.3, drawn())) for _ in ARCHS]
A, B = mixed(*((1 / 3, g) for g in BY_ARCH)), drawn()
ROUNDED = mixed((1.0, A), (1e-3, drawn()))
THRESHOLD = norm(A) / 3


def run(gradient, micro=3, made=()):
    return StepRun(ARCHS, gradient, (1.0,) * (3 * micro), made)


AT_UPDATE = run(clipped(A, THRESHOLD), 1, checks([A], THRESHOLD))
AT_MICRO = run(
    mixed(*((1 / 3, clipped(g, THRESHOLD)) for g in BY_ARCH)), 1, checks(BY_ARCH, THRESHOLD)
)
AT_UPDATE, AT_MICRO = (replace(step, later=0.9 * THRESHOLD) for step in (AT_UPDATE, AT_MICRO))
ACCUMULATED = Accumulation(
    whole=run(A, 1), pieces=run(ROUNDED), other=run(B), mixed=run(mixed((0.8, ROUNDED), (0.2, B))),
    threshold=THRESHOLD, clipped_update=AT_UPDATE, clipped_micro=AT_MICRO,
)  # fmt: skip


def of_copies(weight):
    return replace(ACCUMULATED, pieces=run(mixed((weight, A))))


def of_both(weight, other):
    return replace(ACCUMULATED, mixed=run(mixed((weight, ROUNDED), (other, B))))


COPIES, BOTH = r"gradient of A, A \| A, A \| A: ", r"gradient of A, A \| A, A \| B: "
WEIGHED = {
    "a mean of means": (
        of_both(2 / 3, 1 / 3),
        BOTH + r"expected norm \d+\.\d+, found \d\.\d+ times that, relative distance 0\.\d+",
    ),
    "a sum of means": (
        of_copies(3),
        COPIES + r"expected norm \d\.\d+, found 3 times that, relative distance 2: the sum over "
        "micro-batches, not the mean, or three times that, as the sum over archs$",
    ),
    "divided by the micro-batch size": (of_copies(1.25), COPIES + "expected .*, found 1.25 times"),
    "the last one lost": (of_copies(0.8), COPIES + r"expected .*, found 0\.8 times that"),
    "the last one lost, of both": (of_both(0.8, 0), BOTH + r"expected norm .*, found \d\.\d+ time"),
    "the last one alone": (of_both(0, 1), BOTH + r"expected norm .*, found \d\.\d+ times"),
    "the first one twice": (of_copies(1.4), COPIES + "expected .*, found 1.4 times that"),
    "the odd one as whole": (of_both(0.8, 0.4), BOTH + r"expected norm .*, found \d\.\d+ times"),
    "other archs": (
        replace(ACCUMULATED, other=replace(run(B), archs=ARCHS[::-1])),
        "archs of the first step: expected the same in each run, found .*'222222222', '111111111'",
    ),
    "micro-batches as configured nowhere": (
        replace(ACCUMULATED, mixed=run(ACCUMULATED.mixed.gradient, 5)),
        r"micro-batches of A, A \| A, A \| B: expected 3 times the 3 of .*, found 15",
    ),
    "NaN": (of_copies(math.nan), COPIES + "expected .*, found nan times that, relative distance"),
}


def at_update(gradient, **changes):
    return replace(ACCUMULATED, clipped_update=replace(AT_UPDATE, gradient=gradient, **changes))


def at_micro(gradient, **changes):
    return replace(ACCUMULATED, clipped_micro=replace(AT_MICRO, gradient=gradient, **changes))


UPDATED = (
    r"gradient clipped per update: expected norm \d\.\d+, same direction, found norm \d+\.\d+, "
    r"relative distance"
)
STEPPED = (
    r"gradient clipped per micro-step: expected norm at most \d\.\d+, the mean of what the checks "
    r"leave, found norm \d+\.\d+"
)
TOO_LONG = (Check(1, 1, norm(A), norm(A)),)
CLIPPED = {
    "reported and not applied": (at_update(A), UPDATED + " 2"),
    "reported and not applied per micro-step": (at_micro(A), STEPPED),
    "each variable alone": (at_update(each_clipped(A, THRESHOLD)), UPDATED),
    "each variable alone per micro-step": (
        at_micro(mixed(*((1 / 3, each_clipped(g, THRESHOLD)) for g in BY_ARCH))),
        STEPPED,
    ),
    "each value alone": (
        at_update({name: np.clip(g, -0.2, 0.2) for name, g in A.items()}),
        UPDATED,
    ),
    "half the threshold": (at_update(clipped(A, THRESHOLD / 2)), UPDATED + r" 0\.5"),
    "summed over archs": (
        at_micro(mixed(*((1.0, clipped(g, THRESHOLD)) for g in BY_ARCH))),
        STEPPED,
    ),
    "nothing applied": (at_micro(mixed((0.0, A))), "per micro-step: expected .*, found norm 0"),
    "reported above the threshold": (
        at_update(AT_UPDATE.gradient, checks=TOO_LONG),
        r"norm after a check per update: expected at most \d\.\d+, found \d\.\d+",
    ),
    "reported above the threshold per micro-step": (
        at_micro(AT_MICRO.gradient, checks=TOO_LONG * 3),
        r"norm after a check per micro-step: expected at most \d\.\d+, found \d\.\d+",
    ),
    "per micro-step where per update is configured": (
        replace(ACCUMULATED, clipped_update=AT_MICRO),
        "checks of a step clipped per update: expected 1, found 3",
    ),
    "per update where per micro-step is configured": (
        replace(ACCUMULATED, clipped_micro=AT_UPDATE),
        "checks of a step clipped per micro-step: expected 3, found 1",
    ),
    "NaN": (at_micro(mixed((math.nan, A))), "per micro-step: expected norm at .*, found norm nan"),
}
NONE = StepRun((), {}, (), ())
STILL = replace(run(mixed((0.0, A))), checks=checks([A], THRESHOLD))
NOTHING = Accumulation(NONE, NONE, NONE, NONE, 1.0, NONE, NONE)
LAWS = micro_batches.micro_batches_weigh_by_samples
CLIP = micro_batches.clip_is_applied
ONE_SAMPLE = replace(ACCUMULATED, other=None, mixed=None, absent="one sample alone")
ONE_SIZE = replace(ONE_SAMPLE, pieces=None, absent="micro-batches of one size")
NO_CLIP = replace(ACCUMULATED, clipped_update=None, clipped_micro=None)
UNRECORDED = [replace(r, losses=(), checks=()) for r in (AT_UPDATE, AT_MICRO)]
UNCHECKED = replace(ACCUMULATED, clipped_update=UNRECORDED[0], clipped_micro=UNRECORDED[1])
NOISY = replace(of_copies(1.25), repeated=run(mixed((1.1, A)), 1))
CLEAN = {LAWS: [ACCUMULATED], CLIP: [ACCUMULATED, ONE_SAMPLE, ONE_SIZE]}
EMPTY = {LAWS: NOTHING, CLIP: NOTHING}
CORRUPTED = {LAWS: WEIGHED, CLIP: CLIPPED}
WEIGHED["the last one lost, of one sample"] = (
    replace(of_copies(0.8), other=None, mixed=None),
    COPIES + r"expected .*, found 0\.8 times that",
)
WEIGHED["a step that repeats itself"] = (
    replace(of_copies(0.8), repeated=ACCUMULATED.whole),
    COPIES + r"expected .*, found 0\.8 times that",
)
CLIPPED["not applied, and no check recorded"] = (
    replace(UNCHECKED, clipped_update=replace(UNRECORDED[0], gradient=A)),
    UPDATED + " 2",
)
CLIPPED["not from the second epoch on"] = (
    replace(ACCUMULATED, clipped_update=replace(AT_UPDATE, later=2 * THRESHOLD)),
    r"gradient of a step of epoch 2: expected norm at most \d+\.\d+, as in epoch 1, found norm "
    r"\d+\.\d+: what clips ends with the first epoch",
)
EACH_THRICE = tuple(check for check in AT_MICRO.checks for _ in range(3))
IN_PIECES = {
    "update": run(AT_UPDATE.gradient, 3, AT_UPDATE.checks),
    "micro_step": run(AT_MICRO.gradient, 3, EACH_THRICE),
}


def in_pieces(position, gradient, **changes):
    found = replace(IN_PIECES[position], gradient=gradient, **changes)
    return replace(ACCUMULATED, clipped_pieces={**IN_PIECES, position: found})


CUT_IN_PIECES = (
    r"gradient of A, A \| A, A \| A clipped per {}: expected norm \d\.\d+, as of A, A, A, A, A, "
    r"found norm \d\.\d+, relative distance \d"
)
PART = mixed((0.8, AT_UPDATE.gradient), (0.2, A))
CLIPPED["before the last micro-batch is added"] = (
    in_pieces("update", PART), CUT_IN_PIECES.format("update"),
)  # fmt: skip
CLIPPED["not where a micro-batch is not full"] = (
    in_pieces("micro_step", mixed((0.8, AT_MICRO.gradient), (0.2, A))),
    CUT_IN_PIECES.format("micro-step"),
)
# Whose share weighs before the clip: its pieces have norms of their own, and are shorter.
OF_SHARES = tuple(replace(check, before=0.4 * check.before) for check in EACH_THRICE)
CLEAN[CLIP] += [
    replace(ACCUMULATED, clipped_pieces=IN_PIECES),
    in_pieces("micro_step", A, checks=OF_SHARES),
    in_pieces("micro_step", A, checks=()),
]
PASS = SmallerLast(7, (5, 2), last=A, full=A)
CLEAN[LAWS] += [
    replace(ACCUMULATED, smaller=PASS),
    replace(ACCUMULATED, smaller=SmallerLast(7, ())),
]


def of_a_pass(weight, **changes):
    return replace(ACCUMULATED, smaller=replace(PASS, last=mixed((weight, A)), **changes))


LAST = (
    r"gradient of a last batch, A, A behind A, A, A, A, A: expected norm \d\.\d+, as where a batch"
)
WEIGHED["a smaller last batch, divided by a full one's micro-batches"] = (
    of_a_pass(1 / 3), LAST + ".*, found 0.3333 times .*: divided by the 3 micro-batches of a full",
)  # fmt: skip
WEIGHED["a smaller last batch, divided by a full one's samples"] = (
    replace(of_a_pass(0.4), pieces=None, other=None, mixed=None, drawn=A),
    LAST + ".*, found 0.4 times that, .*: divided by the 5 samples of a full batch$",
)
WEIGHED["a rest of a pass in no step"] = (
    of_a_pass(1, trained=(6,)),
    r"samples in the steps of a pass over 7: expected 7, found 6 \(6\): the rest is in no step",
)
NOTHING_TO_TELL = {
    LAWS: {
        "a net that draws in each micro-batch": (
            replace(of_copies(1.25), drawn=mixed((1.1, A))),
            r"the net draws while it trains \(dropout, noise\), in each micro-batch anew",
        ),
        "a last batch of a net that draws": (
            replace(of_a_pass(0.4), pieces=None, drawn=mixed((1.1, A))),
            "the net draws while it",
        ),
        "one sample": (ONE_SAMPLE, "expected evidence, found one sample alone"),
        "one size": (ONE_SIZE, "expected evidence, found micro-batches of one size"),
        "a step that is never the same": (NOISY, "micro-batches cannot be told from noise"),
        "A and B are one sample": (
            replace(ACCUMULATED, other=run(ROUNDED), mixed=run(ROUNDED)),
            "found the gradients of samples A and B are 0 apart: no difference to weigh",
        ),
        "no gradient": (
            replace(ACCUMULATED, whole=STILL, pieces=STILL, other=STILL, mixed=STILL),
            "found the gradients of samples A and B are 0 apart: no difference to weigh",
        ),
        "no gradient of the whole": (
            replace(ACCUMULATED, whole=STILL),
            r"gradient of A, A \| A, A \| A: expected norm 0, found .* times that",
        ),
        "one micro-batch after all": (
            replace(ACCUMULATED, pieces=ACCUMULATED.whole),
            r"micro-batches of A, A \| A, A \| A: expected 3 times the 3 of .*, found 3",
        ),
        "no micro-batch": (
            replace(ACCUMULATED, whole=replace(run(A, 0)), pieces=run(A, 0)),
            r"micro-batches of A, A \| A, A \| A: expected 3 times the 0 of .*, found 0",
        ),
    },
    CLIP: {
        "one norm alone": (NO_CLIP, "the system clips at one norm alone, or not at all"),
        "a threshold above the norm": (
            replace(ACCUMULATED, threshold=2 * norm(A), clipped_update=run(A, 1)),
            r"the gradient's norm is \d+\.\d+, which a threshold of \d+\.\d+ does not clip",
        ),
        "no gradient": (
            replace(ACCUMULATED, whole=STILL, clipped_update=STILL, clipped_micro=STILL),
            r"the gradient's norm is 0, which a threshold of \d\.\d+ does not clip",
        ),
        "no check at all": (UNCHECKED, "found no clip check was recorded"),
        "no check per update": (
            at_update(AT_UPDATE.gradient, checks=()),
            "checks of a step clipped per update: expected 1, found 0",
        ),
        "no check per micro-step": (
            at_micro(AT_MICRO.gradient, checks=()),
            "checks of a step clipped per micro-step: expected 3, found 0",
        ),
    },
}
