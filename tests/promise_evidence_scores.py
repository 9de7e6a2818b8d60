"""Evidence about scores: three archs and five samples; residuals of three sizes."""

import math
from dataclasses import replace

import numpy as np

from harness.promises import metric, purity, ranking, response, score_means
from harness.promises.known_answers import Oracle
from harness.promises.ledger.tau import tau_of_changed_ranking
from harness.promises.purity import Purity
from harness.promises.ranking import ConstantRanking
from harness.promises.recomputed import Recomputation
from harness.promises.response import Response
from harness.promises.same_scores import Repeat, same_scores
from harness.promises.score_means import Evaluations
from harness.records.run import run_evidence
from harness.systems.protocol import Evaluation
from tests.synthetic_run import make_records

RNG = np.random.default_rng(8)
ARCHS = ("000000000", "111111111", "012012012")
PER_SAMPLE = {arch: tuple((RNG.random(5) + i).round(3).tolist()) for i, arch in enumerate(ARCHS)}
EPE = tuple(math.fsum(PER_SAMPLE[arch]) / 5 for arch in ARCHS)
BASE = Evaluation(ARCHS, EPE, PER_SAMPLE, math.fsum(EPE) / 3, 7.5, "e1", "r1", "s1")


def nudged(base, arch, place=3):
    samples = list(base.per_sample[arch])
    samples[place] = math.nextafter(samples[place], 99)
    return replace(base, per_sample={**base.per_sample, arch: tuple(samples)})


def only(base, archs, samples=5):
    scores = dict(zip(base.archs, base.per_arch_epe, strict=True))
    return replace(
        base, archs=archs, per_arch_epe=tuple(scores[arch] for arch in archs),
        per_sample={arch: base.per_sample[arch][:samples] for arch in archs},
    )  # fmt: skip


REPEAT = Repeat(BASE, BASE, "again")
PREFIX = Repeat(BASE, only(BASE, ARCHS, 3), "with a larger K", prefix=True)
SCORES = {
    "one bit of one sample": (
        replace(REPEAT, again=nudged(BASE, "111111111")),
        r"again, arch 111111111, sample 3: expected 1\.\d+ px, found 1\.\d+ px",
    ),
    "one bit of the reported score": (
        replace(REPEAT, again=replace(BASE, per_arch_epe=(math.nextafter(EPE[0], 99), *EPE[1:]))),
        "again, reported EPE of arch 000000000: expected ",
    ),
    "scores handed to other archs": (
        replace(REPEAT, again=replace(BASE, archs=ARCHS[::-1])),
        "again, reported EPE of arch 000000000: expected ",
    ),
    "other evaluation batches": (
        replace(REPEAT, again=replace(BASE, eval_batch_hash="e2")),
        "again, eval_batch_hash: expected e1, found e2",
    ),
    "other recalibration batches": (
        replace(REPEAT, again=replace(BASE, bn_recal_batch_hash="r2")),
        "again, bn_recal_batch_hash: expected r1, found r2",
    ),
    "fewer samples": (
        replace(REPEAT, again=only(BASE, ARCHS, 4)),
        "again, arch 000000000: expected 5 samples, found 4 samples",
    ),
    "an arch that was not asked": (
        Repeat(only(BASE, ARCHS[:2]), BASE, "subset"),
        "subset, arch 012012012: expected 0 samples, found 5 samples",
    ),
    "fewer batches that stay": (
        replace(PREFIX, whole=only(BASE, ARCHS[:1], 3)),
        "arch 000000000, evaluated as configured after with a larger K: expected 5 samples, found "
        "3: the number is kept",
    ),
    "one bit within the prefix": (
        replace(PREFIX, again=nudged(PREFIX.again, "012012012", 0)),
        "with a larger K, arch 012012012, sample 0: expected",
    ),
}
PURE = Purity({"w": "1", "mean": "2"}, {"w": "1", "mean": "2"}, ("d1", "d2"), ("d1", "d2"))
PURITY = {
    "a statistic moves": (
        replace(PURE, after={"w": "1", "mean": "9"}),
        "state after eval mean: expected 2, found 9",
    ),
    "a variable appears": (
        replace(PURE, after={**PURE.after, "step": "3"}),
        "state after eval step: expected absent, found 3",
    ),
    "the next draws move": (
        replace(PURE, draws_after=("d1", "d3")),
        "next training epoch, batch 1: expected d2, found d3",
    ),
}

# ---- metric: residuals of 2 x 3, 4 x 6 and 8 x 12

ORACLE = Oracle([("perfect", (0.0, 0.0), (0.0, 1e-6)), ("plus (3, 4)", (5.0,), (5.0,))])
WITH_EPSILON = Oracle(
    [("perfect", (0.0,), (1e-3,)), ("plus (3, 4)", (5.0,), (math.hypot(5, 1e-3),))], epsilon=1e-6
)
KNOWN = {
    "half of the answer": (
        Oracle([*ORACLE.cases, ("coarse alone", (5.0, 5.0), (5.0, 2.5))]),
        r"EPE of coarse alone, sample 1: expected 5 px, found 2\.5 px",
    ),
    "NaN": (
        Oracle([("perfect", (0.0,), (math.nan,))]),
        r"EPE of perfect, sample 0: expected 0 px, found nan px",
    ),
    "the last residual alone": (
        replace(ORACLE, cases=[("spread", (0.0,), (3.75,))], alone={"spread": (3.75,)}),
        r"EPE of spread, sample 0: expected 0 px, found 3\.75 px \(what the last residual scores",
    ),
    "an epsilon that drowns the score": (
        Oracle([("perfect", (0.0,), (0.5,))], epsilon=0.25),
        r"an exact prediction, by its own epsilon: expected at most 0\.01 px, found 0\.5 px",
    ),
    "another epsilon than declared": (
        Oracle([("perfect", (0.0,), (0.0,))], epsilon=1e-6),
        r"EPE of perfect, sample 0: expected 0\.001 px, found 0 px",
    ),
    "a sample missing": (
        Oracle([("perfect", (0.0, 0.0), (0.0,))]),
        r"EPE of perfect, sample 1: expected 0 px, found none",
    ),
}
LABEL = RNG.normal(0, 5, (2, 8, 12, 2)).astype(np.float32)
VALID = RNG.random((2, 8, 12)) < 0.8


def outputs():
    sizes = [(2, 3), (4, 6), (8, 12)]
    return tuple(RNG.normal(0, 2, (2, *size, 4)).astype(np.float32) for size in sizes)


def scored(flow, valid=VALID):
    distance = np.linalg.norm(np.asarray(flow, np.float64) - LABEL, axis=-1)
    return tuple(float(d[v].mean()) for d, v in zip(distance, valid, strict=True))


def accumulated(residuals):
    """Resize by repeating and averaging neighbours: exact for factors of 2 on this grid."""
    total = residuals[0].astype(np.float64)
    for residual in residuals[1:]:
        for axis in (1, 2):
            following = np.concatenate(
                [total.take(range(1, total.shape[axis]), axis), total.take([-1], axis)], axis
            )
            pair = np.stack([total, (total + following) / 2], axis=axis + 1)
            total = pair.reshape([2 * s if a == axis else s for a, s in enumerate(total.shape)])
        total = total + residual
    return total[..., :2]


PREDICTED = {arch: outputs() for arch in ARCHS[:2]}


def recomputation(score, mean=lambda samples: sum(samples) / len(samples)):
    found = {arch: score(residuals) for arch, residuals in PREDICTED.items()}
    rows = [(a, ("s0", "s1"), o, LABEL, VALID, found[a]) for a, o in PREDICTED.items()]
    reported = {arch: mean(samples) for arch, samples in found.items()}
    return Recomputation(rows, reported, sum(scored(np.zeros_like(LABEL))) / 2)


HONEST = recomputation(lambda residuals: scored(accumulated(residuals)))
AGAIN = {
    "what was kept from other weights": (
        replace(HONEST, turned=recomputation(lambda r: scored(accumulated(r) * 1.01))),
        r"arch 000000000, sample s0: EPE of the accumulated flow, once a kernel was changed: "
        r"expected \d\.\d+ px, found \d\.\d+ px",
    ),
    "the last residual alone": (
        recomputation(lambda residuals: scored(residuals[-1][..., :2])),
        r"arch 000000000, sample s0: EPE of the accumulated flow: expected \d\.\d+ px, "
        r"found \d\.\d+ px \(the last residual scores that alone\)",
    ),
    "invalid pixels counted": (
        recomputation(lambda r: scored(accumulated(r), np.ones_like(VALID))),
        r"EPE of the accumulated flow: expected .* \(relative \d\.\de-\d\d; that over all pixels, "
        r"unknown ones too\)",
    ),
    "pixels with a label left out": (
        recomputation(lambda r: scored(accumulated(r), VALID & (LABEL[..., 0] < 3))),
        "EPE of the accumulated flow: expected .* px, found .* px",
    ),
    "samples weighed unequally": (
        recomputation(lambda r: scored(accumulated(r)), lambda s: 0.9 * s[0] + 0.1 * s[1]),
        "arch 000000000: mean over 2 samples, each weighing the same: expected",
    ),
    "other samples, and the last residual alone": (
        replace(
            recomputation(lambda r: scored(accumulated(r) + 9)),
            own=[scored(o[-1][..., :2]) for o in PREDICTED.values()],
        ),
        r"; fed with these outputs the metric gives \d\.\d+ px, what the last residual scores "
        "alone; so the evaluation scored other samples or other statistics",
    ),
    "NaN": (
        recomputation(lambda residuals: (math.nan,) * 2),
        "sample s0: EPE of the accumulated flow: expected .*, found nan px",
    ),
}
MOVED = replace(BASE, per_sample={a: tuple(s + 1 for s in v) for a, v in PER_SAMPLE.items()})
RESPONSE = Response(BASE, {"H0Out": MOVED, "H1Out": MOVED, "H2Out": MOVED})
DEAF = replace(MOVED, per_sample=MOVED.per_sample | {ARCHS[1]: PER_SAMPLE[ARCHS[1]]})
TWINS = replace(BASE, per_sample=PER_SAMPLE | {ARCHS[2]: PER_SAMPLE[ARCHS[0]]})
MOVED_TWINS = replace(MOVED, per_sample=MOVED.per_sample | {ARCHS[2]: MOVED.per_sample[ARCHS[0]]})
ALIVE = {
    "a head without effect": (
        replace(RESPONSE, changed=RESPONSE.changed | {"H0Out": BASE}),
        "EPE after changing the kernels of H0Out: expected another EPE, found the same for 3 of 3 "
        "archs: the metric does not see this scale",
    ),
    "a head without effect on one arch": (
        replace(RESPONSE, changed=RESPONSE.changed | {"H1Out": DEAF}),
        "EPE after changing the kernels of H1Out: expected another EPE, found the same for 1 of 3",
    ),
    "noise instead of a response": (
        replace(RESPONSE, again=nudged(BASE, ARCHS[1])),
        "EPE evaluated again, with nothing changed: expected the same EPE, found another",
    ),
    "two archs with one score": (
        replace(RESPONSE, base=TWINS, changed=dict.fromkeys(RESPONSE.changed, MOVED_TWINS)),
        "EPE of archs 000000000, 012012012: expected different, found equal sample by sample",
    ),
}
EQUAL = ConstantRanking((7.5,) * 3, (None, None, None))
CONSTANT = {
    "perfect agreement": (
        replace(EQUAL, taus=(None, 1.0, 1.0)),
        "kendall_tau_prev of epoch 2, all archs equal: expected none, found 1.0",
    ),
    "no agreement": (
        replace(EQUAL, taus=(None, None, 0.0)),
        "kendall_tau_prev of epoch 3, all archs equal: expected none, found 0.0",
    ),
    "NaN": (
        replace(EQUAL, taus=(None, math.nan)),
        "kendall_tau_prev of epoch 2, all archs equal: expected none, found nan",
    ),
    "a score that moves": (
        replace(EQUAL, per_arch_epe=(7.5, 7.5, math.nextafter(7.5, 9))),
        r"EPE of archs that predict zero flow: expected equal, found \(7\.5, 7\.5, 7\.5\d+1\)",
    ),
}
SHAKEN = run_evidence(make_records())


def closer(run):
    """Bring every score of every arch near 3 px, in the order in which they are."""
    evals = [
        replace(e, mean_epe=3.0, per_arch_epe=tuple(3 + 1e-6 * epe for epe in e.per_arch_epe))
        for e in run.evals
    ]
    return replace(run, evals=tuple(evals))


def taus(change):
    """Change every tau of the log that is defined."""
    rows = [
        row if row.kendall_tau_prev is None
        else replace(row, kendall_tau_prev=change(row.kendall_tau_prev))
        for row in SHAKEN.epochs
    ]  # fmt: skip
    return replace(SHAKEN, epochs=tuple(rows))


RANKED = {
    "compared with itself": (
        taus(lambda tau: 1.0),
        r"epoch 2, kendall_tau_prev: expected .* by counting pairs, found 1\.0",
    ),
    "ranked the other way": (
        taus(lambda tau: -tau),
        "kendall_tau_prev: expected .* by counting pairs, found ",
    ),
    "left out": (
        taus(lambda tau: None),
        "epoch 2, kendall_tau_prev: expected .* by counting pairs, found null",
    ),
}
UNMOVED = replace(
    SHAKEN, evals=tuple(replace(e, per_arch_epe=(1.0, 2.0, 3.0, 4.0, 5.0)) for e in SHAKEN.evals)
)
# ---- the means of the pool, and of one arch alone

ALONE = replace(only(BASE, ARCHS[2:]), mean_epe=EPE[2])
MEANS = Evaluations((("the pool", BASE), ("the pool again", BASE), ("one arch alone", ALONE)))


def reported(place=0, **values):
    made = list(MEANS.made)
    made[place] = made[place][0], replace(made[place][1], **values)
    return Evaluations(tuple(made))


WRONG_MEANS = {
    "a meter that is not reset": (
        reported(2, mean_epe=(2 * BASE.mean_epe + ALONE.mean_epe) / 3),
        r"evaluation of one arch alone, mean EPE: expected \d\.\d+ px, the mean over 1 arch, found "
        r"\d\.\d+ px: the mean over all evaluations so far",
    ),
    "the mean of the evaluation before": (
        reported(2, mean_epe=BASE.mean_epe),
        "found .* px: that of the evaluation before",
    ),
    "the best arch's": (
        reported(1, mean_epe=min(EPE)),
        "evaluation of the pool again, mean EPE: .*: the smallest",
    ),
    "a sample left out": (
        reported(per_arch_epe=(math.fsum(PER_SAMPLE[ARCHS[0]][:4]) / 4, *EPE[1:])),
        "evaluation of the pool, arch 000000000: expected .* px, the mean over 5 samples, found",
    ),
    "the sum over samples": (
        reported(per_arch_epe=(5 * EPE[0], *EPE[1:])),
        "px: the sum over samples",
    ),
    "a sample lost": (
        reported(per_sample={**PER_SAMPLE, ARCHS[1]: PER_SAMPLE[ARCHS[1]][:4]}),
        "arch 111111111: expected scores of 5 samples, as of the others, found 4",
    ),
    "an arch without an EPE": (
        reported(per_arch_epe=EPE[:2]),
        "expected one for each of 3 archs, found 2 EPE",
    ),
    "no number": (reported(mean_epe=math.nan), "mean EPE: expected .*, found nan px"),
}
CLEAN = {
    score_means.epe_adds_up: [MEANS, Evaluations((("one arch alone", ALONE),))],
    same_scores: [
        REPEAT, PREFIX, Repeat(BASE, only(BASE, ARCHS[::-1]), "permuted"),
        Repeat(BASE, only(BASE, ARCHS[1:]), "subset"),
    ],
    purity.evaluation_changes_nothing: [PURE],
    metric.metric_gives_known_answers: [ORACLE, WITH_EPSILON],
    metric.metric_is_recomputed: [HONEST, replace(HONEST, own=[(9.0, 9.0)] * 2)],
    metric.unknown_flow_is_unscored: [HONEST],
    response.metric_is_alive: [RESPONSE, replace(RESPONSE, again=BASE)],
    ranking.constant_ranking_has_no_tau: [EQUAL],
    tau_of_changed_ranking: [SHAKEN],
    ranking.tau_of_close_scores: [closer(SHAKEN)],
}  # fmt: skip
EMPTY = {
    score_means.epe_adds_up: Evaluations(()),
    same_scores: Repeat(only(BASE, ()), only(BASE, ()), "again"),
    purity.evaluation_changes_nothing: Purity({}, {}, (), ()),
    metric.metric_gives_known_answers: Oracle([]),
    metric.metric_is_recomputed: Recomputation([], {}, 7.0),
    metric.unknown_flow_is_unscored: Recomputation([], {}, 7.0),
    response.metric_is_alive: Response(BASE, {}),
    ranking.constant_ranking_has_no_tau: ConstantRanking((), ()),
    tau_of_changed_ranking: replace(SHAKEN, evals=(), epochs=()),
    ranking.tau_of_close_scores: replace(SHAKEN, evals=(), epochs=()),
}
CORRUPTED = {
    score_means.epe_adds_up: WRONG_MEANS,
    same_scores: SCORES,
    purity.evaluation_changes_nothing: PURITY,
    metric.metric_gives_known_answers: KNOWN,
    metric.metric_is_recomputed: {
        **AGAIN,
        "the zero flow of one sample": (
            replace(HONEST, zero_flow=scored(np.zeros_like(LABEL))[0]),
            r"EPE of the all-zero flow over 2 samples: expected \d\.\d+ px, found \d\.\d+ px",
        ),
    },
    metric.unknown_flow_is_unscored: AGAIN,
    response.metric_is_alive: ALIVE,
    ranking.constant_ranking_has_no_tau: CONSTANT,
    tau_of_changed_ranking: RANKED,
    ranking.tau_of_close_scores: {
        name: (closer(run), text) for name, (run, text) in RANKED.items()
    },
}
ALL_VALID = replace(HONEST, rows=[(*row[:4], np.ones_like(VALID), row[5]) for row in HONEST.rows])
NOTHING_TO_TELL = {
    metric.unknown_flow_is_unscored: {
        "no hole": (ALL_VALID, "found no pixel without a label was scored: nothing to leave out"),
    },
    ranking.constant_ranking_has_no_tau: {
        "one epoch": (replace(EQUAL, taus=(None,)), "something to compare, found nothing: no "),
        "no epoch": (replace(EQUAL, taus=()), "something to compare, found nothing: no "),
        "one arch": (
            replace(EQUAL, per_arch_epe=(7.5,)),
            "something to compare, found nothing: no ",
        ),
    },
    ranking.tau_of_close_scores: {
        "scores that differ": (SHAKEN, r"scores are .* px apart, which is not close"),
        "one score": (
            replace(SHAKEN, evals=tuple(replace(e, per_arch_epe=(3.0, 3.0)) for e in SHAKEN.evals)),
            "scores are 0 px apart, which is not close, or all the same",
        ),
    },
    tau_of_changed_ranking: {
        "one order in every epoch": (UNMOVED, "no ranking of 4 evaluations differs"),
        "one evaluation": (
            replace(SHAKEN, evals=SHAKEN.evals[:1]),
            "no ranking of 1 evaluation",
        ),
    },
}
