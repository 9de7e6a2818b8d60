import contextlib
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path

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
from tests.dying import Killed, dying_at

ARRAYS = {
    "EB0/deep1/conv1/kernel": np.random.default_rng(2).normal(size=(3, 3, 4, 4)).astype("f4"),
    "E0/gamma": np.ones(4, np.float32),
    "adam/beta1_power": np.float32(0.9),
    "E0/moving_mean": np.float32([np.nan, -0.0, 1e-40, 3]),
}
META = {"config": {"runtime": {"seed": 7}}}


def progress(epoch, best=None):
    counts = [[3 * epoch] * 3] * 9
    return {"epoch": epoch, "step": 0, "best_metric": best, "counts": counts, "row": None}


def save(store, epoch, *, best=False):
    arrays = {name: np.asarray(array + epoch) for name, array in ARRAYS.items()}
    return store.save(f"epoch-{epoch:04d}", arrays, progress(epoch), META, best=best)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def store(folder):
    return CheckpointStore(folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
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


def test_last_follows_every_save_and_best_only_the_best(store, folder):
    for epoch, best in [(1, True), (2, False), (3, True), (4, False), (5, False)]:
        save(store, epoch, best=best)
    assert store.load("last").progress["epoch"] == 5
    assert store.load("best").progress["epoch"] == 3
    assert names(folder) == ["best", "epoch-0003", "epoch-0005", "last"]


def test_keep_all_keeps_every_checkpoint(folder):
    store = CheckpointStore(folder, keep_all=True)
    for epoch in (1, 2, 3):
        save(store, epoch, best=epoch == 1)
    assert names(folder) == ["best", "epoch-0001", "epoch-0002", "epoch-0003", "last"]
    assert load_checkpoint(folder / "epoch-0002").progress["epoch"] == 2


def test_leftovers_of_a_crashed_save_are_ignored_and_then_removed(store, folder):
    save(store, 1, best=True)
    stray = folder / ".epoch-0002.4711"
    stray.mkdir()
    (stray / "arrays.npz").write_bytes(b"half")
    assert store.load("last").progress["epoch"] == 1
    save(store, 2)
    assert names(folder) == ["best", "epoch-0001", "epoch-0002", "last"]


def saved_at_every_kill(store):
    """Kill a save in each call that concerns files in turn, until one is whole."""
    for call in itertools.count():
        with dying_at(call) as made, contextlib.suppress(Killed):
            save(store, 3 + call, best=True)
            return
        yield call, made[call]


def test_a_kill_at_any_call_of_a_save_leaves_a_whole_checkpoint(store, folder):
    save(store, 1)
    save(store, 2, best=True)
    killed = []
    for call, name in saved_at_every_kill(store):
        found = {pointer: store.load(pointer).progress["epoch"] for pointer in ("best", "last")}
        assert set(found.values()) <= {2, *range(3, 4 + call)}
        for left in store.names():
            assert load_checkpoint(folder / left).path == folder / left
        killed.append(name)
    least = {"mkdir": 2, "open": 10, "fsync": 8, "rename": 2, "replace": 2, "unlink": 3, "rmdir": 2}
    assert {name: killed.count(name) >= most for name, most in least.items()} == dict.fromkeys(
        least, True
    )
    last = store.load("last").progress["epoch"]
    assert (last, store.load("best").progress["epoch"]) == (3 + len(killed), 3 + len(killed))
    assert names(folder) == ["best", f"epoch-{last:04d}", "last"]


def test_what_a_killed_save_of_an_earlier_version_left_is_removed(store, folder):
    save(store, 1)
    for left in (".epoch-0002.4711", ".epoch-0002.gone"):
        (folder / left).mkdir()
        (folder / left / "arrays.npz").write_bytes(b"half")
    (folder / ".last.4711").write_text("epoch-00")
    save(store, 2)
    assert names(folder) == ["epoch-0002", "last"]


@contextlib.contextmanager
def full_after(size):
    """Let no file grow beyond `size` bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 1, 4, 64, 500, 1500])
def test_a_full_disk_is_named_and_leaves_the_last_good_checkpoint(store, folder, size):
    save(store, 1, best=True)
    before = names(folder)
    message = "epoch-0002: not saved: .*; the last one that was saved is epoch-0001"
    with full_after(size), pytest.raises(CheckpointError, match=message):
        save(store, 2, best=True)
    assert names(folder) == before
    assert store.load("last").progress["epoch"] == store.load("best").progress["epoch"] == 1
    save(store, 2, best=True)
    assert store.load("last").progress["epoch"] == 2


def test_a_device_without_space_is_named(tmp_path):
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "none", str(mounted)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        store = CheckpointStore(mounted / "checkpoints", keep_all=True)
        save(store, 1, best=True)
        with pytest.raises(CheckpointError, match="No space left on device"):
            [save(store, epoch, best=True) for epoch in range(2, 30)]
        assert store.load("best").digest == store.load("last").digest
        assert all(load_checkpoint(mounted / "checkpoints" / name) for name in store.names())
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_the_newest_checkpoints_are_kept_and_the_newest_of_an_epochs_end(folder):
    store = CheckpointStore(folder, keep_latest=3)
    for attempt, epoch, step in [(1, 0, 2), (1, 1, 0), (1, 1, 2), (1, 2, 0), (2, 1, 2), (2, 1, 3)]:
        counters = progress(epoch) | {"step": step}
        store.save(f"epoch-{epoch:04d}-step-{step:05d}-attempt-{attempt}", ARRAYS, counters, META,
                   best=epoch == 0)  # fmt: skip
    assert store.names() == [
        "epoch-0001-step-00003-attempt-2", "epoch-0001-step-00002-attempt-2",
        "epoch-0002-step-00000-attempt-1", "epoch-0001-step-00000-attempt-1",
        "epoch-0000-step-00002-attempt-1",
    ]  # fmt: skip
    assert store.newest_epoch_end() == "epoch-0001-step-00000-attempt-1"
    assert store.resolve("best").name == "epoch-0000-step-00002-attempt-1"


def test_what_the_store_did_not_make_stays(store, folder):
    folder.mkdir(parents=True)
    theirs = ["epoch-0001-mine", "notes", ".epoch-0003", "best of May"]
    for name in theirs:
        (folder / name).mkdir()
    save(store, 1)
    save(store, 2)
    assert set(theirs) <= set(names(folder))
    assert store.names() == ["epoch-0002"]


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


def test_a_kill_while_arrays_are_written_leaves_the_last_good_checkpoint(store, monkeypatch):
    save(store, 1, best=True)

    def half(file, **_kwargs):
        file.write(b"PK\x03\x04 half of it")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises(Killed):
            save(store, 2, best=True)
    assert store.load("last").progress["epoch"] == store.load("best").progress["epoch"] == 1


def test_everything_is_synced_before_a_pointer_names_it(store, folder, monkeypatch):
    events = []
    sync, replace, rename = os.fsync, Path.replace, Path.rename

    def named(fd):
        path = Path(f"/proc/self/fd/{fd}").resolve()
        aside = {".epoch": "aside", ".last.": "pointer aside"}.get(path.name[:6])
        return aside or path.name

    record = {
        "fsync": lambda fd: (events.append(("sync", named(fd))), sync(fd)),
        "rename": lambda path, to: (events.append(("rename", to.name)), rename(path, to)),
        "replace": lambda path, to: (events.append(("replace", to.name)), replace(path, to)),
    }
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", record["fsync"])
    monkeypatch.setattr(Path, "rename", record["rename"])
    monkeypatch.setattr(Path, "replace", record["replace"])
    save(store, 1)
    assert sorted(events[:2]) == [("sync", "arrays.npz"), ("sync", "manifest.json")]
    assert events[2:] == [
        ("sync", "content"), ("rename", "epoch-0001"), ("sync", "checkpoints"),
        ("sync", "pointer aside"), ("replace", "last"), ("sync", "checkpoints"),
    ]  # fmt: skip


def test_a_counter_that_is_not_finite_is_refused_before_anything_is_written(store, folder):
    with pytest.raises(ValueError, match="Out of range float values"):
        store.save("epoch-0001", ARRAYS, progress(1, best=np.inf), META)
    assert not folder.exists()
