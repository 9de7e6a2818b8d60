"""What is shown of a sample is what lies there, and flow has its usual colours."""

import base64
import io
import json
import re

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from harness.cli import main
from harness.fc2.decode import decode_triplet
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import write_dataset
from harness.reporting.flow_colours import error_image, flow_image, wheel_image

CORNERS = {  # by the number of hues before them, of 55
    0: (255, 0, 0), 15: (255, 255, 0), 21: (0, 255, 0), 25: (0, 255, 255), 36: (0, 0, 255),
    49: (255, 0, 255),
}  # fmt: skip


def towards(hue, length=1.0):
    turn = (2 * hue / 54 - 1) * np.pi
    return np.array([[[-np.cos(turn) * length, -np.sin(turn) * length]]], np.float32)


@pytest.mark.parametrize(("hue", "colour"), CORNERS.items())
def test_directions_have_the_colours_of_the_wheel(hue, colour):
    full = flow_image(5 * towards(hue), 5.0)[0, 0].astype(int)
    assert np.abs(full - colour).max() <= 2
    half = flow_image(towards(hue, 0.5), 1.0)[0, 0].astype(int)
    assert np.abs(half - (255 + np.array(colour)) / 2).max() <= 2
    beyond = flow_image(towards(hue, 3.0), 1.0)[0, 0].astype(int)
    assert np.abs(beyond - 0.75 * np.array(colour)).max() <= 2


def baker(u, v):
    """Return the colours of flow as the original's computeColor.m says."""
    steps = {"RY": 15, "YG": 6, "GC": 4, "CB": 11, "BM": 13, "MR": 6}
    up = {name: np.floor(255 * np.arange(n) / n) for name, n in steps.items()}
    full = {name: np.full(n, 255.0) for name, n in steps.items()}
    none = {name: np.zeros(n) for name, n in steps.items()}
    red = [full["RY"], 255 - up["YG"], none["GC"], none["CB"], up["BM"], full["MR"]]
    green = [up["RY"], full["YG"], full["GC"], 255 - up["CB"], none["BM"], none["MR"]]
    blue = [none["RY"], none["YG"], up["GC"], full["CB"], full["BM"], 255 - up["MR"]]
    wheel = np.stack([np.concatenate(part) for part in (red, green, blue)], axis=1) / 255
    length, turn = np.hypot(u, v), np.arctan2(-v, -u) / np.pi
    place = (turn + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    share = (place - low)[..., None]
    hue = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    colour = np.where(length[..., None] <= 1, 1 - length[..., None] * (1 - hue), hue * 0.75)
    return np.floor(255 * colour)


def test_every_flow_has_the_original_s_colour():
    flow = np.random.default_rng(0).normal(0, 0.6, (60, 90, 2)).astype(np.float32)
    u, v = (flow[..., i].astype(np.float64) for i in (0, 1))
    assert np.array_equal(flow_image(flow, 1.0), baker(u, v))


def test_right_is_red_down_is_yellow_and_no_motion_is_white():
    right, left, down = ([[[1, 0]]], [[[-1, 0]]], [[[0, 1]]])
    found = [flow_image(np.array(flow, np.float32), 1.0)[0, 0] for flow in (right, left, down)]
    assert found[0].tolist() == [255, 0, 0]
    assert (found[1][0], found[1][2]) == (0, 255)
    assert found[2].tolist() == [255, 229, 0]
    assert flow_image(np.array([[[0.0, -0.0]]], np.float32), 1.0).tolist() == [[[255] * 3]]
    with pytest.raises(ValueError, match="above 0 px, got 0"):
        flow_image(np.zeros((1, 1, 2), np.float32), 0)


def test_the_wheel_is_round_and_red_at_its_right():
    wheel = wheel_image(21)
    assert wheel.shape == (21, 21, 3)
    assert wheel[10, 10].tolist() == wheel[0, 0].tolist() == [255] * 3
    assert wheel[10, 20].tolist() == [255, 0, 0]


def test_unknown_is_grey_and_errors_run_from_dark_to_light():
    valid = np.array([[True, True, False]])
    image = error_image(np.array([[0.0, 4.0, 2.0]]), 4.0, valid)
    ends = [[round(255 * v) for v in colormaps["cividis"](end)[:3]] for end in (0.0, 1.0)]
    assert np.abs(image[0, :2].astype(int) - ends).max() <= 1
    assert image[0, 2].tolist() == [128] * 3
    flow = np.ones((1, 3, 2), np.float32)
    assert flow_image(flow, 1.0, valid)[0, 2].tolist() == [128] * 3
    assert error_image(np.zeros((1, 3)), 0.0, valid)[0, 0].tolist() == image[0, 0].tolist()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "fc2", train=3, val=2, height=19, width=37)
    return tmp_path / "fc2"


def pictures(page):
    found = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)"', page)
    return {alt: np.asarray(Image.open(io.BytesIO(base64.b64decode(d)))) for alt, d in found}


def test_frames_and_flow_are_those_of_the_files(data, capsys):
    words = ["view", "0000000", "0000002", "--split", "train", "--fc2-root", "fc2"]
    assert main([*words, "--out", "v.html", "--json", "v.json"]) == 0
    assert capsys.readouterr().out == "v.html: 2 samples written\n"
    page = (data.parent / "v.html").read_text()
    shown = pictures(page)
    told = json.loads((data.parent / "v.json").read_text())["samples"]
    triplets = [one for one in list_triplets(data / "train") if one.id in ("0000000", "0000002")]
    for triplet, facts in zip(triplets, told, strict=True):
        decoded = decode_triplet(triplet)
        for number in range(2):
            frame = decoded.frames[..., 3 * number : 3 * number + 3]
            assert np.array_equal(shown[f"frame {number} of {triplet.id}"], frame[..., ::-1])
        lengths = np.hypot(decoded.flow[..., 0], decoded.flow[..., 1])
        assert facts["longest_flow"] == float(lengths.max())
        assert facts["zero_flow_epe"] == pytest.approx(lengths[decoded.valid].mean(), rel=1e-6)
        (flow,) = (p for alt, p in shown.items() if alt.startswith("flow") and triplet.id in alt)
        assert np.array_equal(flow, flow_image(decoded.flow, facts["longest_flow"]))
    assert "<script" not in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["7"], "fc2/val: no sample '7', expected one of 2, from 1000000 to 1000001"),
        (["batch:1"], "batch:1: is of a run; name it with --run DIR"),
        (["1000000", "--arch", "000000000"], "--arch: is of a run; name it with --run DIR"),
        (["1000000", "--arch", "0123"], "an arch code has 9 codes of 0, 1 or 2"),
        (["1000000", "--run", "fc2"], "fc2: not a run directory, no config.yaml there"),
        (["1000000"] * 65, "65 samples, expected at most 64 on one page"),
    ],
)
def test_what_cannot_be_shown_is_one_line(words, message, data, capsys):
    assert main(["view", *words, "--fc2-root", "fc2", "--out", "v.html"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (data.parent / "v.html").exists()
