import random
import re
import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from harness.config import parse_config
from harness.fc2.batch import content_digest, identity_digest, join_digests
from harness.fc2.crop import Window, center_window, cut, random_window
from harness.fc2.errors import SampleError
from harness.fc2.layout import list_triplets, member_name
from harness.fc2.order import batch_sizes, split_batches, train_order
from harness.fc2.provider import Provider, open_provider

HEIGHT, WIDTH, COUNT = 24, 37, 7
CROP = (10, 16)
UNKNOWN = (11, 18)
"""A pixel of sample 2 without a known flow, inside the centre crop."""


def write_sample(folder, number, height=HEIGHT, width=WIDTH):
    """Write a sample in which every value tells its place: row, column and sample."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.indices((height, width))
    for frame in (0, 1):
        image = np.stack([y, x, np.full_like(x, 10 * number + frame)], -1).astype(np.uint8)
        assert cv2.imwrite(str(folder / member_name(number, f"img_{frame}.png")), image)
    flow = np.stack([x, y], -1).astype("<f4")
    if number == 2:
        flow[UNKNOWN] = 1e10
    content = b"PIEH" + struct.pack("<ii", width, height) + flow.tobytes()
    (folder / member_name(number, "flow_01.flo")).write_bytes(content)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    root = tmp_path_factory.mktemp("coded")
    for number in range(COUNT):
        write_sample(root / "train", number)
        write_sample(root / "val", number)
    return root


def provider(root, role="train", batch_size=3, **given):
    clip = given.pop("flow_clip", None)
    samples = list_triplets(root / "train")
    return Provider(samples, role, CROP, batch_size, clip, seed=7, **given)


def opened(root, split, role, **train):
    data = {"base_path": str(root), "input_height": 10, "input_width": 16, "flow_clip": 12.5}
    train = {"epoch_mode": "full_pass", "batch_size": 3} | train
    evaluation = {"batch_size": 2, "crop": [8, 22]}
    return open_provider(
        parse_config({"data": data, "train": train, "eval": evaluation}), split, role
    )


def digests(batches):
    return [batch.digest for batch in batches]


def served(batches):
    return [sample for batch in batches for sample in batch.ids]


def same(one, two):
    arrays = [(one.frames, two.frames), (one.flow, two.flow), (one.valid, two.valid)]
    names = (one.ids, one.windows, one.digest) == (two.ids, two.windows, two.digest)
    return names and all(np.array_equal(a, b) for a, b in arrays)


def check_places(batch):
    """Every array shows the same window, the one that the batch names."""
    for b, window in enumerate(batch.windows):
        y, x = np.indices(CROP) + np.array([window.top, window.left])[:, None, None]
        number = 10 * int(batch.ids[b])
        for frame in (0, 1):
            wanted = np.stack([y, x, np.full_like(x, number + frame)], -1)
            np.testing.assert_array_equal(batch.frames[b, ..., 3 * frame : 3 * frame + 3], wanted)
        known = batch.valid[b]
        np.testing.assert_array_equal(batch.flow[b][known], np.stack([x, y], -1)[known])
        hidden = (y == UNKNOWN[0]) & (x == UNKNOWN[1]) & (number == 20)
        np.testing.assert_array_equal(known, ~hidden)
        assert (batch.flow[b][~known] == 0).all()


def test_a_full_pass_serves_every_sample_once_in_another_order_each_epoch(coded):
    room = provider(coded)
    epochs = [served(room.stream(epoch)) for epoch in (1, 2, 3)]
    for order in epochs:
        assert sorted(order) == [f"{number:07d}" for number in range(COUNT)]
    assert len(set(map(tuple, epochs))) == 3


def test_the_last_batch_of_a_full_pass_is_partial(coded):
    room = provider(coded)
    for epoch in (1, 2):
        batches = list(room.stream(epoch))
        assert [batch.size for batch in batches] == [3, 3, 1] == room.planned_sizes
        assert [batch.frames.shape for batch in batches] == [(n, *CROP, 6) for n in (3, 3, 1)]


@pytest.mark.parametrize("batch_size", [1, 2, 6, 7, 8])
def test_no_sample_is_lost_at_any_batch_size(coded, batch_size):
    room = provider(coded, batch_size=batch_size)
    batches = list(room.stream(2))
    assert [batch.size for batch in batches] == room.planned_sizes
    assert sorted(served(batches)) == [f"{number:07d}" for number in range(COUNT)]


def test_the_batch_size_changes_neither_the_order_nor_the_windows(coded):
    epochs = []
    for batch_size in (1, 2, 3, 7):
        batches = list(provider(coded, batch_size=batch_size).stream(2))
        windows = [window for batch in batches for window in batch.windows]
        epochs.append(list(zip(served(batches), windows, strict=True)))
    assert all(epoch == epochs[0] for epoch in epochs)
    assert len({window for _, window in epochs[0]}) == COUNT


@pytest.mark.parametrize(("count", "size", "steps"), [(7, 3, None), (6, 3, None), (7, 3, 5)])
def test_the_planned_sizes_are_those_of_the_order(count, size, steps):
    order = train_order(count, seed=1, epoch=2, batch_size=size, steps=steps)
    planned = batch_sizes(count, batch_size=size, steps=steps)
    assert [len(batch) for batch in split_batches(order, size)] == planned


def test_fixed_steps_serve_full_batches_drawn_with_replacement(coded):
    room = provider(coded, steps=5)
    first, second = list(room.stream(1)), list(room.stream(2))
    assert [batch.size for batch in first] == [3] * 5 == room.planned_sizes
    assert len(set(served(first))) < len(served(first)) == 15
    assert served(first) != served(second)
    assert len(set(digests(first + second))) == 10


def test_a_sample_drawn_twice_in_an_epoch_is_cropped_anew(coded):
    batches = list(provider(coded, steps=8).stream(1))
    pairs = [pair for b in batches for pair in zip(b.ids, b.windows, strict=True)]
    assert len(set(pairs)) > len({sample for sample, _ in pairs})


@pytest.mark.parametrize("steps", [None, 4], ids=["full-pass", "fixed-steps"])
@pytest.mark.parametrize("role", ["train", "eval"])
def test_a_batch_is_a_function_of_epoch_and_index(coded, role, steps):
    room = provider(coded, role, steps=steps if role == "train" else None)
    asked = [(epoch, index) for epoch in (1, 2) for index in range(3)]
    wanted = {key: room.batch(*key) for key in asked}
    random.Random(3).shuffle(asked)
    for key in asked * 2:
        assert same(room.batch(*key), wanted[key])
    if role == "train":
        assert len(set(digests(wanted.values()))) == 6


def test_threads_are_served_the_same_batches(coded):
    room, asked = provider(coded), [(epoch, index) for epoch in (1, 2) for index in (2, 0, 1)] * 3
    wanted = [room.batch(*key).digest for key in asked]
    with ThreadPoolExecutor(4) as pool:
        assert digests(pool.map(lambda key: room.batch(*key), asked)) == wanted


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("role", ["train", "eval"])
def test_the_number_of_workers_changes_nothing(coded, role, workers):
    room = provider(coded, role, batch_size=2)
    for epoch in (1, 2):
        alone = [room.batch(epoch, index) for index in range(4)]
        together = list(room.stream(epoch, workers=workers))
        assert len(together) == 4
        assert all(same(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("start", range(5))
def test_a_stream_from_the_middle_is_the_tail(coded, start):
    room = provider(coded, batch_size=2)
    whole = digests(room.stream(2, workers=1))
    assert len(whole) == 4
    assert digests(room.stream(2, start=start, workers=3)) == whole[start:]


def test_an_evaluation_serves_a_fixed_order_and_the_centre_crop(coded):
    room = provider(coded, "eval")
    first, later = list(room.stream(0)), list(room.stream(5))
    assert served(first) == [f"{number:07d}" for number in range(COUNT)]
    assert [batch.size for batch in first] == [3, 3, 1]
    assert {window for batch in first for window in batch.windows} == {Window(7, 10, 10, 16)}
    assert all(same(a, b) for a, b in zip(first, later, strict=True))


def test_an_evaluation_does_not_depend_on_the_seed(coded):
    samples = list_triplets(coded / "train")
    rooms = [Provider(samples, "eval", CROP, 3, None, seed=seed) for seed in (1, 2)]
    train = [Provider(samples, "train", CROP, 3, None, seed=seed) for seed in (1, 2)]
    assert digests(rooms[0].stream(1)) == digests(rooms[1].stream(1))
    assert digests(train[0].stream(1)) != digests(train[1].stream(1))


@pytest.mark.parametrize(
    ("role", "random_crop"), [("train", True), ("train", False), ("eval", True)]
)
def test_both_frames_the_flow_and_its_validity_show_the_same_window(coded, role, random_crop):
    batches = [b for e in (1, 2) for b in provider(coded, role, random_crop=random_crop).stream(e)]
    windows = {window for batch in batches for window in batch.windows}
    assert (len(windows) > 1) == (role == "train" and random_crop)
    for batch in batches:
        check_places(batch)


def test_a_random_crop_reaches_every_place_and_no_other():
    drawn = [random_window((24, 19), (22, 16), seed=1, epoch=1, index=i) for i in range(300)]
    assert {(w.top, w.left) for w in drawn} == {(y, x) for y in range(3) for x in range(4)}
    assert {(w.height, w.width) for w in drawn} == {(22, 16)}
    other = [random_window((24, 19), (22, 16), seed=1, epoch=2, index=i) for i in range(300)]
    assert drawn != other


def test_a_crop_of_the_whole_frame_is_the_frame():
    whole = Window(0, 0, 5, 8)
    assert center_window((5, 8), (5, 8)) == whole
    assert random_window((5, 8), (5, 8), seed=1, epoch=1, index=3) == whole
    assert cut(np.arange(40).reshape(5, 8), whole).tolist() == np.arange(40).reshape(5, 8).tolist()


@pytest.mark.parametrize("crop", [(6, 8), (5, 9), (0, 8), (5, -1)])
def test_a_crop_that_does_not_fit_is_refused(crop):
    wanted = rf"crop {crop[0]} x {crop[1]} does not fit a frame of 5 x 8 \(H x W\)"
    with pytest.raises(ValueError, match=wanted):
        center_window((5, 8), crop)
    with pytest.raises(ValueError, match=wanted):
        random_window((5, 8), crop, seed=1, epoch=1, index=1)


def test_training_labels_are_clipped_and_evaluation_labels_whole(coded):
    train, evaluation = opened(coded, "train", "train"), opened(coded, "val", "eval")
    clipped = np.concatenate([b.flow for e in (1, 2) for b in train.stream(e)])
    whole = np.concatenate([b.flow for b in evaluation.stream(0)])
    assert clipped.max() == 12.5
    assert whole.max() == center_window((HEIGHT, WIDTH), (8, 22)).left + 21
    assert (train.flow_clip, evaluation.flow_clip) == (12.5, None)
    assert (train.batch(1, 0).flow_clip, evaluation.batch(1, 0).flow_clip) == (12.5, None)
    assert (clipped.dtype, whole.dtype) == (np.float32, np.float32)


def test_labels_are_clipped_on_both_sides(coded, tmp_path):
    write_sample(tmp_path / "train", 1)
    path = tmp_path / "train" / member_name(1, "flow_01.flo")
    content = path.read_bytes()
    negated = -np.frombuffer(content[12:], "<f4")
    path.write_bytes(content[:12] + negated.tobytes())
    negative, positive = provider(tmp_path, flow_clip=9.5), provider(coded, flow_clip=9.5)
    assert min(b.flow.min() for b in negative.stream(1)) == -9.5
    assert max(b.flow.max() for b in positive.stream(1)) == 9.5


def test_a_configuration_decides_split_crop_sampling_and_batch_size(coded):
    train, evaluation = opened(coded, "train", "train"), opened(coded, "val", "eval")
    assert (train.crop, train.batch_size, train.steps, train.random_crop) == (
        (10, 16),
        3,
        None,
        True,
    )
    assert (evaluation.crop, evaluation.batch_size, evaluation.steps) == ((8, 22), 2, None)
    assert {triplet.img_0.parent.name for triplet in train.samples} == {"train"}
    assert {triplet.img_0.parent.name for triplet in evaluation.samples} == {"val"}
    steps = opened(coded, "train", "train", epoch_mode="fixed_steps", steps_per_epoch=4)
    centred = opened(coded, "train", "train", train_crop_mode="center")
    assert (steps.steps, steps.planned_sizes, centred.random_crop) == (4, [3] * 4, False)


def test_unknown_pixels_are_counted_and_zero(coded):
    batches = list(provider(coded, "eval").stream(0))
    assert [batch.unknown_pixels for batch in batches] == [1, 0, 0]
    place = (2, UNKNOWN[0] - 7, UNKNOWN[1] - 10)
    assert not batches[0].valid[place]
    assert batches[0].flow[place].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("role", ["train", "eval"])
def test_a_frame_smaller_than_the_crop_is_named(tmp_path, role):
    write_sample(tmp_path / "train", 0)
    write_sample(tmp_path / "train", 4, height=CROP[0] - 1)
    wanted = r"0000004-img_0\.png: expected a frame of at least 10 x 16, found crop .*9 x 37"
    with pytest.raises(SampleError, match=wanted):
        list(provider(tmp_path, role).stream(1))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_sample_stops_the_stream_after_the_batches_before_it(tmp_path, workers):
    for number in range(5):
        write_sample(tmp_path / "train", number)
    (tmp_path / "train" / member_name(3, "flow_01.flo")).write_bytes(b"PIEH")
    batches = provider(tmp_path, "eval", batch_size=2).stream(0, workers=workers)
    assert next(batches).ids == ("0000000", "0000001")
    with pytest.raises(SampleError, match=r"0000003-flow_01\.flo: expected .* found"):
        next(batches)


@pytest.mark.parametrize("index", [-1, 3])
@pytest.mark.parametrize("role", ["train", "eval"])
def test_a_batch_that_the_epoch_does_not_have_is_refused(coded, role, index):
    with pytest.raises(IndexError, match=f"{role} epoch 2 has 3 batches, no batch {index}"):
        provider(coded, role).batch(2, index)


@pytest.mark.parametrize("role", ["train", "eval"])
@pytest.mark.parametrize("name", ["frames", "flow", "valid"])
def test_the_arrays_of_a_batch_are_read_only(coded, role, name):
    batch = provider(coded, role, flow_clip=9.5).batch(1, 0)
    with pytest.raises(ValueError, match="read-only"):
        getattr(batch, name)[0] = 0


def parts():
    rng = np.random.default_rng(5)
    return {
        "ids": ["0000001", "0000002"],
        "windows": [Window(1, 2, 4, 6), Window(0, 3, 4, 6)],
        "frames": rng.integers(0, 200, (2, 4, 6, 6)).astype(np.uint8),
        "flow": rng.normal(0, 3, (2, 4, 6, 2)).astype(np.float32),
        "valid": rng.integers(0, 2, (2, 4, 6)).astype(bool),
    }


def test_an_evaluation_digest_changes_with_every_part():
    changed = [parts() for _ in range(8)]
    changed[1]["frames"][1, 3, 5, 4] += 1
    changed[2]["flow"][0, 2, 1, 1] = np.nextafter(changed[2]["flow"][0, 2, 1, 1], np.float32(99))
    changed[3]["valid"][1, 0, 0] ^= True
    changed[4]["windows"][1] = Window(0, 4, 4, 6)
    changed[5]["ids"][0] = "0000003"
    changed[6]["ids"].reverse()
    changed[7]["windows"].reverse()
    found = [content_digest(**part) for part in changed]
    assert len(set(found)) == len(found)
    assert content_digest(**parts()) == found[0]


def test_a_training_digest_changes_with_every_part():
    ids, windows, files = ["1", "2"], [Window(1, 2, 4, 6), Window(0, 3, 4, 6)], ["aa", "bb"]
    found = [
        identity_digest(ids, windows, files),
        identity_digest(["1", "3"], windows, files),
        identity_digest(ids[::-1], windows, files),
        identity_digest(ids, windows[::-1], files),
        identity_digest(ids, [Window(1, 2, 4, 7), windows[1]], files),
        identity_digest(ids, windows, ["aa", "bc"]),
        identity_digest(ids, windows, files[::-1]),
    ]
    assert len(set(found)) == len(found)
    assert identity_digest(ids, windows, files) == found[0]


@pytest.mark.parametrize("role", ["train", "eval"])
@pytest.mark.parametrize("member", ["img_0.png", "img_1.png", "flow_01.flo"])
def test_a_batch_digest_changes_when_a_file_does(tmp_path, role, member):
    for number in (0, 1, 3):
        write_sample(tmp_path / "train", number)
    room, path = provider(tmp_path, role, batch_size=2), tmp_path / "train" / member_name(1, member)
    before = list(room.stream(2))
    if member.endswith("flo"):
        flow = np.frombuffer(path.read_bytes()[12:], "<f4") + np.float32(0.25)
        path.write_bytes(path.read_bytes()[:12] + flow.tobytes())
    else:
        assert cv2.imwrite(str(path), cv2.imread(str(path)) + np.uint8(1))
    for old, new in zip(before, room.stream(2), strict=True):
        assert (old.digest != new.digest) == ("0000001" in old.ids)
        assert (old.ids, old.windows) == (new.ids, new.windows)


def test_an_evaluation_digest_tells_what_was_served_and_a_training_digest_what_was_read(tmp_path):
    write_sample(tmp_path / "train", 1)
    rooms = [provider(tmp_path, role, random_crop=False) for role in ("eval", "train")]
    before = [room.batch(1, 0) for room in rooms]
    path = tmp_path / "train" / member_name(1, "img_0.png")
    image = cv2.imread(str(path))
    image[0, 0] += 1  # outside the centre crop
    assert cv2.imwrite(str(path), image)
    changed = [
        room.batch(1, 0).digest != old.digest for room, old in zip(rooms, before, strict=True)
    ]
    assert changed == [False, True]
    served = before[0]
    arrays = (served.frames, served.flow, served.valid)
    assert served.digest == content_digest(served.ids, served.windows, *arrays)


def test_the_digest_of_a_sequence_depends_on_its_order(coded):
    batches = list(provider(coded).stream(1))
    joined = [join_digests(batches), join_digests(batches[::-1]), join_digests(batches[:-1])]
    assert len(set(joined)) == 3
    assert join_digests(list(provider(coded).stream(1))) == joined[0]


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_absent_split_is_named(tmp_path, split):
    with pytest.raises(
        FileNotFoundError, match=f"no such folder: {re.escape(str(tmp_path))}/{split}"
    ):
        opened(tmp_path, split, "eval")
