"""A number or an array that is wrong is named by what it is instead, and never by a guess."""

import math
import statistics
from dataclasses import replace

import cv2
import numpy as np
import pytest

from harness.promises import metric, micro_batches, served
from harness.promises.candidates import instead, order_instead, scores_instead
from harness.promises.known_answers import Oracle
from harness.promises.score_candidates import mean_of_samples_instead
from harness.promises.step_candidates import (
    by_step,
    clip_column_instead,
    mean_instead,
    norm_instead,
    schedule_instead,
    step_means_instead,
)
from tests import promise_evidence_accumulation, promise_evidence_onestep
from tests.promise_evidence_data import (
    DECODED,
    EVALUATED,
    IDS,
    SERVED,
    serve_all,
    swapped_frames,
)
from tests.promise_evidence_scores import (
    HONEST,
    LABEL,
    VALID,
    accumulated,
    recomputation,
    scored,
)

# Two epochs of three steps; three archs in micro-batches 2 + 1, 2 + 1 and 1.
RNG = np.random.default_rng(12)
COUNTS = (6, 6, 3)
EPOCHS = [[RNG.random(count).tolist() for count in COUNTS] for _ in range(2)]
BEFORE, NOW = EPOCHS
FLAT = [value for step in NOW for value in step]


def mean(values):
    return math.fsum(values) / len(values)


MEANS = {
    "that of the epoch before": mean([v for step in BEFORE for v in step]),
    "the mean over this epoch and the one before": mean(
        [v for e in EPOCHS for step in e for v in step]
    ),
    "the sum, not the mean": math.fsum(FLAT),
    "the mean over steps, each weighing the same": mean([mean(step) for step in NOW]),
    # So EdgeFlowNAS logs its loss.
    "the mean over each step's last micro-batch alone": mean([step[-1] for step in NOW]),
    "the mean over each step's first micro-batch alone": mean([step[0] for step in NOW]),
    "the mean over each step's last arch alone": mean(NOW[0][4:] + NOW[1][4:] + NOW[2][2:]),
    "the mean over each step's first arch alone": mean(NOW[0][:2] + NOW[1][:2] + NOW[2][:1]),
    "the mean of each step's sum": mean([math.fsum(step) for step in NOW]),
    "the last step's alone": mean(NOW[-1]),
    "the last micro-batch's alone": NOW[-1][-1],
    "the first step's alone": mean(NOW[0]),
    "the first micro-batch's alone": NOW[0][0],
    "the mean over all but the last micro-batch": mean(FLAT[:-1]),
    "the median": statistics.median(FLAT),
    "the mean over each step's largest": mean([max(step) for step in NOW]),
    "the largest": max(FLAT),
    "the smallest": min(FLAT),
}


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_of_something_else_is_named(name):
    assert mean_instead(MEANS[name], NOW, BEFORE) == f": {name}"


@pytest.mark.parametrize("share", [1 + 1e-6, 1 - 1e-6])
def test_a_number_that_is_only_near_a_candidate_is_not_named(share):
    for value in MEANS.values():
        assert mean_instead(value * share, NOW, BEFORE) == ""


def test_nothing_is_named_where_there_is_nothing_to_compare():
    assert mean_instead(1.0, [], BEFORE) == ""
    assert mean_instead(math.nan, NOW, BEFORE) == ""
    assert mean_instead(1.0, [[math.nan, math.inf]], BEFORE) == ""
    assert instead(None, {"nothing": 0.0}) == ""
    assert by_step([1.0, 2.0], (1, 2)) == []
    assert by_step([1.0, 2.0, 3.0], (1, 2)) == [[1.0], [2.0, 3.0]]


EPE = (2.0, 3.5, 7.25)
OF_THE_POOL = {
    ("mean_epe_12", "that of the epoch before"): 9.0,
    ("mean_epe_12", "the median over archs"): 3.5,
    ("mean_epe_12", "the sum over archs"): 12.75,
    ("mean_epe_12", "the smallest of the archs'"): 2.0,
    ("per_arch_epe_median", "the mean over archs"): 4.25,
    ("per_arch_epe_min", "the largest of the archs'"): 7.25,
    ("std_epe_12", "the deviation divided by one arch less"): statistics.stdev(EPE),
    ("std_epe_12", "the variance"): statistics.pvariance(EPE),
}


@pytest.mark.parametrize(("name", "what"), OF_THE_POOL)
def test_a_score_of_the_pool_is_named(name, what):
    assert instead(OF_THE_POOL[name, what], scores_instead(name, EPE, 9.0)) == f": {what}"


# ---- clip figures: a threshold of 0.5 over the same numbers

OVER = [value > 0.5 for value in FLAT]
CLIP = {
    ("clip_count", "that of the epoch before"): sum(v > 0.5 for step in BEFORE for v in step),
    ("clip_count", "the checks that do not clip"): len(OVER) - sum(OVER),
    ("clip_count", "every check"): len(OVER),
    ("clip_rate", "the checks that clip, per step"): sum(OVER) / 3,
    ("clip_rate", "in per cent, not as a share"): 100 * sum(OVER) / 15,
    ("train_grad_norm_epoch_avg", "the mean after clipping"): mean([min(v, 0.5) for v in FLAT]),
    ("train_grad_norm_epoch_avg", "the mean over each step's last clip check alone"): mean(
        [step[-1] for step in NOW]
    ),
}


@pytest.mark.parametrize(("name", "what"), CLIP)
def test_a_clip_figure_is_named(name, what):
    found = clip_column_instead(name, CLIP[name, what], NOW, BEFORE, 0.5)
    assert found == f": {what}"


@pytest.mark.parametrize(
    ("norm", "what"),
    [
        (3.0, "the last check's alone"), (4.0, "the first check's alone"),
        (14 / 3, "the mean of its checks"), (5.0, "the largest after clipping"),
        (14.0, "the sum of its checks"), (math.sqrt(74), "the root of the sum of squares"),
    ],
)  # fmt: skip
def test_a_step_s_norm_is_named(norm, what):
    assert norm_instead(norm, [4.0, 7.0, 3.0], 5.0) == f": {what}"


# ---- learning rates: two epochs of three steps, of a plan of three epochs

PLACES = [(epoch, step) for epoch in (1, 2) for step in (1, 2, 3)]


def rates(rule):
    return [
        (epoch, step, 0.1 * rule((epoch - 1) * 3 + step - 1, epoch, step)) for epoch, step in PLACES
    ]


def half_cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


SCHEDULES = {
    "the base rate in every step, it does not fall": lambda done, epoch, step: 1.0,
    "the plan one step late": lambda done, epoch, step: half_cosine(max(done - 1, 0) / 9),
    "the plan one step early": lambda done, epoch, step: half_cosine((done + 1) / 9),
    "a straight line, not a cosine": lambda done, epoch, step: 1 - done / 9,
    "changed once an epoch, not in every step": lambda done, epoch, step: half_cosine(
        (epoch - 1) / 3
    ),
    "a cosine that ends with each epoch": lambda done, epoch, step: half_cosine((step - 1) / 3),
    "a cosine that starts again with each epoch": lambda done, epoch, step: half_cosine(
        (step - 1) / 9
    ),
    "a cosine of one step less than the plan": lambda done, epoch, step: half_cosine(done / 8),
    "a cosine of one step more than the plan": lambda done, epoch, step: half_cosine(done / 10),
    "half of the plan in every step": lambda done, epoch, step: half_cosine(done / 9) / 2,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_schedule_is_named(name):
    assert schedule_instead(rates(SCHEDULES[name]), 0.1, 3, 9) == f": {name}"


def test_a_restart_is_named_with_its_epoch():
    places = [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2)]
    found = [
        (e, s, 0.1 * half_cosine(((e - 1) * 2 + s - 1 - (4 if e == 3 else 0)) / 8))
        for e, s in places
    ]
    assert schedule_instead(found, 0.1, 2, 8) == ": the plan restarted at epoch 3"


def test_two_rates_are_too_few_to_name_a_schedule():
    assert schedule_instead([(1, 1, 0.1), (1, 2, 0.1)], 0.1, 3, 9) == ""
    assert schedule_instead(rates(lambda done, *_: done + 0.5), 0.1, 3, 9) == ""


STEP_MEANS = {
    "the mean over steps, each weighing the same": 7 / 3,
    "the sum over micro-batches, not the mean": 13.0,
    "the last step's alone": 4.0,
    "that of the epoch before": 9.0,
    "the sum over micro-batches divided by the steps": 13 / 3,
}


@pytest.mark.parametrize("name", STEP_MEANS)
def test_an_epoch_s_mean_of_step_means_is_named(name):
    found = step_means_instead(STEP_MEANS[name], [1.0, 2.0, 4.0], [3, 3, 1], [9.0] * 3)
    assert found == f": {name}"


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ("abcd", ": the last is missing"), ("abc", ": the last 2 are missing"),
        ("bcdea", ": the same from number 1 on, then from"),
        ("bcdex", ": the same, one place early"),
        ("bcde", ": the same, one place early"),
        ("eabcd", ": the same from number 4 on"), ("xabcd", ": the same, one place late"),
        ("edcba", ": the same in reverse"),
        ("cdeab", ": the same from number 2 on, then from the start"),
        ("abdce", ": the same in another order, from number 2 on"),
        ("abcdef", ": the same, and 1 more"), ("abxyz", ": the first 2 are the same"),
        ("vwxyz", ""), ("abcde", ""), ("", ""),
    ],
)  # fmt: skip
def test_another_order_is_named(found, what):
    assert order_instead("abcde", found).startswith(what)
    assert bool(order_instead("abcde", found)) == bool(what)


def test_one_thing_has_no_order():
    assert order_instead("a", "x") == ""
    assert order_instead("ab", "bx") == ""


# ---- scores: the outputs of the evidence, of two archs and two samples

METRIC = metric.metric_is_recomputed


def distances(flow):
    return np.abs(np.asarray(flow, np.float64) - LABEL)


def per_sample(values, valid=VALID):
    return tuple(float(v[mask].mean()) for v, mask in zip(values, valid, strict=True))


def half_pixel(residuals):
    """Resize with cv2, whose bilinear grid has half-pixel centres."""
    total = residuals[0].astype(np.float64)
    for residual in residuals[1:]:
        size = (residual.shape[2], residual.shape[1])
        total = np.stack([cv2.resize(t, size, interpolation=cv2.INTER_LINEAR) for t in total])
        total = total + residual
    return total[..., :2]


def without_the_last(residuals):
    return accumulated([residuals[0], residuals[1], 0 * residuals[2]])


SCORES = {
    "the all-zero flow's": lambda r: scored(0 * LABEL),
    "that over all pixels, unknown ones too": lambda r: scored(accumulated(r), np.ones_like(VALID)),
    "half of it": lambda r: tuple(s / 2 for s in scored(accumulated(r))),
    "twice that": lambda r: tuple(s * 2 for s in scored(accumulated(r))),
    "|u| + |v|, not the root of their squares": lambda r: per_sample(
        distances(accumulated(r)).sum(-1)
    ),
    "the mean of |u| and |v|": lambda r: per_sample(distances(accumulated(r)).mean(-1)),
    "the square, no root taken": lambda r: per_sample((distances(accumulated(r)) ** 2).sum(-1)),
    "the root of the mean square over pixels": lambda r: tuple(
        math.sqrt(s) for s in per_sample((distances(accumulated(r)) ** 2).sum(-1))
    ),
    "the median over pixels": lambda r: tuple(
        float(np.median(np.linalg.norm(d, axis=-1)[v]))
        for d, v in zip(distances(accumulated(r)), VALID, strict=True)
    ),
    "of u alone": lambda r: per_sample(distances(accumulated(r))[..., 0]),
    "that of the negated flow": lambda r: scored(-accumulated(r)),
    "that of the flow with u and v exchanged": lambda r: scored(accumulated(r)[..., ::-1]),
    "that without the last residual": lambda r: scored(without_the_last(r)),
    "that of residuals resized on half-pixel centres": lambda r: scored(half_pixel(r)),
    "that of sample number 1 of its batch": lambda r: scored(accumulated(r))[::-1],
    "the mean of its batch": lambda r: (mean(scored(accumulated(r))),) * 2,
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_of_something_else_is_named(name):
    lines = [str(v) for v in METRIC(recomputation(SCORES[name])).violations]
    assert any(line.endswith(f"; {name})") for line in lines), lines


def test_a_score_at_a_smaller_size_is_named():
    rows = [(a, i, o, label, np.ones_like(v), s) for a, i, o, label, v, s in HONEST.rows]
    small = []
    for _, _, outputs, label, _, _ in rows:
        error = np.linalg.norm(outputs[0][..., :2] - label[:, ::4, ::4], axis=-1)
        small.append(tuple(error.mean((1, 2)).tolist()))
    rows = [(*row[:5], found) for row, found in zip(rows, small, strict=True)]
    lines = [str(v) for v in METRIC(replace(HONEST, rows=rows)).violations]
    assert lines[0].endswith("; that at 1/4 of the size)")


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (3.0, "the mean over batches, each weighing the same"), (4.0, "the last batch's alone"),
        (8.0, "the sum over samples"), (2.5, "the mean over pixels, not over samples"),
        (16 / 3, "twice that"),
    ],
)  # fmt: skip
def test_an_arch_s_score_of_something_else_is_named(found, what):
    text = mean_of_samples_instead(found, [(1.0, 3.0), (4.0,)], [(2, 6), (0,)], rel_tol=1e-9)
    assert text == f": {what}"


@pytest.mark.parametrize(
    ("found", "what"), [(7.0, "|u| + |v|, not"), (25.0, "the square, no"), (2.5, "half of it")]
)
def test_a_wrong_answer_of_the_metric_is_named(found, what):
    evidence = Oracle([("ground truth plus (3, 4)", (5.0, 5.0), (5.0, found))])
    (line,) = map(str, metric.metric_gives_known_answers(evidence).violations)
    assert f"expected 5 px, found {found:g} px: {what}" in line


# ---- pixels: 7 x 10 frames, crop 4 x 6 at (1, 2), flow clipped at 8 px


def batch(**changes):
    return replace(SERVED, batches=(replace(EVALUATED[0], **changes), *EVALUATED[1:]))


def flows(change):
    return np.stack([change(DECODED[sample][1]) for sample in IDS[:2]])


FIRST = EVALUATED[0]
AT = serve_all(range(5), [(2, 2)] * 5, "other")[0]
AGAIN = serve_all((2, 1, 0, 3, 4), [(1, 2)] * 5, "other")[0]
PIXELS = {
    "RGB": (
        batch(frames=FIRST.frames[..., [2, 1, 0, 5, 4, 3]]),
        r"img_0 (BGR), at (0, 0, 0): .* differ): the colours are reversed, RGB",
    ),
    "frames swapped": (batch(frames=swapped_frames(FIRST)), "differ): it is img_1"),
    "frames and colours reversed": (
        batch(frames=FIRST.frames[..., ::-1]),
        "differ): it is img_1, its colours reversed, RGB",
    ),
    "mirrored": (batch(frames=FIRST.frames[:, :, ::-1]), "differ): it is mirrored left to right"),
    "upside down": (batch(frames=FIRST.frames[:, ::-1]), "differ): it is upside down"),
    "a row below": (
        batch(frames=AT.frames),
        "differ): the window at (top, left) = (2, 2)",
    ),
    "another sample": (
        batch(frames=AGAIN.frames),
        "differ): the window at (top, left) = (1, 2) of sample b/2",
    ),
    "enlarged": (
        batch(frames=FIRST.frames[:, ::2, ::2].repeat(2, 1).repeat(2, 2)),
        "differ): every pixel comes twice, it was enlarged by two",
    ),
    "u for v": (batch(flow=FIRST.flow[..., ::-1]), "flow, at .* differ): u and v are exchanged"),
    "negated": (batch(flow=-FIRST.flow), "differ): negated"),
    "v negated": (batch(flow=FIRST.flow * np.float32([1, -1])), "differ): v is negated"),
    "no flow": (batch(flow=0 * FIRST.flow), "differ): all of it is 0"),
    "flow upside down": (batch(flow=FIRST.flow[:, ::-1]), "differ): upside down"),
    "in other units": (batch(flow=FIRST.flow / np.float32(20)), "differ): 0.05 times that"),
    "clipped lower": (batch(flow=np.clip(FIRST.flow, -5, 5)), "differ): clipped at 5 px"),
    "not clipped": (
        batch(flow=np.where(FIRST.valid[..., None], flows(lambda f: f[1:5, 2:8]), 0)),
        "differ): not clipped",
    ),
    "unknown pixels clipped": (
        batch(flow=flows(lambda f: np.clip(f[1:5, 2:8], -8, 8))),
        "flow, at .* differ): unknown pixels are served as labels, clipped at 8 px",
    ),
    "not cropped with the frames": (
        batch(flow=AT.flow), "flow, at .* differ): the window at (top, left) = (2, 2)",
    ),
    "mask inverted": (batch(valid=~FIRST.valid), "valid, at .* differ): inverted"),
    "all known": (
        batch(valid=np.ones_like(FIRST.valid)), "valid, at .* differ): every pixel counts as known",
    ),
    "rows and columns": (
        batch(flow=np.swapaxes(FIRST.flow, 1, 2)),
        r"flow: expected shape (4, 6, 2), found shape (6, 4, 2): rows and columns are exchanged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PIXELS)
def test_wrong_pixels_are_named(name):
    evidence, words = PIXELS[name]
    lines = [str(v) for v in served.eval_crop_is_centred(evidence).violations]
    parts = words.split(".*")
    assert any(
        line.endswith(parts[-1]) or parts[-1] in line for line in lines if parts[0] in line
    ), lines


def test_pixels_that_nothing_gives_are_not_named():
    frames = np.array(FIRST.frames)
    frames[0, 1, 2] ^= 1
    flow = np.array(FIRST.flow)
    flow[0, 1, 2] += 1
    evidence = batch(frames=frames, flow=flow, valid=FIRST.valid ^ (np.arange(6) == 3))
    lines = [str(v) for v in served.eval_crop_is_centred(evidence).violations]
    assert len(lines) >= 4
    assert all(line.endswith("differ)") for line in lines), lines


def test_pixels_without_texture_are_of_no_place():
    flat = {s: (np.full_like(f, 7), np.ones_like(v)) for s, (f, v) in DECODED.items()}
    evidence = replace(batch(frames=np.full_like(FIRST.frames, 9)), decoded=flat)
    first = str(served.eval_crop_is_centred(evidence).violations[0])
    assert first.endswith("differ): one value everywhere")


ORDERS = {
    "a cursor that is not reset": ((2, 3, 4, 0, 1), ": the same from number 2 on, then from"),
    "reversed": ((4, 3, 2, 1, 0), ": the same in reverse"),
    "shuffled": ((0, 3, 1, 2, 4), ": the same in another order, from number 1 on"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_another_evaluation_order_is_named(name):
    order, what = ORDERS[name]
    batches = serve_all(order, [(1, 2)] * 5, "other")
    found = served.eval_order_is_fixed(replace(SERVED, batches=batches, again=batches))
    assert what in str(found.violations[0])


# ---- one step, and micro-batches: corruptions of the evidence, by their names there

INSTEAD = {
    "the last scale alone": "the last scale alone",
    "scales of equal weight": "scales of one weight, their mean",
    "fine and coarse exchanged": "fine and coarse scales exchanged",
    "residuals not summed": "residuals not added up",
    "no uncertainty": "without the terms of the uncertainty",
    "unknown flow taken for zero": "unknown pixels counted, with a flow of 0",
    "no weight decay": "without the weight decay",
    "decay without its half": "the weight decay counts twice, as squares that are not halved",
    "losses of other archs": "that of arch 111111111",
    "another learning rate": "twice the step",
    "no bias correction": "no bias correction",
    "decay past the moments": "the weight decay once more, beside the gradient",
    "second moment with beta 0.9": "with a beta_2 of 0.9, not 0.999",
    "the norm of another step": "that of step 1",
    "a gradient halved after it was measured": "twice that",
    "a sum is logged": "three times that, as the sum over a step's archs",
    "an update missing": "the first arch did not update it",
    "none made": "it was not updated",
    "all made twice": "all archs updated it twice",
    "the momentum's complement": "momentum 0.1, the complement",
    "momentum 0.99": "momentum 0.99",
    "variance over N": "the variance over N, not N - 1",
    "archs in another order": "the archs updated it in reversed order",
    "a mean of means": "each micro-batch weighs the same, whatever its size",
    "divided by the micro-batch size": "divided by 4 samples, not by 5",
    "the last one lost, of both": "the last micro-batch is lost",
    "the last one alone": "the last micro-batch alone",
    "the first one twice": "the first micro-batch counts twice",
    "the odd one as whole": "the last micro-batch counts twice",
    "reported and not applied": "it is not clipped",
    "reported and not applied per micro-step": "it is not clipped",
    "each variable alone": "each variable is clipped by itself",
    "half the threshold": "it is clipped at half of the threshold",
    "nothing applied": "nothing is left of it",
}
CORRUPTIONS = {
    name: (check, evidence)
    for table in (promise_evidence_onestep.CORRUPTED, promise_evidence_accumulation.CORRUPTED)
    for check, rows in table.items()
    for name, (evidence, _) in rows.items()
}


@pytest.mark.parametrize("name", INSTEAD)
def test_a_wrong_step_is_named(name):
    check, evidence = CORRUPTIONS[name]
    assert str(check(evidence).violations[0]).endswith(f": {INSTEAD[name]}")


UNNAMED = (
    "losses of the step before", "one weight left where it was", "a scale is detached",
    "each value alone", "summed over archs", "each variable alone per micro-step", "NaN",
)  # fmt: skip


@pytest.mark.parametrize("name", UNNAMED)
def test_a_step_that_nothing_gives_is_not_named(name):
    check, evidence = CORRUPTIONS[name]
    assert ": " not in check(evidence).violations[0].found


def test_a_pattern_that_repeats_is_of_no_place():
    tile = RNG.integers(0, 256, (1, 3, 6), np.uint8)
    striped = np.tile(tile, (7, 4, 1))[:, :10]
    whole = {sample: (striped, flow) for sample, (_, flow) in DECODED.items()}
    # One column to the right: equal to the windows three columns and any rows away from it.
    frames = np.stack([striped[1:5, 3:9]] * 2)
    evidence = replace(batch(frames=frames), decoded=whole)
    assert first_line(evidence).endswith("differ)")


def first_line(evidence):
    return str(served.eval_crop_is_centred(evidence).violations[0])


def test_a_gradient_that_no_weighing_gives_is_not_named():
    evidence = promise_evidence_accumulation.of_both(0.55, 0.3)
    (violation,) = micro_batches.micro_batches_weigh_by_samples(evidence).violations
    assert violation.where == "gradient of A, A | A, A | B"
    assert ": " not in violation.found
