"""What drivers make evidence of: crops, files, residuals; what wrong values are said to be."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from harness.fc2.synthetic import write_dataset
from harness.promises.known_answers import _residuals
from harness.promises.ledger.plan import NEGLIGIBLE
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.promises.ledger.scores import _can_tell_recal_draws
from harness.promises.metric import _why
from harness.promises.plans import _crop
from harness.promises.promise import differences
from harness.promises.samples import _centre_members, decode_independently
from harness.promises.served import _order_instead
from tests.ledger_runs import RUN, each


@pytest.mark.parametrize("crop", [(24, 36), (25, 38), (29, 43), (27, 41), (10, 16)])
def test_a_sample_that_is_cut_to_its_centre_holds_the_centre_window(tmp_path, crop):
    write_dataset(tmp_path / "whole", train=1, val=1, height=29, width=43)
    source, target = tmp_path / "whole" / "val", tmp_path / "cut"
    target.mkdir()
    (sample,) = {path.name.rpartition("-")[0] for path in source.rglob("*-img_0.png")}
    for member, data in _centre_members(source, sample, crop).items():
        (target / f"{sample}-{member}").write_bytes(data)
    top, left = (29 - crop[0]) // 2, (43 - crop[1]) // 2
    whole, cut = decode_independently(source, sample), decode_independently(target, sample)
    for before, after in zip(whole, cut, strict=True):
        assert np.array_equal(after, before[top : top + crop[0], left : left + crop[1]])


@pytest.mark.parametrize(
    ("height", "width", "asked"),
    [(48, 64, "48 x 48"), (48, 16, "32 x 16"), (16, 16, "16 x 32"), (16, 32, "16 x 16")],
)
def test_another_crop_is_a_stride_smaller_where_that_leaves_one(height, width, asked):
    change = _crop({"data": {"input_height": height, "input_width": width}}, 16)
    assert (change.saved, change.asked) == (f"{height} x {width}", asked)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_residuals_of_every_scale_add_up_to_the_flow(scales):
    flow = np.random.default_rng(1).normal(size=(2, 24, 32, 2)).astype(np.float32)
    constant = np.broadcast_to(np.asarray([3.0, 4.0], np.float32), flow.shape)
    shapes = [(24 // 2**k, 32 // 2**k, 4) for k in range(scales)][::-1]
    for outputs in _residuals(flow, constant, shapes).values():
        assert [output.shape[1:] for output in outputs] == shapes
        total = sum(
            output[..., :2].repeat(24 // output.shape[1], 1).repeat(32 // output.shape[2], 2)
            for output in outputs
        )
        assert np.allclose(total, flow, atol=1e-5)


def test_values_are_equal_to_themselves_alone_and_nan_is_a_value():
    values = {"nan": math.nan, "zero": 0.0, "one": 1, "text": "a", "none": None}
    for (name, one), (other, two) in itertools.product(values.items(), repeat=2):
        told = differences({"x": one}, {"x": two}, what="state:")
        assert bool(told) == (name != other), (name, other)


SPLIT = tuple("abcdefg")


@pytest.mark.parametrize(
    ("served", "told"),
    [
        ("cdef", ": the split from its sample 2 on"),
        ("c", ": the split from its sample 2 on"),
        ("defg", ": the split from its sample 3 on"),
        ("abcd", ""),
        ("dcba", None),
        ("cxef", None),
        ("wxyz", ": no sample of this split"),
    ],
)
def test_a_split_that_is_served_from_its_middle_is_told(served, told):
    found = _order_instead(SPLIT[: len(served)], tuple(served), SPLIT)
    assert found == told if told is not None else "the split from" not in found


def test_what_the_last_residual_scores_is_no_answer_where_it_is_the_right_one():
    words = "what the last residual scores alone"
    assert words in _why(want=4.0, got=3.0, alone=2.0, fed=2.0)
    assert words not in _why(want=4.0, got=3.0, alone=4.0, fed=4.0)
    assert words not in _why(want=4.0, got=3.0, alone=2.0, fed=4.0)


@pytest.mark.parametrize(
    ("promise", "name", "nobodys"),
    [
        ("ledger-scores-add-up", "mean_epe_12", 7.75),
        ("ledger-scores-add-up", "per_arch_epe_max", 7.75),
        ("ledger-clip-figures", "clip_count", 99),
        ("ledger-clip-figures", "clip_rate", 0.123),
    ],
)
def test_a_figure_of_nobody_is_not_said_to_be_that_of_the_row_before(promise, name, nobodys):
    def said(value):
        found = LEDGER_PROMISES[promise].check(each("epochs", only=2, **{name: value}))
        return "".join(str(one) for one in found.violations if f", {name}" in str(one))

    before = getattr(RUN.epochs[1], name)
    assert before != getattr(RUN.epochs[2], name)
    assert "of the epoch before" in said(before)
    assert said(nobodys)
    assert "of the epoch before" not in said(nobodys)


@pytest.mark.parametrize("size", [1, 3])
def test_equal_recalibration_draws_are_told_where_chance_is_no_excuse(size):
    """Of a split of unknown size, which has at least the samples that its batches needed."""

    def told(batches):
        evals = [replace(record, recal_batches=batches) for record in RUN.evals[:2]]
        section = {"eval": {"batch_size": size}, "train": {"batch_size": 9}}
        run = each("openings", replace(RUN, config={**RUN.config, **section}), train_samples=0)
        return _can_tell_recal_draws(run, evals)

    def ways(batches):
        samples, drawn = batches * size - size + 1, batches * size
        return math.factorial(samples) // math.factorial(max(samples - drawn, 0))

    for batches in range(1, 20):
        assert told(batches) == (ways(batches) > 2 / NEGLIGIBLE), batches
    assert told(19)
