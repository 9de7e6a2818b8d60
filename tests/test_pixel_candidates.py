"""Wrong pixels are named by what they are: 7 x 10 frames, crop 4 x 6 at (1, 2), flow to 8 px."""

from dataclasses import replace

import numpy as np
import pytest

from harness.promises import served
from harness.promises.pixel_differences import first_pixel_differences
from tests.promise_evidence_data import DECODED, EVALUATED, IDS, SERVED, serve_all, swapped_frames


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


def test_a_flow_that_was_scaled_and_scaled_back_is_the_same():
    rng = np.random.default_rng(5)
    flow = rng.uniform(-30, 30, (7, 10, 2)).astype(np.float32)
    decoded, window = {"a/0": (DECODED["a/0"][0], flow)}, (0, 0, 7, 10)

    def differing(found):
        given = replace(
            FIRST, ids=("a/0",), flow=found[None], frames=DECODED["a/0"][0][None],
            valid=np.ones((1, 7, 10), bool),
        )  # fmt: skip
        return first_pixel_differences(given, 0, window, decoded, None)

    there_and_back = flow / np.float32(20) * np.float32(20)
    assert not np.array_equal(there_and_back, flow)
    assert not differing(there_and_back)
    assert differing(flow + 3 * np.spacing(flow))


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


def test_a_pattern_that_repeats_is_of_no_place():
    tile = np.random.default_rng(12).integers(0, 256, (1, 3, 6), np.uint8)
    striped = np.tile(tile, (7, 4, 1))[:, :10]
    whole = {sample: (striped, flow) for sample, (_, flow) in DECODED.items()}
    # One column to the right: equal to the windows three columns and any rows away from it.
    frames = np.stack([striped[1:5, 3:9]] * 2)
    evidence = replace(batch(frames=frames), decoded=whole)
    assert first_line(evidence).endswith("differ)")


def first_line(evidence):
    return str(served.eval_crop_is_centred(evidence).violations[0])
