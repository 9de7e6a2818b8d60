import random
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harness.fc2.crop import Window, center_window, cut, random_window
from harness.fc2.errors import SampleError
from harness.fc2.layout import list_triplets, member_name
from harness.fc2.order import batch_sizes, split_batches, train_order
from harness.fc2.provider import Provider
from tests.coded_samples import (
    COUNT,
    CROP,
    HEIGHT,
    UNKNOWN,
    WIDTH,
    digests,
    opened,
    provider,
    same,
    served,
    write_sample,
)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    root = tmp_path_factory.mktemp("coded")
    for number in range(COUNT):
        write_sample(root / "train", number)
        write_sample(root / "val", number)
    return root


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


@pytest.mark.parametrize(
    ("role", "keys"), [("train", "data.input_height and input_width"), ("eval", "eval.crop")]
)
def test_a_frame_smaller_than_the_crop_is_named(tmp_path, role, keys):
    write_sample(tmp_path / "train", 0)
    write_sample(tmp_path / "train", 4, height=CROP[0] - 1)
    wanted = (
        rf"0000004-img_0\.png: expected a frame of at least 10 x 16, found one of 9 x 37 .*{keys}"
    )
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


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_absent_split_is_named(tmp_path, split):
    with pytest.raises(
        FileNotFoundError, match=f"no such folder: {re.escape(str(tmp_path))}/{split}"
    ):
        opened(tmp_path, split, "eval")
