"""What drivers make evidence of: crops, files, residuals; and which values count as equal."""

import itertools
import math

import numpy as np
import pytest

from harness.fc2.synthetic import write_dataset
from harness.promises.known_answers import _residuals
from harness.promises.plans import _crop
from harness.promises.promise import differences
from harness.promises.samples import _centre_members, decode_independently


@pytest.mark.parametrize("crop", [(24, 36), (25, 38), (29, 43), (27, 41)])
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
