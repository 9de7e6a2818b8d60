"""Evidence of what a short gate does not ask by itself: edges, threads, evaluations in between."""

from dataclasses import replace

import numpy as np

from harness.promises import edge_steps, evaluations_due, every_step, loader_threads
from harness.promises.edge_steps import EdgeSteps
from harness.promises.evaluations_due import SparseEvaluations
from harness.promises.loader_threads import LoadedBatches
from harness.promises.walk import Walk
from tests.promise_evidence_later import WALK
from tests.promise_evidence_steps import BEFORE, STEP, decay, losses

RNG = np.random.default_rng(33)
DECAY = 4e-5
WEIGHTS = {
    "E0/kernel": RNG.normal(0, 0.3, (3, 3, 2, 4)).astype(np.float32),
    "E0/gamma": RNG.normal(1, 0.3, 4).astype(np.float32),
}
DECAYS = {"E0/kernel": DECAY, "E0/gamma": 0.0}


def gradients(**shares):
    """Return each weight's gradient as a share of it."""
    given = DECAYS | {name.replace("_", "/"): share for name, share in shares.items()}
    return {name: given[name] * weight.astype(np.float64) for name, weight in WEIGHTS.items()}


NORM = 1.5e6
FAR = replace(STEP, norm=NORM)
EDGES = EdgeSteps((gradients(),) * 2, WEIGHTS, DECAYS, far=FAR, far_norm=NORM)

FAR_WEIGHTS = {name: weight.copy() for name, weight in WEIGHTS.items()}
for name, far in (("E0/kernel", 5e6), ("E0/gamma", 30.0)):
    FAR_WEIGHTS[name].flat[1] = far


def far_weighted(most=np.inf):
    """Return edge steps of which the second is of far weights; values of its gradient at most."""
    second = {n: DECAYS[n] * np.asarray(w, np.float64) for n, w in FAR_WEIGHTS.items()}
    second = {n: np.clip(g, -most, most) for n, g in second.items()}
    return replace(EDGES, gradients=(gradients(), second), far_weights=FAR_WEIGHTS)


def both(**shares):
    """Return the edge steps with another share of a weight in both gradients."""
    return replace(EDGES, gradients=(gradients(**shares),) * 2)


def frozen(step):
    """Return a step in which a kernel's gradient is a multiple of the kernel alone."""
    beta, name = 0.9, "E0/kernel"
    gradient = {**step.gradient, name: DECAY * step.before[name]}
    first = {n: beta * step.old[0][n] + (1 - beta) * g for n, g in gradient.items()}
    return replace(step, new=(first, step.new[1]))


FROZEN = replace(WALK, steps=tuple(frozen(s) if s.epoch == 2 else s for s in WALK.steps))


def followed(*numbers):
    """Return a walk of which steps of these numbers move statistics."""
    names = frozenset(("E0/moving_mean", "E0/moving_variance"))
    steps = (replace(s, followed=names if s.number in numbers else frozenset()) for s in WALK.steps)
    return replace(WALK, steps=tuple(steps))


PARTIAL = followed(1, 2, 4, 5)
ONCE = replace(WALK, steps=tuple(frozen(s) if s.number == 5 else s for s in WALK.steps))
THREADS = LoadedBatches(("a", "b", "c"), {0: ("a", "b", "c"), 3: ("a", "b", "c")})
SCORED = SparseEvaluations(2, ((1, False), (2, True), (3, False)))
RESUMED = SparseEvaluations(2, ((2, True), (3, False)), resumed=True)

CLEAN = {
    edge_steps.decay_alone_is_left: [EDGES, far_weighted()],
    edge_steps.far_outputs_are_trained_on: [EDGES, replace(EDGES, far=replace(STEP, norm=None))],
    every_step.gradients_go_on: [WALK, ONCE, followed(*range(1, 7)), replace(PARTIAL, modes=True)],
    loader_threads.threads_are_unseen: [THREADS],
    evaluations_due.evaluations_are_due: [SCORED, RESUMED],
}
EMPTY = {
    edge_steps.decay_alone_is_left: EdgeSteps((), {}, {}),
    edge_steps.far_outputs_are_trained_on: EdgeSteps((), {}, {}),
    every_step.gradients_go_on: Walk((), ()),
    loader_threads.threads_are_unseen: LoadedBatches((), {}),
    evaluations_due.evaluations_are_due: SparseEvaluations(2, ()),
}
CORRUPTED = {
    edge_steps.decay_alone_is_left: {
        "cut off by value": (
            far_weighted(most=100.0),
            r"gradient of E0/kernel with heads of zero, epoch 2: expected 4e-05 of the weight, "
            r"found 2e-05 of it: half of that, 100 away",
        ),
        "beside a far weight": (
            replace(
                far_weighted(),
                gradients=(
                    gradients(),
                    {
                        n: g + 1e-6 * (FAR_WEIGHTS[n] < 30)
                        for n, g in far_weighted().gradients[1].items()
                    },
                ),
            ),
            r"gradient of E0/kernel with heads of zero, epoch 2: expected 4e-05 of the weight, ",
        ),
        "twice": (
            both(E0_kernel=2 * DECAY),
            r"gradient of E0/kernel with heads of zero, epoch 1: expected 4e-05 of the weight, "
            r"found 8e-05 of it: twice that",
        ),
        "of a norm": (
            both(E0_gamma=DECAY),
            r"gradient of E0/gamma with heads of zero, epoch 1: expected 0 of the weight, found "
            r"4e-05 of it: that of kernels",
        ),
        "none from the second epoch on": (
            replace(EDGES, gradients=(gradients(), gradients(E0_kernel=0.0))),
            r"gradient of E0/kernel with heads of zero, epoch 2: expected 4e-05 of the weight, "
            r"found 0 of it: none",
        ),
        "none": (
            both(E0_kernel=0.0),
            r"expected 4e-05 of the weight, found 0 of it: none",
        ),
        "another gradient": (
            replace(EDGES, gradients=({n: g + 1e-6 for n, g in gradients().items()},) * 2),
            r"gradient of E0/kernel with heads of zero, epoch 1: expected 4e-05 of the weight",
        ),
    },
    edge_steps.far_outputs_are_trained_on: {
        "another loss": (
            replace(EDGES, far=replace(STEP, losses=losses(BEFORE, weights=(0, 0, 0.5)))),
            r"training loss of arch 000000000: expected .* \(weight decay",
        ),
        "without its decay": (
            replace(EDGES, far=replace(STEP, losses=tuple(x - decay(BEFORE) for x in STEP.losses))),
            r"training loss of arch 000000000",
        ),
        "passed over": (
            replace(EDGES, far_norm=0.0),
            r"gradient of outputs far off: expected above 0, found 0",
        ),
        "other than checked": (
            replace(EDGES, far_norm=NORM / 2),
            r"gradient of outputs far off: expected norm 1\.5e\+06, as checked, found 750000 in",
        ),
    },
    every_step.gradients_go_on: {
        "decay alone in epoch 2": (
            FROZEN,
            r"gradient of E0/kernel in 3 steps of epoch 2: expected one of the loss, as in epoch "
            r"1, found none but decay",
        ),
        "no statistics of a partial batch": (
            PARTIAL,
            r"moving statistics in step 3 of epoch 1 \(\d samples?\): expected 2 statistics "
            r"followed, as in step 1 of epoch 1, found all as they were",
        ),
    },
    loader_threads.threads_are_unseen: {
        "reversed without threads": (
            replace(THREADS, others={0: ("c", "b", "a"), 3: ("a", "b", "c")}),
            r"training batches under 0 loader threads: expected those of the configured number, "
            r"found others: the same in reverse",
        ),
    },
    evaluations_due.evaluations_are_due: {
        "an epoch early": (
            replace(SCORED, scored=((1, True), (2, False), (3, True))),
            r"epoch 1, evaluated every 2 epochs: expected none, found scores",
        ),
        "counted from a resume": (
            replace(RESUMED, scored=((2, False), (3, True))),
            r"epoch 2, evaluated every 2 epochs, after a resume: expected scores, found none",
        ),
        "never": (
            replace(SCORED, scored=((1, False), (2, False), (3, False))),
            r"epoch 2, evaluated every 2 epochs: expected scores, found none",
        ),
    },
}
NOTHING_TO_TELL = {}
