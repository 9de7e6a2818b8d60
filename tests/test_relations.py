import dataclasses
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.evidence.bundles import (
    CheckpointPair,
    EpochRows,
    FiniteEvidence,
    Moves,
    Oracle,
    PlantedNan,
    Purity,
    RecalHashes,
    RecalPair,
    Recomputation,
    Repeat,
    Response,
    Resume,
    Served,
    TrainingDraws,
    TwoWays,
)
from harness.evidence.observations import (
    Check,
    Evaluation,
    Recalibration,
    ServedBatch,
    Training,
)
from harness.evidence.records import EpochRecord, StepRecord
from harness.relations import RELATIONS, data, evaluation, metric, recalibration, resume, training

RNG = np.random.default_rng(8)
IDS = ("a/0", "a/1", "b/2", "b/3", "c/4")


# ---- data: 7 x 10 frames with an unknown pixel, crop 4 x 6, batches of 2, 2 and 1


def decode():
    flow = RNG.normal(0, 6, (7, 10, 2)).astype(np.float32)
    flow[2, 3] = 2e9
    return RNG.integers(0, 256, (7, 10, 6), np.uint8), flow


DECODED = {sample: decode() for sample in IDS}


def serve(ids, corners, digest):
    windows = tuple((top, left, 4, 6) for top, left in corners)
    cut = [
        tuple(array[t : t + h, w : w + v] for array in DECODED[sample])
        for sample, (t, w, h, v) in zip(ids, windows, strict=True)
    ]
    frames, raw = (np.stack(arrays) for arrays in zip(*cut, strict=True))
    valid = (np.abs(raw) <= 1e9).all(axis=-1)
    flow = np.clip(np.where(valid[..., None], raw, np.float32(0)), -8, 8)
    return ServedBatch(ids, windows, frames, flow, valid, 8.0, digest)


def serve_all(order, corners, name):
    sizes = [slice(0, 2), slice(2, 4), slice(4, 5)]
    ids = tuple(IDS[i] for i in order)
    return tuple(serve(ids[s], corners[s], f"{name}{i}") for i, s in enumerate(sizes))


def first(batches, **changes):
    return (replace(batches[0], **changes), *batches[1:])


EVALUATED = serve_all(range(5), [(1, 2)] * 5, "eval")
SERVED = Served((4, 6), 2, 8.0, 3, IDS, EVALUATED, EVALUATED, DECODED)
BEGUN = serve_all((3, 0, 4, 1, 2), [(0, 0), (3, 4), (1, 2), (0, 1), (2, 2)], "one")
LATER = serve_all((1, 2, 0, 3, 4), [(1, 0), (3, 4), (0, 2), (2, 1), (2, 2)], "two")
OTHER = serve_all((0, 2, 1, 4, 3), [(2, 0), (3, 1), (0, 0), (2, 4), (1, 2)], "three")
DRAWS = TrainingDraws(True, True, 8.0, IDS, (2, 2, 1), BEGUN, BEGUN, LATER, OTHER, DECODED)


def changed_pixel(array):
    out = np.array(array)
    out[0, 1, 2] = ~out[0, 1, 2] if out.dtype != np.float32 else out[0, 1, 2] + 1
    return out


def swapped_frames(batch):
    return np.concatenate([batch.frames[..., 3:], batch.frames[..., :3]], axis=-1)


CENTRE = {
    "another window": (
        replace(SERVED, batches=serve_all(range(5), [(1, 2)] * 4 + [(2, 1)], "eval")),
        r"eval sample c/4, window \(top, left, height, width\): expected \(1, 2, 4, 6\), "
        r"found \(2, 1, 4, 6\)",
    ),
    "a flow cropped elsewhere": (
        replace(SERVED, batches=first(EVALUATED, flow=serve(IDS[:2], [(2, 1)] * 2, "").flow)),
        r"sample a/0, flow, at \(0, 0, 0\): expected .* differ\)",
    ),
    "frames swapped": (
        replace(SERVED, batches=first(EVALUATED, frames=swapped_frames(EVALUATED[0]))),
        r"sample a/0, img_0 \(BGR\), at",
    ),
    "RGB": (
        replace(SERVED, batches=first(EVALUATED, frames=EVALUATED[0].frames[..., ::-1])),
        r"sample a/0, img_0 \(BGR\), at",
    ),
    "u and v swapped": (
        replace(SERVED, batches=first(EVALUATED, flow=EVALUATED[0].flow[..., ::-1])),
        r"sample a/0, flow, at",
    ),
    "a pixel of frame 2": (
        replace(SERVED, batches=first(EVALUATED, frames=changed_pixel(EVALUATED[0].frames))),
        r"sample a/0, img_1 \(BGR\), at \(1, 2, 0\)",
    ),
    "validity": (
        replace(SERVED, batches=first(EVALUATED, valid=changed_pixel(EVALUATED[0].valid))),
        r"sample a/0, valid, at \(1, 2\)",
    ),
    "labels not clipped as declared": (
        replace(SERVED, flow_clip=None),
        r"sample a/0, flow, at",
    ),
    "another size": (
        replace(SERVED, batches=first(EVALUATED, flow=EVALUATED[0].flow[:, :, :5])),
        r"sample a/0, flow: expected shape \(4, 6, 2\), found shape \(4, 5, 2\)",
    ),
}
SHIFTED = serve_all((1, 2, 3, 4, 0), [(1, 2)] * 5, "other")
ORDER = {
    "another start": (
        replace(SERVED, batches=SHIFTED, again=SHIFTED),
        "eval position 0: expected a/0, found a/1",
    ),
    "moves on when asked again": (
        replace(SERVED, again=SHIFTED),
        "eval batch 0 served again: expected eval0, found other0",
    ),
    "a batch repeated": (
        replace(SERVED, batches=(EVALUATED[0],) * 2, again=(EVALUATED[0],) * 2),
        "eval batch digests: expected all distinct, found a batch is repeated",
    ),
    "more than the split": (
        replace(SERVED, split=IDS[:3]),
        "eval samples: expected at most 3, found 5",
    ),
    "a partial batch before the last": (
        replace(SERVED, batches=(EVALUATED[0], replace(EVALUATED[1], ids=("b/2",)))[::-1]),
        r"eval batch sizes: expected 2 but for the last, found \[1\]",
    ),
}
DRAWN = {
    "a sample missing": (
        replace(DRAWS, first=serve_all((3, 0, 4, 1, 1), [(0, 0), (3, 4)] * 2 + [(1, 1)], "one")),
        r"full pass: expected each of 5 samples once, found 5 draws of 4 samples, missing \['b/2'",
    ),
    "a batch missing": (
        replace(DRAWS, first=BEGUN[:2], first_again=BEGUN[:2]),
        r"training batch sizes: expected \[2, 2, 1\], found \[2, 2\]",
    ),
    "ids of another split": (
        replace(DRAWS, split=IDS[:4], full_pass=False),
        "training ids: expected ids of the split",
    ),
    "other draws when served again": (
        replace(DRAWS, first_again=LATER),
        "epoch 1 served again: expected the same draws, found others",
    ),
    "epoch 2 repeats epoch 1": (
        replace(DRAWS, second=BEGUN),
        "draws of epoch 2: expected others than epoch 1, found the same",
    ),
    "the seed without effect": (
        replace(DRAWS, other_seed=BEGUN),
        "draws of another seed: expected others than epoch 1, found the same",
    ),
    "only crops differ in epoch 2": (
        replace(DRAWS, second=serve_all((3, 0, 4, 1, 2), [(1, 1)] * 5, "two"), full_pass=False),
        "order of epoch 2: expected another than epoch 1, found the same",
    ),
    "crops not random": (
        replace(DRAWS, first=serve_all((3, 0, 4, 1, 2), [(1, 1)] * 5, "one")),
        "random crops: expected several windows, found one",
    ),
    "a flow of another window": (
        replace(DRAWS, first=first(BEGUN, flow=serve(("b/3", "a/0"), [(1, 1)] * 2, "").flow)),
        "sample b/3, flow, at",
    ),
}

# ---- evaluation: three archs, five samples

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

# ---- training: two epochs of batches 5 and 4 in micro-batches of 2

CYCLES = [
    ("012012012", "120120120", "201201201"),
    ("000000000", "111111111", "222222222"),
    ("021021021", "102102102", "210210210"),
    ("222222222", "000000000", "111111111"),
]
THRESHOLD = 50.0


def log_row(epoch, norms, expected):
    clipped = sum(norm > THRESHOLD for norm in norms)
    p50, p90, p99 = (float(np.quantile(norms, q)) for q in (0.5, 0.9, 0.99))
    values = dict.fromkeys(EpochRecord.__dataclass_fields__, 1.0) | {
        "epoch": epoch, "fairness_gap": 0, "clip_checks": len(norms), "reasons": {},
        "expected_clip_checks": expected, "clip_count": clipped,
        "clip_rate": clipped / len(norms), "grad_norm_p50": p50, "grad_norm_p90": p90,
        "grad_norm_p99": p99, "train_grad_norm_epoch_avg": math.fsum(norms) / len(norms),
    }  # fmt: skip
    return EpochRecord(**values)


def trained(position, per_step):
    steps, checks, rows = [], [], []
    for epoch in (1, 2):
        norms = []
        for step, count in enumerate(per_step, start=1):
            drawn = (RNG.random(count) * 2 * THRESHOLD).tolist()
            norms += drawn
            checks += [Check(epoch, step, norm, min(norm, THRESHOLD)) for norm in drawn]
            cycle = CYCLES[2 * epoch + step - 3]
            batch = f"batch {epoch}.{step}"
            steps.append(StepRecord(epoch, step, cycle, batch, 1e-3, 2.0, count, 1, max(drawn)))
        rows.append(log_row(epoch, norms, sum(per_step)))
    return Training(
        (5, 4), 5, 2, position, THRESHOLD, tuple(steps), tuple(rows), tuple(checks), (2.0,)
    )


MICRO, UPDATE = trained("micro_step", (9, 6)), trained("update", (1, 1))
NO_TRAINING = replace(MICRO, planned_sizes=(), steps=(), epochs=(), checks=(), losses=())


def logged(evidence, **changes):
    return replace(evidence, epochs=(evidence.epochs[0], replace(evidence.epochs[1], **changes)))


def checked(evidence, **changes):
    return replace(evidence, checks=(replace(evidence.checks[0], **changes), *evidence.checks[1:]))


def cycled(evidence, *cycle):
    return replace(evidence, steps=(*evidence.steps[:3], replace(evidence.steps[3], archs=cycle)))


PLANNED = {
    "a partial batch forgotten": (
        logged(MICRO, expected_clip_checks=12),
        r"epoch 2, expected_clip_checks: expected 15, found 12, which implies "
        r"ceil\(batch / micro-batch\) = 2\.00 for batch 5, micro-batch 2",
    ),
    "a check too many in the log": (
        logged(MICRO, clip_checks=16),
        "epoch 2, clip_checks: expected 15, found 16",
    ),
    "a check that was not made": (
        replace(MICRO, checks=MICRO.checks[1:]),
        "epoch 1, checks observed: expected 15, found 14",
    ),
    "clipping per micro-step where the update is planned": (
        replace(MICRO, position="update"),
        "epoch 1, clip_checks: expected 2, found 15",
    ),
    "clipping per update where micro-steps are planned": (
        replace(UPDATE, position="micro_step"),
        "epoch 1, checks observed: expected 15, found 2",
    ),
    "a step missing": (
        replace(MICRO, steps=MICRO.steps[:3]),
        "epoch 2, steps: expected 2, found 1",
    ),
}
ARITHMETIC = {
    "scaled although below": (
        checked(MICRO, before=10.0, after=9.9),
        r"epoch 1, step 1, norm after clipping: expected min\(10, 50\), found 9\.9",
    ),
    "not scaled although above": (
        checked(UPDATE, before=60.0, after=60.0),
        r"norm after clipping: expected min\(60, 50\), found 60",
    ),
    "NaN after clipping": (
        checked(MICRO, after=math.nan),
        "norm after clipping: expected min.*, found nan",
    ),
    **{
        f"{name} of other norms": (
            logged(evidence, **{name: getattr(evidence.epochs[1], name) + 1}),
            f"epoch 2, {name}: expected ",
        )
        for evidence, name in [
            (MICRO, "clip_count"), (MICRO, "clip_rate"), (MICRO, "grad_norm_p50"),
            (UPDATE, "grad_norm_p90"), (MICRO, "grad_norm_p99"),
            (MICRO, "train_grad_norm_epoch_avg"),
        ]
    },
}  # fmt: skip
FAIR = {
    "an option twice": (
        cycled(MICRO, "000000000", "111111111", "122222222"),
        r"epoch 2, step 2, block 0: expected options 0, 1, 2 once each, found \('0', '1', '1'\)",
    ),
    "two archs instead of three": (
        cycled(MICRO, "000000000", "111111111"),
        "epoch 2, step 2, block 5: expected options 0, 1, 2 once each",
    ),
    "a gap reported": (
        logged(MICRO, fairness_gap=1),
        "epoch 2, fairness_gap: expected 0, found 1 reported, 0 counted",
    ),
    "a gap not reported": (
        cycled(MICRO, "222222222", "000000000", "011111111"),
        "epoch 1, fairness_gap: expected 0, found 0 reported, [1-9] counted",
    ),
    "one cycle for ever": (
        replace(MICRO, steps=tuple(replace(s, archs=CYCLES[0]) for s in MICRO.steps)),
        "fair cycles: expected different from step to step, found all the same",
    ),
}
STATE = {"w": "1", "adam/m/w": "2"}
WAYS = TwoWays("with evaluation", "without", (STATE, dict(STATE)), (MICRO, MICRO))
TWO_WAYS = {
    "a weight differs": (
        replace(WAYS, states=(STATE, STATE | {"w": "3"})),
        "with evaluation against without: w: expected 1, found 3",
    ),
    "other draws": (
        replace(WAYS, trainings=(MICRO, replace(MICRO, steps=MICRO.steps[1:]))),
        "training batches: expected the same draws, found others",
    ),
}
NUMBERS = FiniteEvidence(
    {"weights": {"w": np.ones((2, 3)), "count": np.arange(3)}, "scores": {"epe": np.zeros(4)}}
)


def spoilt(value):
    array = np.ones((2, 3))
    array[1, 2] = value
    return FiniteEvidence({**NUMBERS.groups, "gradients": {"g": array}})


FINITE = {
    str(value): (
        spoilt(value),
        rf"gradients g, at \(1, 2\): expected a finite number, found {value}",
    )
    for value in (math.nan, math.inf, -math.inf)
}
STOPPED = PlantedNan("Down1/kernel", "NonFiniteError", "epoch 1, step 1: Down1/kernel[0] = nan")
NAN = {
    "training went on": (
        replace(STOPPED, error=None, message=""),
        "training with NaN in Down1/kernel: expected a stop, found it went on",
    ),
    "not named": (
        replace(STOPPED, message="loss is nan"),
        "the error's message: expected the name Down1/kernel, found loss is nan",
    ),
}

# ---- recalibration: two units, batches of 3 and 2 samples

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


BLENDED = tuple(np.float32(0.9) * s + np.float32(0.1) for s in STATS["E0"])
EXACT = {
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
    "nothing was disturbed": (
        replace(PAIR, disturbed=0),
        "moving statistics: expected disturbed before, found none was",
    ),
    "no effect": (
        replace(PAIR, moving={f"{unit}/moving_mean": mean for unit, (mean, _) in STATS.items()}),
        "expected different from the moving ones, found 0 of 2 changed: recalibration had no",
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

# ---- metric: residuals of 2 x 3, 4 x 6 and 8 x 12

ORACLE = Oracle([("perfect", (0.0, 0.0), (0.0, 1e-6)), ("plus (3, 4)", (5.0,), (5.0,))])
KNOWN = {
    "half of the answer": (
        Oracle([*ORACLE.cases, ("coarse alone", (5.0, 5.0), (5.0, 2.5))]),
        r"EPE of coarse alone, sample 1: expected 5\.0 px, found 2\.5 px",
    ),
    "NaN": (
        Oracle([("perfect", (0.0,), (math.nan,))]),
        r"EPE of perfect, sample 0: expected 0\.0 px, found nan px",
    ),
    "a sample missing": (
        Oracle([("perfect", (0.0, 0.0), (0.0,))]),
        r"EPE of perfect, sample 1: expected 0\.0 px, found None px",
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
    return Recomputation(rows, {arch: mean(samples) for arch, samples in found.items()}, 7.0)


HONEST = recomputation(lambda residuals: scored(accumulated(residuals)))
AGAIN = {
    "the last residual alone": (
        recomputation(lambda residuals: scored(residuals[-1][..., :2])),
        r"arch 000000000, sample s0: EPE of the accumulated flow: expected \d\.\d+ px, "
        r"found \d\.\d+ px \(the last residual scores that alone\)",
    ),
    "invalid pixels counted": (
        recomputation(lambda r: scored(accumulated(r), np.ones_like(VALID))),
        r"EPE of the accumulated flow: expected .* \(relative \d\.\de-\d\d\)",
    ),
    "samples weighed unequally": (
        recomputation(lambda r: scored(accumulated(r)), lambda s: 0.9 * s[0] + 0.1 * s[1]),
        "arch 000000000: mean over 2 samples, each weighing the same: expected",
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
    "two archs with one score": (
        replace(RESPONSE, base=TWINS),
        "EPE of archs 000000000, 012012012: expected different, found equal sample by sample",
    ),
}

# ---- resume

STEPS = ((2, 1, CYCLES[2], "batch 2.1", 1e-3), (2, 2, CYCLES[3], "batch 2.2", 5e-4))
ROWS = ({"epoch": 2, "mean_epe_12": 3.5, "eval_seconds": 1.0, "checkpoint_digest": "c"},)
AGAIN_ROWS = ({**ROWS[0], "eval_seconds": 2.0, "checkpoint_digest": None},)
RESUMED = Resume("after epoch 1", STATE, dict(STATE), STEPS, STEPS, ROWS, AGAIN_ROWS)
CUT = {
    "a slot differs": (
        replace(RESUMED, resumed=STATE | {"adam/m/w": "9"}),
        "after epoch 1: adam/m/w: expected 2, found 9",
    ),
    "epoch 1's batches once more": (
        replace(RESUMED, resumed_steps=((2, 1, CYCLES[2], "batch 1.1", 1e-3), STEPS[1])),
        "after epoch 1: step record: expected .*batch 2.1.*, found .*batch 1.1",
    ),
    "a step lost": (
        replace(RESUMED, resumed_steps=STEPS[:1]),
        "after epoch 1: steps after the cut: expected 2, found 1",
    ),
    "another score in the log": (
        replace(RESUMED, resumed_rows=({**ROWS[0], "mean_epe_12": 3.6},)),
        "after epoch 1: epoch 2, column mean_epe_12: expected 3.5, found 3.6",
    ),
}
RESTORED = CheckpointPair(STATE, {"w": "7", "adam/m/w": "8"}, dict(STATE))
COMPLETE = {
    "a slot keeps its poison": (
        replace(RESTORED, restored=STATE | {"adam/m/w": "8"}),
        "after restoring: adam/m/w: expected 2, found 8",
    ),
    "an array gone": (
        replace(RESTORED, restored={"w": "1"}),
        "after restoring: adam/m/w: expected 2, found absent",
    ),
}

MOVED = Moves({"w": "1", "adam/m/w": "2", "progress/step": "3"}, {"w": "4", "adam/m/w": "5"})
LOGGED = replace(
    MICRO.epochs[-1], mean_epe_12=2.0, std_epe_12=1.0, per_arch_epe_min=1.0,
    per_arch_epe_median=2.0, per_arch_epe_max=3.0, zero_flow_epe=4.0, lr=0.5,
    train_loss_epoch_avg=3.5, global_step=2,
)  # fmt: skip
STEPPED = tuple(
    replace(MICRO.steps[0], epoch=LOGGED.epoch, step=i + 1, lr=lr) for i, lr in enumerate((1, 0.5))
)
SCORED = replace(BASE, per_arch_epe=(1.0, 3.0), zero_flow_epe=4.0)
ROWS = EpochRows(replace(MICRO, steps=STEPPED, epochs=(LOGGED,), losses=(3.0, 4.0)), SCORED, 1.0, 2)


def logged(**changes):
    return replace(ROWS, training=replace(ROWS.training, epochs=(replace(LOGGED, **changes),)))


FIRST_BATCHES = {
    "validation frames": (
        replace(SERVED, split=("t/0", "t/1", "t/2", "t/3", "t/4")),
        "recalibration sample 0: expected t/0, found a/0",
    ),
    "fewer batches than asked": (
        replace(SERVED, batches=EVALUATED[:2]),
        "recalibration sample 4: expected c/4, found none",
    ),
    "another window": (CENTRE["another window"][0], "eval sample c/4, window"),
}
STILL = {
    "a weight": (replace(MOVED, after={"w": "1", "adam/m/w": "5"}), "w after training: expected"),
}
FABRICATED = {
    "the mean": (logged(mean_epe_12=1.9), "mean_epe_12: expected 2.0, found 1.9"),
    "the loss": (logged(train_loss_epoch_avg=3.4), "train_loss_epoch_avg: expected 3.5"),
    "the learning rate": (replace(ROWS, base_lr=2.0), "learning rate of epoch 2, step 1"),
}

CLEAN = {
    data.recal_batches_are_the_first: [SERVED],
    training.training_moves_everything: [MOVED],
    training.epoch_rows_add_up: [ROWS],
    data.eval_crop_is_centred: [SERVED],
    data.eval_order_is_fixed: [SERVED, replace(SERVED, split=(*IDS, "d/5"))],
    data.training_draws_are_declared: [DRAWS],
    evaluation.same_scores: [
        REPEAT, PREFIX, Repeat(BASE, only(BASE, ARCHS[::-1]), "permuted"),
        Repeat(BASE, only(BASE, ARCHS[1:]), "subset"),
    ],
    evaluation.evaluation_changes_nothing: [PURE],
    training.same_training: [WAYS],
    training.clip_checks_are_planned: [MICRO, UPDATE],
    training.clip_arithmetic_holds: [MICRO, UPDATE],
    training.archs_are_fair: [MICRO],
    training.everything_is_finite: [NUMBERS],
    training.planted_nan_stops: [STOPPED],
    recalibration.recal_statistics_are_exact: [PAIR],
    recalibration.recal_ignores_the_past: [PAIR],
    recalibration.recal_batches_are_fixed: [
        HASHES, replace(HASHES, fixed=False, hashes={"epoch 1": "r1", "epoch 2": "r2"}),
    ],
    metric.metric_gives_known_answers: [ORACLE],
    metric.metric_is_recomputed: [HONEST],
    metric.metric_is_alive: [RESPONSE],
    resume.resume_is_exact: [RESUMED],
    resume.checkpoint_restores_everything: [RESTORED],
}  # fmt: skip
CORRUPTED = {
    data.recal_batches_are_the_first: FIRST_BATCHES,
    training.training_moves_everything: STILL,
    training.epoch_rows_add_up: FABRICATED,
    data.eval_crop_is_centred: CENTRE,
    data.eval_order_is_fixed: ORDER,
    data.training_draws_are_declared: DRAWN,
    evaluation.same_scores: SCORES,
    evaluation.evaluation_changes_nothing: PURITY,
    training.same_training: TWO_WAYS,
    training.clip_checks_are_planned: PLANNED,
    training.clip_arithmetic_holds: ARITHMETIC,
    training.archs_are_fair: FAIR,
    training.everything_is_finite: FINITE,
    training.planted_nan_stops: NAN,
    recalibration.recal_statistics_are_exact: EXACT,
    recalibration.recal_ignores_the_past: PAST,
    recalibration.recal_batches_are_fixed: FIXED,
    metric.metric_gives_known_answers: KNOWN,
    metric.metric_is_recomputed: AGAIN,
    metric.metric_is_alive: ALIVE,
    resume.resume_is_exact: CUT,
    resume.checkpoint_restores_everything: COMPLETE,
}
NOTHING = Recalibration("012012012", {}, {}, "")
EMPTY = {
    data.recal_batches_are_the_first: replace(SERVED, batches=(), again=(), split=()),
    training.training_moves_everything: Moves({}, {}),
    training.epoch_rows_add_up: replace(ROWS, training=NO_TRAINING),
    data.eval_crop_is_centred: replace(SERVED, batches=(), again=()),
    data.eval_order_is_fixed: replace(SERVED, batches=(), again=()),
    data.training_draws_are_declared: TrainingDraws(False, False, None, (), (), (), (), (), (), {}),
    evaluation.same_scores: Repeat(only(BASE, ()), only(BASE, ()), "again"),
    evaluation.evaluation_changes_nothing: Purity({}, {}, (), ()),
    training.same_training: TwoWays("one", "other", ({}, {}), (NO_TRAINING, NO_TRAINING)),
    training.clip_checks_are_planned: NO_TRAINING,
    training.clip_arithmetic_holds: NO_TRAINING,
    training.archs_are_fair: NO_TRAINING,
    training.everything_is_finite: FiniteEvidence({"weights": {}}),
    training.planted_nan_stops: PlantedNan("w", None, ""),
    recalibration.recal_statistics_are_exact: RecalPair(NOTHING, NOTHING, 0, {}, (), ()),
    recalibration.recal_ignores_the_past: RecalPair(NOTHING, NOTHING, 4, {}, (), ()),
    recalibration.recal_batches_are_fixed: RecalHashes(True, {}, "r9"),
    metric.metric_gives_known_answers: Oracle([]),
    metric.metric_is_recomputed: Recomputation([], {}, 7.0),
    metric.metric_is_alive: Response(BASE, {}),
    resume.resume_is_exact: Resume("cut", {}, {}, (), (), (), ()),
    resume.checkpoint_restores_everything: CheckpointPair({}, {}, {}),
}
OF_A_SYSTEM = [name for name, relation in RELATIONS.items() if not relation.offline]
CASES = [
    pytest.param(check, evidence, message, id=f"{check.__name__}-{name}")
    for check, cases in CORRUPTED.items()
    for name, (evidence, message) in cases.items()
]


@pytest.mark.parametrize("relation", OF_A_SYSTEM)
def test_a_relation_holds_on_sound_evidence(relation):
    for evidence in CLEAN[RELATIONS[relation].check]:
        found = RELATIONS[relation].check(evidence)
        assert [str(violation) for violation in found.violations] == []
        assert found.figures


@pytest.mark.parametrize(("check", "evidence", "message"), CASES)
def test_a_corruption_is_reported_with_place_and_both_values(check, evidence, message):
    lines = [str(violation) for violation in check(evidence).violations]
    assert any(re.search(message, line) for line in lines), lines
    assert all(re.fullmatch(r"(?s).+: expected .+, found .+", line) for line in lines)


@pytest.mark.parametrize("relation", OF_A_SYSTEM)
def test_evidence_of_nothing_does_not_pass(relation):
    check = RELATIONS[relation].check
    assert check(EMPTY[check]).violations


@pytest.mark.parametrize("relation", OF_A_SYSTEM)
def test_every_relation_has_a_corruption_that_it_reports(relation):
    assert CORRUPTED[RELATIONS[relation].check]


def test_a_relation_has_a_name_a_promise_and_a_hint():
    for name, relation in RELATIONS.items():
        assert relation.id == name
        assert relation.promise
        assert relation.hint.endswith(".")
        assert relation.calls


def test_clipping_every_step_is_a_warning_and_not_a_violation():
    low = replace(UPDATE, threshold=0.001, epochs=())
    clipped = [replace(check, after=0.001) for check in low.checks]
    found = training.clip_arithmetic_holds(replace(low, checks=tuple(clipped)))
    assert found.warnings == ("every one of 4 checks clipped: the step length is the threshold's",)
    assert not found.violations


def test_a_metric_above_the_zero_flow_is_a_warning_and_not_a_violation():
    found = metric.metric_is_alive(replace(RESPONSE, base=replace(BASE, zero_flow_epe=0.5)))
    assert not found.violations
    assert "not below the 0.500 px that an all-zero flow scores" in found.warnings[0]
    assert metric.metric_is_alive(RESPONSE).warnings == ()


def test_many_differences_are_cut_short_with_their_count():
    many = {f"w{i}": "1" for i in range(9)}
    pair = CheckpointPair(many, dict.fromkeys(many, "3"), dict.fromkeys(many, "2"))
    violations = resume.checkpoint_restores_everything(pair).violations
    assert len(violations) == 6
    assert violations[-1].found == "4 more"


def test_relations_load_neither_tensorflow_nor_scipy_nor_opencv():
    code = (
        "import sys, harness.relations\n"
        "print(sorted({'tensorflow', 'scipy', 'cv2'} & {m.split('.')[0] for m in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_evidence_is_frozen():
    for bundle in (SERVED, DRAWS, BASE, MICRO, PAIR, ORACLE, RESUMED):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field"):
            bundle.first = None
