"""Evidence about responses: to another artifact, to other kernels, to another configuration."""

import math
from dataclasses import replace

from harness.promises import cache, knobs
from harness.promises import response as response_promises
from harness.promises.cache import Frozen
from harness.promises.knobs import SweptKnob
from harness.promises.response import ArchResponse
from tests.promise_evidence_scores import ARCHS, BASE, PER_SAMPLE, nudged, only

# ---- frozen artifacts

SHIFTED = replace(
    BASE, eval_batch_hash="e2",
    per_sample={arch: (scores[0] + 1, *scores[1:]) for arch, scores in PER_SAMPLE.items()},
)  # fmt: skip
FROZEN = Frozen(BASE, BASE, SHIFTED)
PARTLY = replace(SHIFTED, per_sample=SHIFTED.per_sample | {ARCHS[2]: PER_SAMPLE[ARCHS[2]]})
STALE = {
    "one bit of a score": (
        replace(FROZEN, frozen=nudged(BASE, ARCHS[2], 0)),
        r"from the frozen artifact, arch 012012012, sample 0: expected 2\.\d+ px, found 2\.\d+ px",
    ),
    "other recalibration batches": (
        replace(FROZEN, frozen=replace(BASE, bn_recal_batch_hash="r2")),
        "from the frozen artifact, bn_recal_batch_hash: expected r1, found r2",
    ),
    "part of the samples": (
        replace(FROZEN, frozen=only(BASE, ARCHS, 4)),
        "from the frozen artifact, arch 000000000: expected 5 samples, found 4 samples",
    ),
    "part of the pool": (
        replace(FROZEN, frozen=only(BASE, ARCHS[:2])),
        r"archs scored from the frozen artifact: expected \(.*'012012012'\), found \(.*111'\)",
    ),
    "an artifact in a cache": (
        replace(FROZEN, altered=BASE),
        "scores of arch 000000000 from another artifact at the same path: expected others, "
        "found the same: a stale artifact was scored",
    ),
    "a hash in a cache": (
        replace(FROZEN, altered=replace(SHIFTED, eval_batch_hash="e1")),
        "batch hash of another artifact at the same path: expected another hash, found e1",
    ),
    "a cache for one arch": (
        replace(FROZEN, altered=PARTLY),
        "scores of arch 012012012 from another artifact at the same path: expected others",
    ),
}

# ---- kernels of options, two blocks of three; a kernel that two options of a block share

OPTIONS = [
    [("b0/shared", "b0/0"), ("b0/shared", "b0/1"), ("b0/2",)],
    [("b1/0",), ("b1/1",), ("b1/2",)],
]
PAIRS = ("01", "12", "20")
SCORED = replace(
    only(BASE, ARCHS), archs=PAIRS, per_sample={a: (1.0 + i, 2.0) for i, a in enumerate(PAIRS)}
)


def response(block, option, *, deaf=(), leaky=()):
    """Change what one option runs; `deaf` archs do not respond, `leaky` ones respond to all."""
    kernels = OPTIONS[block][option][:1]
    moved = {
        arch: (scores[0] + 0.5, scores[1])
        if (set(kernels) & set(OPTIONS[block][int(arch[block])]) and arch not in deaf)
        or arch in leaky
        else scores
        for arch, scores in SCORED.per_sample.items()
    }
    return kernels, replace(SCORED, per_sample=moved)


PLACES = [(block, option) for block in (0, 1) for option in range(3)]
RESPONSES = ArchResponse(SCORED, {place: response(*place) for place in PLACES}, OPTIONS)


def responding(place, found):
    return replace(RESPONSES, changed={**RESPONSES.changed, place: found})


NOT_SCORED = replace(SCORED, per_sample={"01": (1.0, 2.0)})
NAN_SCORED = replace(SCORED, per_sample=dict.fromkeys(PAIRS, (math.nan, math.nan)))
EXECUTED = {
    "an option that is not executed": (
        responding((1, 2), response(1, 2, deaf=("12",))),
        "EPE of arch 12 after changing option 2 of block 1: expected another, found the same: the "
        "option is not executed",
    ),
    "an option that an arch does not name": (
        responding((0, 2), response(0, 2, leaky=("01",))),
        "EPE of arch 01 after changing option 2 of block 0: expected the same, it does not run it, "
        "found another",
    ),
    "codes from right to left": (
        replace(RESPONSES, base=replace(SCORED, archs=("10", "21", "02"), per_sample={
            arch[::-1]: scores for arch, scores in SCORED.per_sample.items()
        }), changed={p: (k, replace(found, per_sample={
            arch[::-1]: scores for arch, scores in found.per_sample.items()
        })) for p, (k, found) in RESPONSES.changed.items()}),
        r"EPE of arch \d\d after changing option \d of block \d: expected another, found the same",
    ),
    "a shared kernel that one option does not run": (
        responding((0, 0), response(0, 0, deaf=("12",))),
        "EPE of arch 12 after changing option 0 of block 0: expected another, found the same",
    ),
    "an arch that is no longer scored": (
        responding((1, 0), (OPTIONS[1][0], NOT_SCORED)),
        r"EPE of arch 12 after changing option 0 of block 1: expected a number for each sample, "
        r"found \(\)",
    ),
    "NaN": (
        responding((1, 1), (OPTIONS[1][1], NAN_SCORED)),
        r"arch 01 after changing option 1 of block 1: expected a number .*, found \(nan, nan\)",
    ),
}  # fmt: skip

# ---- knobs

TRAINING, EVALUATION, PLAN = "training", "evaluation", "plan"
BOTH = (TRAINING, EVALUATION)


def knob(key, kind, *changed, old=1, new=2, error=""):
    return SweptKnob(key, kind, old, new, frozenset(changed), error)


KNOBS = [
    knob("train.lr", "dynamics", *BOTH, old=1e-3, new=2e-3),
    knob("train.num_epochs", "dynamics", PLAN),
    knob("train.batch_size", "dynamics", TRAINING, EVALUATION, PLAN),
    knob("eval.eval_pool_size", "protocol", EVALUATION),
    knob("eval.early_stop_patience", "protocol", PLAN),
    knob("runtime.experiment_name", "observation", old="one", new="another"),
]


def swept(*row, **options):
    """Sweep one more knob."""
    return [*KNOBS, knob(*row, **options)]


SWEPT = {
    "a dead knob of training": (
        swept("train.weight_decay", "dynamics", old=1e-4, new=2e-4),
        "train.weight_decay: 0.0001 -> 0.0002: expected another training, found the same: a dead",
    ),
    "a knob of training that moves the evaluation alone": (
        swept("train.lr_min", "dynamics", EVALUATION),
        "train.lr_min: 1 -> 2: expected another training, found the same: a dead knob",
    ),
    "a dead knob of the protocol": (
        swept("eval.bn_recal_batches", "protocol"),
        "eval.bn_recal_batches: 1 -> 2: expected another evaluation, found the same: a dead knob",
    ),
    "a knob of the protocol that changes training": (
        swept("eval.eval_batches_per_arch", "protocol", *BOTH),
        "eval.eval_batches_per_arch: 1 -> 2: expected no other training, found another, though "
        "its kind is protocol",
    ),
    "an observation that changes training": (
        swept("runtime.log_every", "observation", *BOTH),
        "runtime.log_every: 1 -> 2: expected no other evaluation or training, found another, "
        "though its kind is observation",
    ),
    "an observation that changes the plan": (
        swept("runtime.progress", "observation", PLAN),
        "runtime.progress: 1 -> 2: expected no other plan, found another, though its kind is obs",
    ),
    "an observation that changes the evaluation": (
        swept("runtime.profile", "observation", EVALUATION),
        "runtime.profile: 1 -> 2: expected no other evaluation, found another",
    ),
    "a value that does not run": (
        swept("eval.crop", "protocol", error="ValueError: crop"),
        "eval.crop: 1 -> 2: expected a run, found ValueError: crop",
    ),
}
CLEAN = {
    cache.frozen_scores_are_the_files: [FROZEN],
    response_promises.archs_are_executed: [RESPONSES],
    knobs.knobs_are_alive: [KNOBS],
}
NO_SCORES = only(BASE, ())
EMPTY = {
    cache.frozen_scores_are_the_files: Frozen(NO_SCORES, NO_SCORES, NO_SCORES),
    response_promises.archs_are_executed: ArchResponse(SCORED, {}, OPTIONS),
    knobs.knobs_are_alive: [],
}
CORRUPTED = {
    cache.frozen_scores_are_the_files: STALE,
    response_promises.archs_are_executed: EXECUTED,
    knobs.knobs_are_alive: SWEPT,
}
NOTHING_TO_TELL = {
    cache.frozen_scores_are_the_files: {
        "no arch": (
            Frozen(NO_SCORES, NO_SCORES, replace(NO_SCORES, eval_batch_hash="e2")),
            "nothing: the check saw no data",
        ),
        "an altered artifact that was not scored": (
            replace(FROZEN, altered=replace(NO_SCORES, eval_batch_hash="e2")),
            "scores of arch 000000000 from another artifact at the same path: expected others",
        ),
        "one evaluation for all": (
            Frozen(BASE, BASE, BASE),
            "batch hash of another artifact at the same path: expected another hash, found e1",
        ),
    },
    response_promises.archs_are_executed: {
        "no arch": (replace(RESPONSES, base=replace(SCORED, archs=())), "the check saw no data"),
        "nothing changed": (
            replace(RESPONSES, changed={p: (k, SCORED) for p, (k, _) in RESPONSES.changed.items()}),
            "EPE of arch 01 after changing option 0 of block 0: expected another, found the same",
        ),
        "scores that move by themselves": (
            replace(RESPONSES, again=nudged(SCORED, "12", 1)),
            "what an option changes cannot be told from noise",
        ),
        "no kernel changed": (
            responding((1, 1), ((), SCORED)),
            "option 1 of block 1: expected changed, and run by an arch, found no kernel changed",
        ),
        "an option left out": (
            replace(RESPONSES, changed={p: response(*p) for p in PLACES[:-1]}),
            "option 2 of block 1: expected changed, and run by an arch, found no kernel changed",
        ),
        "an option that no arch runs": (
            replace(RESPONSES, base=replace(SCORED, archs=PAIRS[:2])),
            r"option 2 of block 0: expected changed, and run by an arch, found archs run \['0', '1",
        ),
    },
    knobs.knobs_are_alive: {
        "nothing changes anything": (
            KNOBS[-1:],
            "the sweep: expected a knob that changes something, found none of 1",
        ),
        "one value twice": (
            swept("runtime.log_every", "observation", new=1),
            "runtime.log_every: 1 -> 1: expected another value, found the same one",
        ),
    },
}
