import re

import cv2
import numpy as np
import pytest

from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import Sample, make_sample, write_dataset, write_sample

SIZES = [(72, 104), (96, 128), (384, 512)]
MISTAKES = {
    "negated": lambda flow: -flow,
    "swapped": lambda flow: flow[..., ::-1],
    "shifted": lambda flow: flow + np.float32([3, 0]),
    "zero": np.zeros_like,
}


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def sample(request):
    height, width = request.param
    return make_sample(height=height, width=width, seed=3, index=4)


def as_bytes(sample):
    return [a.tobytes() for a in (sample.img_0, sample.img_1, sample.flow, sample.occluded)]


def warp_error(sample, flow):
    """Grey levels between frame 1 and frame 2 pulled back, where the surface stays in sight."""
    y, x = np.indices(sample.occluded.shape, np.float32)
    back = cv2.remap(
        sample.img_1.astype(np.float32),
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.abs(back - sample.img_0)[~sample.occluded]


def leaves(sample):
    height, width = sample.occluded.shape
    y, x = np.indices((height, width))
    to_x, to_y = x + sample.flow[..., 0], y + sample.flow[..., 1]
    return (to_x < 0) | (to_x > width - 1) | (to_y < 0) | (to_y > height - 1)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_frames_flow_and_occlusion_have_the_shapes_and_types_promised(sample):
    height, width = sample.occluded.shape
    assert (height, width) in SIZES
    for frame in (sample.img_0, sample.img_1):
        assert (frame.shape, frame.dtype) == ((height, width, 3), np.uint8)
    assert (sample.flow.shape, sample.flow.dtype) == ((height, width, 2), np.float32)
    assert sample.occluded.dtype == bool
    assert np.isfinite(sample.flow).all()


def test_the_same_seed_and_index_give_the_same_bytes(sample):
    height, width = sample.occluded.shape
    again = make_sample(height=height, width=width, seed=3, index=4)
    assert as_bytes(again) == as_bytes(sample)


@pytest.mark.parametrize(("seed", "index"), [(3, 5), (4, 4)])
def test_another_seed_or_index_gives_another_sample(seed, index):
    one = make_sample(height=72, width=104, seed=3, index=4)
    other = make_sample(height=72, width=104, seed=seed, index=index)
    for name in ("img_0", "img_1", "flow"):
        assert np.mean(getattr(one, name) != getattr(other, name)) > 0.9


def test_frame_2_pulled_back_by_the_flow_is_frame_1(sample):
    error = warp_error(sample, sample.flow)
    assert np.median(error) <= 1
    assert np.percentile(error, 95) <= 8  # outlines, where pulling back mixes surfaces, included


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistaken_flow_does_not_pull_frame_2_back(sample, mistake):
    error, wrong = (warp_error(sample, f) for f in (sample.flow, MISTAKES[mistake](sample.flow)))
    assert np.mean(wrong) > 4 * np.mean(error)
    assert np.percentile(wrong, 95) > 4 * np.percentile(error, 95)


def test_a_hidden_pixel_meets_another_surface(sample):
    inside = ~leaves(sample)
    hidden = Sample(sample.img_0, sample.img_1, sample.flow, ~(sample.occluded & inside))
    assert (sample.occluded & inside).any()
    assert np.mean(warp_error(hidden, sample.flow)) > 10 * np.mean(warp_error(sample, sample.flow))


def test_a_pixel_that_leaves_the_frame_is_occluded():
    sides = np.zeros(4, bool)
    for index in range(8):
        sample = make_sample(height=72, width=104, seed=2, index=index)
        gone = leaves(sample)
        sides |= [edge.any() for edge in (gone[0], gone[-1], gone[:, 0], gone[:, -1])]
        assert sample.occluded[gone].all()
    assert sides.all()


@pytest.mark.parametrize(
    ("size", "count", "low", "high"), [((72, 104), 24, 2, 3), ((384, 512), 4, 8, 14)]
)
def test_the_motion_grows_with_the_frame(size, count, low, high):
    height, width = size
    flows = [make_sample(height=height, width=width, seed=0, index=i).flow for i in range(count)]
    length = np.hypot(*np.moveaxis(flows, -1, 0))
    assert low <= length.mean() <= high
    assert 2 * high <= length.max() <= 0.125 * np.sqrt(height * width)


@pytest.mark.parametrize("limit", [1.5, 200.0])
def test_no_pixel_moves_further_than_max_motion(limit):
    flows = [
        make_sample(height=72, width=104, seed=1, index=i, max_motion=limit).flow for i in range(8)
    ]
    assert limit / 3 < np.hypot(*np.moveaxis(flows, -1, 0)).max() <= limit


def test_without_motion_the_frames_are_equal_and_nothing_is_occluded():
    still = make_sample(height=72, width=104, seed=1, index=0, max_motion=0)
    np.testing.assert_array_equal(still.img_0, still.img_1)
    assert not still.flow.any()
    assert not still.occluded.any()


def test_a_written_sample_reads_back_as_it_was(tmp_path):
    sample = make_sample(height=72, width=104, seed=0, index=9)
    write_sample(tmp_path, 9, sample)
    (triplet,) = list_triplets(tmp_path)
    assert triplet.id == "0000009"
    np.testing.assert_array_equal(cv2.imread(str(triplet.img_0)), sample.img_0)
    np.testing.assert_array_equal(cv2.imread(str(triplet.img_1)), sample.img_1)
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(triplet.flow)), sample.flow)


def test_the_worker_count_changes_no_byte(tmp_path):
    for workers in (1, 3):
        out = tmp_path / str(workers)
        write_dataset(out, train=4, val=3, height=72, width=104, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_a_data_set_has_the_layout_and_splits_that_share_nothing(tmp_path):
    write_dataset(tmp_path, train=3, val=2, height=72, width=104, progress=True)
    train, val = (list_triplets(tmp_path / split) for split in ("train", "val"))
    assert [t.id for t in train] == ["0000000", "0000001", "0000002"]
    assert [t.id for t in val] == ["1000000", "1000001"]
    assert len(files(tmp_path)) == len(set(files(tmp_path).values())) == 15


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_that_holds_files_is_refused_and_left_alone(tmp_path, split):
    kept = tmp_path / split / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(kept.parent))):
        write_dataset(tmp_path, train=1, val=1, height=72, width=104)
    assert files(tmp_path) == {f"{split}/notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 15}, "`height` must be at least 16 px, got 15"),
        ({"width": 8}, "`width` must be at least 16 px, got 8"),
        ({"seed": -2}, "`seed` must be non-negative, got -2"),
        ({"index": -3}, "`index` must be non-negative, got -3"),
        ({"max_motion": -1.5}, "`max_motion` must be finite and at least 0, got -1.5"),
        ({"max_motion": float("nan")}, "`max_motion` must be finite and at least 0, got nan"),
    ],
)
def test_an_impossible_sample_is_refused_with_the_value(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_sample(**{"height": 72, "width": 104, "seed": 0, "index": 0} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "`train` must be between 1 and 1000000, got 0"),
        ({"train": 1_000_001}, "`train` must be between 1 and 1000000, got 1000001"),
        ({"val": -1}, "`val` must be between 1 and 1000000, got -1"),
        ({"workers": 0}, "`workers` must be between 1 and 1024, got 0"),
        ({"width": 8}, "`width` must be at least 16 px, got 8"),
    ],
)
def test_an_impossible_data_set_is_refused_before_a_file_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write_dataset(tmp_path, **{"train": 1, "val": 1, "height": 72, "width": 104} | change)
    assert not any(tmp_path.iterdir())


def test_a_sample_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path):
    sample = make_sample(height=16, width=24, seed=0, index=0)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "no" / "0000007-img_0.png"))):
        write_sample(tmp_path / "no", 7, sample)
    with pytest.raises(ValueError, match="at most seven digits, got 10000000"):
        write_sample(tmp_path, 10_000_000, sample)
