"""A batch's digest changes with whatever was served, or read, and with nothing else."""

import cv2
import numpy as np
import pytest

from harness.fc2.batch import content_digest, identity_digest, join_digests
from harness.fc2.crop import Window
from harness.fc2.layout import member_name
from tests.coded_samples import COUNT, provider, write_sample


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    root = tmp_path_factory.mktemp("coded")
    for number in range(COUNT):
        write_sample(root / "train", number)
    return root


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
