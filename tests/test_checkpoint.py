import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.digest import digest_arrays
from harness.training.checkpoint import (
    CheckpointError,
    CheckpointStore,
    load_checkpoint,
    state_digest,
)
from tests.checkpoints import ARRAYS, META, names, progress, save


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def store(folder):
    return CheckpointStore(folder)


def test_what_was_saved_is_loaded_bit_by_bit(store, folder):
    digest = store.save("epoch-0001", ARRAYS, progress(1, best=2.5), META)
    loaded = store.load("last")
    assert loaded.digest == digest == state_digest(ARRAYS, progress(1, best=2.5))
    assert digest_arrays(loaded.arrays) == digest_arrays(ARRAYS)
    assert (loaded.progress, loaded.meta) == (progress(1, best=2.5), META)
    assert loaded.path == folder / "epoch-0001"
    assert load_checkpoint(folder / "epoch-0001").digest == digest
    assert store.load(str(folder / "epoch-0001")).digest == digest


CHANGES = {
    "a value": lambda arrays, counters: arrays.update({"E0/gamma": np.float32([1, 1, 1, 2])}),
    "a shape": lambda arrays, counters: arrays.update({"E0/gamma": np.ones((4, 1), np.float32)}),
    "a surplus array": lambda arrays, counters: arrays.update({"E0/beta": np.zeros(4)}),
    "an absent array": lambda arrays, counters: arrays.pop("E0/gamma"),
    "a counter": lambda arrays, counters: counters.update(epoch=2),
    "the best metric": lambda arrays, counters: counters.update(best_metric=1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_covers_every_array_and_counter(change):
    arrays, counters = dict(ARRAYS), progress(1)
    CHANGES[change](arrays, counters)
    assert state_digest(arrays, counters) != state_digest(ARRAYS, progress(1))


def test_the_digest_leaves_out_the_wall_clock_row():
    timed = progress(1) | {"row": {"eval_seconds": 3.25}}
    assert state_digest(ARRAYS, timed) == state_digest(ARRAYS, progress(1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "checkpoints"
    digest = CheckpointStore(folder).save("epoch-0001", ARRAYS, progress(1), META)
    return folder / "epoch-0001", (folder / "epoch-0001" / "arrays.npz").read_bytes(), digest


def digest_or_error(path):
    try:
        return load_checkpoint(path).digest
    except CheckpointError as error:
        return str(error)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_flipped_byte_of_the_arrays_is_named_or_changes_nothing(whole, data):
    path, content, digest = whole
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= data.draw(st.integers(1, 255))
    (path / "arrays.npz").write_bytes(flipped)
    found = digest_or_error(path)
    (path / "arrays.npz").write_bytes(content)
    assert found == digest or str(path) in found


def test_a_flipped_byte_within_an_array_is_an_error(whole):
    path, content, _ = whole
    place = content.index(ARRAYS["EB0/deep1/conv1/kernel"].tobytes()) + 8
    (path / "arrays.npz").write_bytes(
        content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    )
    with pytest.raises(CheckpointError, match=re.escape(f"{path / 'arrays.npz'}: not readable")):
        load_checkpoint(path)
    (path / "arrays.npz").write_bytes(content)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_was_exchanged_is_named(store, folder, name):
    store.save("epoch-0001", ARRAYS, progress(1), META)
    swapped = ARRAYS | {name: np.asarray(ARRAYS[name] + np.float32(1))}
    np.savez(folder / "epoch-0001" / "arrays.npz", **swapped)
    with pytest.raises(CheckpointError, match=f"{name} is damaged: expected digest [0-9a-f]{{32}}"):
        store.load("last")


@pytest.mark.parametrize("change", ["absent", "surplus"])
def test_an_absent_or_surplus_array_is_named(store, folder, change):
    store.save("epoch-0001", ARRAYS, progress(1), META)
    arrays = {name: array for name, array in ARRAYS.items() if name != "E0/gamma"}
    if change == "surplus":
        arrays = ARRAYS | {"E0/beta": np.zeros(4)}
    np.savez(folder / "epoch-0001" / "arrays.npz", **arrays)
    odd = "E0/gamma" if change == "absent" else "E0/beta"
    with pytest.raises(CheckpointError, match=f"epoch-0001: arrays and manifest disagree on {odd}"):
        store.load("last")


def edit(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"progress": progress(2)}, "epoch-0001: counters are damaged: expected digest"),
        ({"progress": progress(1, best=9.0)}, "epoch-0001: counters are damaged"),
        ({"digest": "0" * 32}, f"counters are damaged: expected digest {'0' * 32}"),
        ({"format": 2}, "manifest.json: expected checkpoint format 1, found 2"),
        ({"format": None}, "manifest.json: expected checkpoint format 1, found None"),
    ],
)
def test_an_edited_manifest_is_an_error_that_says_what(store, folder, changes, message):
    save(store, 1)
    edit(folder / "epoch-0001", **changes)
    with pytest.raises(CheckpointError, match=message):
        store.load("last")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1, "dig', r"manifest.json: damaged: "),
        ("", r"manifest.json: damaged: "),
        ("[1, 2]", "manifest.json: expected checkpoint format 1, found 'list'"),
    ],
)
def test_a_manifest_that_is_no_manifest_is_an_error(store, folder, text, message):
    save(store, 1)
    (folder / "epoch-0001" / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        store.load("last")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("arrays.npz", r"arrays\.npz: not readable"),
        ("manifest.json", r"epoch-0001: no checkpoint here \(no manifest\.json\)"),
    ],
)
def test_a_removed_file_is_named(store, folder, file, message):
    save(store, 1)
    (folder / "epoch-0001" / file).unlink()
    with pytest.raises(CheckpointError, match=message):
        store.load("last")


@pytest.mark.parametrize("pointer", ["best", "last"])
def test_a_missing_pointer_is_an_error_that_names_it(store, folder, pointer):
    with pytest.raises(CheckpointError, match=f"checkpoints/{pointer}: no such checkpoint pointer"):
        store.load(pointer)


def test_a_damaged_last_checkpoint_is_never_replaced_by_an_older_one(store, folder):
    save(store, 1, best=True)
    save(store, 2)
    shutil.rmtree(folder / "epoch-0002")
    with pytest.raises(CheckpointError, match="epoch-0002: no checkpoint here"):
        store.load("last")
    assert store.load("best").progress["epoch"] == 1


def test_a_damaged_checkpoint_is_named_with_what_else_is_there(store, folder):
    save(store, 1, best=True)
    save(store, 2)
    (folder / "epoch-0002" / "arrays.npz").write_bytes(b"")
    message = (
        r"epoch-0002/arrays\.npz: not readable: .*\. Others are there: epoch-0001; to use one of "
        "them, write its name into .*checkpoints/last"
    )
    with pytest.raises(CheckpointError, match=message):
        store.load("last")
    (folder / "last").write_text("epoch-0001\n")
    assert store.load("last").progress["epoch"] == 1


@pytest.mark.parametrize("content", ["epoch-0001/\n", "  epoch-0001", "epoch-0001"])
def test_a_pointer_may_be_written_by_hand(store, folder, content):
    save(store, 1, best=True)
    (folder / "best").write_text(content)
    (folder / ".last.swp").touch()
    save(store, 2)
    assert store.load("best").progress["epoch"] == 1
    assert ".last.swp" in names(folder)


@pytest.mark.parametrize("content", [b"", b"\xff", b"best", b"../other", b"{'a': 1}\n" * 99])
def test_a_pointer_that_names_nothing_is_named(store, folder, content):
    save(store, 1)
    (folder / "last").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoints/last: expected the name|no checkpoint"):
        store.load("last")


def test_a_run_a_pointer_and_a_folder_name_the_same_checkpoint(store, folder):
    save(store, 1)
    found = {store.resolve(str(path)) for path in (folder.parent, folder / "last", "last")}
    assert found == {folder / "epoch-0001"}


def test_a_counter_that_is_not_finite_is_refused_before_anything_is_written(store, folder):
    with pytest.raises(ValueError, match="Out of range float values"):
        store.save("epoch-0001", ARRAYS, progress(1, best=np.inf), META)
    assert not folder.exists()
