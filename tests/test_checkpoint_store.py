"""Which checkpoints a store keeps, and what a kill or a full disk leaves of them."""

import contextlib
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from harness.training.checkpoint import CheckpointError, CheckpointStore, load_checkpoint
from tests.checkpoints import ARRAYS, META, names, progress, save
from tests.dying import Killed, dead_at
from tests.full_disks import full_after, small_device


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def store(folder):
    return CheckpointStore(folder)


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


LEAST = {"mkdir": 2, "open": 10, "fsync": 8, "rename": 2, "replace": 2, "unlink": 3, "rmdir": 2}
"""Calls of each kind that a save makes, at the least."""


def saved_at_every_kill(store, folder):
    """Kill a save in each call of a kind in turn, until one is whole; then in those of the next.

    By kind, because the order within a folder that is removed is the file system's own.
    """
    epochs = itertools.count(3)
    for kind in LEAST:
        for number, epoch in zip(itertools.count(), epochs, strict=False):
            whole = False
            with dead_at(number, (kind,), folder.parent), contextlib.suppress(Killed):
                save(store, epoch, best=True)
                whole = True
            yield (None if whole else kind), epoch
            if whole:
                break


def test_a_kill_at_any_call_of_a_save_leaves_a_whole_checkpoint(store, folder):
    save(store, 1)
    save(store, 2, best=True)
    killed, whole = [], 2
    for kind, epoch in saved_at_every_kill(store, folder):
        found = {pointer: store.load(pointer).progress["epoch"] for pointer in ("best", "last")}
        assert set(found.values()) <= {*range(whole, epoch + 1)}
        for left in store.names():
            assert load_checkpoint(folder / left).path == folder / left
        if kind is None:
            assert found == {"best": epoch, "last": epoch}
            assert names(folder) == ["best", f"epoch-{epoch:04d}", "last"]
            whole = epoch
        killed.append(kind)
    assert {kind: killed.count(kind) >= least for kind, least in LEAST.items()} == dict.fromkeys(
        LEAST, True
    )


def test_what_a_killed_save_of_an_earlier_version_left_is_removed(store, folder):
    save(store, 1)
    for left in (".epoch-0002.4711", ".epoch-0002.gone"):
        (folder / left).mkdir()
        (folder / left / "arrays.npz").write_bytes(b"half")
    (folder / ".last.4711").write_text("epoch-00")
    save(store, 2)
    assert names(folder) == ["epoch-0002", "last"]


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
    with small_device(tmp_path, 24) as mounted:
        store = CheckpointStore(mounted / "checkpoints", keep_all=True)
        save(store, 1, best=True)
        with pytest.raises(CheckpointError, match="No space left on device"):
            [save(store, epoch, best=True) for epoch in range(2, 30)]
        assert store.load("best").digest == store.load("last").digest
        assert all(load_checkpoint(mounted / "checkpoints" / name) for name in store.names())


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


def test_a_link_to_a_pointer_names_what_the_pointer_does_and_other_files_name_nothing(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save("mine", {"w": np.zeros(3, np.float32)}, {"epoch": 1}, {})
    (tmp_path / "link").symlink_to("checkpoints/last")
    assert store.load(str(tmp_path / "link")).path.name == "mine"
    manifest = tmp_path / "checkpoints" / "mine" / "manifest.json"
    with pytest.raises(CheckpointError, match="expected the name of a checkpoint beside it"):
        store.load(str(manifest))
