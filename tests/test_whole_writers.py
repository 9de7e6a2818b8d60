"""Several writers of one name: nobody's half is seen, and what is in use stays."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.asides import clear_asides, is_aside
from harness.whole import check_target, list_entries, whole_file, whole_folder, write_bytes
from tests.whole_trees import NEW, OLD, TREE, contents, whole, write_tree


def test_an_aside_in_use_stays_whoever_else_writes(tmp_path):
    with whole_file(tmp_path / "t") as slow, whole_folder(tmp_path / "f") as folder:
        slow.write(b"slow")
        (folder / "a").write_bytes(b"1")
        write_bytes(tmp_path / "t", NEW)
        with whole_folder(tmp_path / "f") as other:
            (other / "b").write_bytes(b"2")
        assert whole(tmp_path) == {"t": NEW, "f/b": b"2"}
    assert contents(tmp_path) == {"t": b"slow", "f/a": b"1", "f/b": b"2"}


HOLDING = """
import sys, time
from pathlib import Path
from harness.whole import whole_file, whole_folder
with whole_file(Path(sys.argv[1], "t")) as file, whole_folder(Path(sys.argv[1], "f")) as folder:
    file.write(b"half"); file.flush(); (folder / "a").write_bytes(b"half")
    print("writing", flush=True); time.sleep(100)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], stdout=subprocess.PIPE) as one:
        assert one.stdout.readline() == b"writing\n"
        write_bytes(tmp_path / "t", OLD)
        write_tree(tmp_path / "f")
        halves = [c for n, c in contents(tmp_path).items() if c == b"half"]
        assert len(halves) == 2
        one.kill()
    clear_asides(tmp_path, {"another": True}.get)
    assert contents(tmp_path) != whole(tmp_path), "asides of other names stay"
    write_bytes(tmp_path / "t", NEW)
    write_tree(tmp_path / "f")
    assert contents(tmp_path) == {"t": NEW} | {f"f/{n}": c for n, c in TREE.items()}


WRITING = """
import sys
from pathlib import Path
from harness.whole import whole_folder, write_bytes
folder, letter = Path(sys.argv[1]), sys.argv[2].encode()
for number in range(60):
    write_bytes(folder / "t", letter * 20_000)
    with whole_folder(folder / "f" / str(number)) as aside:
        (aside / "a").write_bytes(b"same" * 99)
"""


def test_processes_and_threads_that_write_one_name_leave_it_whole_at_any_time(tmp_path):
    code = [sys.executable, "-c", WRITING, str(tmp_path)]
    processes = [subprocess.Popen([*code, letter]) for letter in "ab"]
    threads = [
        threading.Thread(
            target=lambda c=c: [write_bytes(tmp_path / "t", c * 20_000) for _ in range(60)]
        )
        for c in (b"c", b"d")
    ]
    for thread in threads:
        thread.start()
    seen = set()
    while any(process.poll() is None for process in processes):
        with contextlib.suppress(FileNotFoundError):
            found = (tmp_path / "t").read_bytes()
            seen.add((len(found), len(set(found))))
    for thread in threads:
        thread.join()
    assert [process.returncode for process in processes] == [0, 0]
    assert seen == {(20_000, 1)}
    assert list_entries(tmp_path) == sorted(path.name for path in tmp_path.iterdir()) == ["f", "t"]
    assert set(contents(tmp_path / "f").values()) == {b"same" * 99}
    assert len(contents(tmp_path / "f")) == 60


@pytest.mark.parametrize("taken", ["before it is locked", "as it is locked", "its folder"])
def test_an_aside_that_is_cleared_away_before_it_is_locked_is_made_again(
    taken, tmp_path, monkeypatch
):
    times, opened, lock = [], os.open, fcntl.flock

    def cleared(aside):
        for path in [*aside.rglob("*"), aside] if aside.is_dir() else [aside]:
            path.rmdir() if path.is_dir() else path.unlink()

    def flock(descriptor, operation):
        times.append(descriptor)
        if len(times) == 1:
            if taken == "as it is locked":
                raise BlockingIOError
            cleared(next(path for path in tmp_path.iterdir() if is_aside(path.name)))
        lock(descriptor, operation)

    def opening(path, flags, *mode):
        times.append(path)
        if len(times) == 1:
            cleared(Path(path).parent)
        return opened(path, flags, *mode)

    for write, name in ((lambda p: write_bytes(p, NEW), "t"), (write_tree, "f")):
        times.clear()
        with monkeypatch.context() as patch:
            if taken != "its folder":
                patch.setattr(fcntl, "flock", flock)
            elif name == "f":
                patch.setattr(os, "open", opening)
            write(tmp_path / name)
    assert whole(tmp_path) == {"t": NEW} | {f"f/{n}": c for n, c in TREE.items()}


def test_without_locks_what_is_aside_is_let_be(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with whole_file(tmp_path / "t") as file:
        file.write(b"slow")
        write_bytes(tmp_path / "t", NEW)
    assert contents(tmp_path) == {"t": b"slow"}


def test_a_file_that_another_process_removes_meanwhile_is_not_protected(tmp_path, monkeypatch):
    path, access = tmp_path / "result", os.access
    path.write_text("old")

    def removed_before(file, mode):
        path.unlink(missing_ok=True)
        return access(file, mode)

    monkeypatch.setattr(os, "access", removed_before)
    check_target(path)
