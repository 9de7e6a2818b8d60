import json
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.fc2.batch import Batch, content_digest
from harness.fc2.crop import Window
from harness.fc2.frozen import FrozenBatches, FrozenError, read_frozen, write_frozen

ARRAYS = [f"{key}/{name}" for key in ("eval/00000", "eval/00001", "recal/00000")
          for name in ("frames", "flow", "valid")]  # fmt: skip


def batch(seed, size, flow_clip=None):
    rng = np.random.default_rng(seed)
    ids = tuple(f"part/{seed:03d}{i:04d}" for i in range(size))
    windows = tuple(Window(seed, i, 3, 5) for i in range(size))
    frames = rng.integers(0, 256, (size, 3, 5, 6)).astype(np.uint8)
    flow = rng.normal(0, 9, (size, 3, 5, 2)).astype(np.float32)
    valid = rng.random((size, 3, 5)) < 0.8
    digest = content_digest(ids, windows, frames, flow, valid)
    return Batch(ids, windows, frames, flow, valid, flow_clip, digest)


def frozen():
    return FrozenBatches((batch(1, 2), batch(2, 1)), (batch(3, 2, flow_clip=50.0),))


def same(one, two):
    plain = ("ids", "windows", "flow_clip", "digest")
    arrays = [(getattr(one, n), getattr(two, n)) for n in ("frames", "flow", "valid")]
    return all(getattr(one, n) == getattr(two, n) for n in plain) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays
    )


def equal(one, two):
    pairs = [(one.eval_batches, two.eval_batches), (one.recal_batches, two.recal_batches)]
    return all(len(a) == len(b) and all(map(same, a, b)) for a, b in pairs)


@pytest.fixture
def path(tmp_path):
    write_frozen(tmp_path / "frozen.npz", frozen())
    return tmp_path / "frozen.npz"


def rewrite(path, change):
    """Replace the archive by a well-formed one with changed content."""
    with np.load(path) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    header = json.loads(arrays["header"].tobytes())
    change(arrays, header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def test_frozen_batches_read_back_equal(path):
    read = read_frozen(path)
    assert equal(read, frozen())
    assert [b.size for b in read.eval_batches + read.recal_batches] == [2, 1, 2]
    assert [b.flow_clip for b in read.eval_batches + read.recal_batches] == [None, None, 50.0]


def test_batches_read_back_are_read_only(path):
    with pytest.raises(ValueError, match="read-only"):
        read_frozen(path).eval_batches[0].flow[0] = 0


def test_no_batches_at_all_read_back(tmp_path):
    write_frozen(tmp_path / "none.npz", FrozenBatches((), (batch(3, 1),)))
    assert equal(read_frozen(tmp_path / "none.npz"), FrozenBatches((), (batch(3, 1),)))


def test_the_same_batches_give_the_same_bytes_on_another_day(path, tmp_path, monkeypatch):
    later = time.localtime(time.time() + 86_400 * 400)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    monkeypatch.setattr(time, "time", lambda: time.mktime(later))
    write_frozen(tmp_path / "again.npz", frozen())
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_other_batches_give_other_bytes(path, tmp_path):
    write_frozen(tmp_path / "other.npz", FrozenBatches((batch(1, 2),), (batch(3, 2),)))
    assert (tmp_path / "other.npz").read_bytes() != path.read_bytes()


def test_the_archive_holds_the_arrays_beside_its_header_and_nothing_else(path):
    with np.load(path) as archive:
        assert sorted(n for n in archive.files if not n.startswith("header")) == sorted(ARRAYS)
        assert "header" in archive.files


@pytest.mark.parametrize("name", ARRAYS)
def test_a_changed_array_is_detected_and_its_batch_named(path, name):
    def change(arrays, _):
        value = arrays[name].reshape(-1)[4:5]
        value[:] = ~value if value.dtype == bool else value + 1

    rewrite(path, change)
    key = name.rpartition("/")[0]
    wanted = rf"^{re.escape(str(path))}: batch {key}: expected digest \w{{32}}, found \w{{32}}$"
    with pytest.raises(FrozenError, match=wanted):
        read_frozen(path)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_absent_array_is_detected_and_named(path, name):
    rewrite(path, lambda arrays, _: arrays.pop(name))
    with pytest.raises(FrozenError, match=rf"{re.escape(str(path))}: .*{name}"):
        read_frozen(path)


def drop_last(header):
    header["eval"].pop()


def other_id(header):
    header["eval"][1]["ids"][0] = "0000009"


def other_window(header):
    header["eval"][1]["windows"][0][1] += 1


def other_clip(header):
    header["eval"][1]["flow_clip"] = 50.0


def swapped(header):
    header["eval"].reverse()


@pytest.mark.parametrize("change", [drop_last, other_id, other_window, other_clip, swapped])
def test_a_changed_header_is_detected(path, change):
    rewrite(path, lambda _, header: change(header))
    with pytest.raises(FrozenError, match=re.escape(str(path))):
        read_frozen(path)


@given(st.data())
@settings(max_examples=150)
def test_a_flipped_byte_is_detected_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "frozen.npz"
    write_frozen(path, frozen())
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    try:
        read = read_frozen(path)
    except FrozenError:
        return
    assert equal(read, frozen())


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_artifact_is_named(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    wanted = f"^{re.escape(str(path))}: not readable as frozen batches: "
    with pytest.raises(FrozenError, match=wanted):
        read_frozen(path)


def test_an_artifact_is_never_overwritten(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"frozen\.npz"):
        write_frozen(path, FrozenBatches((batch(9, 1),), ()))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not an archive", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_a_file_that_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "odd.npz").write_bytes(content)
    with pytest.raises(FrozenError, match=r"odd\.npz: not readable as frozen batches: "):
        read_frozen(tmp_path / "odd.npz")


def test_an_archive_of_something_else_is_named(tmp_path):
    np.savez(tmp_path / "odd.npz", weights=np.zeros(3))
    with pytest.raises(FrozenError, match=r"odd\.npz: not readable as frozen batches: .*header"):
        read_frozen(tmp_path / "odd.npz")


def test_a_single_array_is_named(tmp_path):
    np.save(tmp_path / "odd.npy", np.zeros(3))
    with pytest.raises(FrozenError, match=r"odd\.npy: not readable as frozen batches: "):
        read_frozen(tmp_path / "odd.npy")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FrozenError, match=r"absent\.npz: not readable as frozen batches: "):
        read_frozen(tmp_path / "absent.npz")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused_by_number(path, version):
    rewrite(path, lambda _, header: header.update(format=version))
    wanted = rf"frozen\.npz: expected frozen format 1, found {version!r}$"
    with pytest.raises(FrozenError, match=wanted):
        read_frozen(path)
