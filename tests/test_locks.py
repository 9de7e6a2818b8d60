"""One process at a time, on a file system without locks too; and one that does not sync."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness import asides
from harness.errors import InputError
from harness.evaluation.journal import FileJournal
from harness.locks import only_process
from harness.runs.run_directory import _locked
from harness.whole import NotWrittenError, write_text
from tests.checkpoints import names, save

HOLDING = """
import errno, fcntl, sys, time
from pathlib import Path
from harness.locks import only_process

def refused(*_):
    raise OSError({code}, "No locks available")

fcntl.flock = refused
path = Path(sys.argv[1])
with path.open("a") as file, only_process(file, path, "busy"):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def code(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the file system have no locks, and return what flock(2) then answers."""
    number: int = request.param

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    return number


@contextmanager
def another(path: Path, code: int) -> Iterator[Any]:
    """Let another process hold it."""
    command = [sys.executable, "-c", HOLDING.replace("{code}", str(code)), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_where_locks_are_none_a_living_owner_is_named_and_a_dead_ones_is_taken_over(
    code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock, owner = tmp_path / ".lock", tmp_path / ".lock.owner"
    with another(lock, code) as process:
        with pytest.raises(InputError) as caught, _locked(tmp_path, new=False):
            pass
        text = str(caught.value)
        assert text.startswith(f"{tmp_path}: another process trains there; wait for it or end it")
        assert f"({owner} names its owner, process {process.pid} on {os.uname().nodename}" in text
        assert text.endswith("has no flock; if that process has ended, remove the file)")
    assert owner.exists(), "as a kill leaves it"
    with _locked(tmp_path, new=False):
        assert owner.read_text().split("\n")[0] == str(os.getpid())
        assert "this file system has no flock; .lock.owner keeps others" in capsys.readouterr().err
    assert not owner.exists()


def test_an_owner_on_another_host_is_named_and_never_taken_over(code: int, tmp_path: Path) -> None:
    owner = tmp_path / ".lock.owner"
    owner.write_text(f"{2**22 - 1}\nanother-host\n77\n")
    with pytest.raises(InputError, match=f"process {2**22 - 1} on another-host"):
        _locked(tmp_path, new=False).__enter__()
    owner.unlink()
    with _locked(tmp_path, new=False):
        pass


def test_an_owner_whose_number_another_process_has_now_is_taken_over(
    code: int, tmp_path: Path
) -> None:
    owner = tmp_path / ".lock.owner"
    with _locked(tmp_path, new=False):
        mine = owner.read_text()
    parent, own = (str(number()) for number in (os.getppid, os.getpid))
    assert mine.startswith(f"{own}\n")
    owner.write_text(mine.replace(own, parent, 1))  # which started at another time
    with _locked(tmp_path, new=False):
        assert owner.read_text() == mine


def test_scores_are_written_by_one_process_without_locks_too(code: int, tmp_path: Path) -> None:
    path = tmp_path / "a.scores.jsonl"
    with (
        another(path, code),
        pytest.raises(InputError, match=r"a\.scores\.jsonl: another process evaluates into it \("),
    ):
        FileJournal(path, {"scores": 2})
    with FileJournal(path, {"scores": 2}):
        assert (tmp_path / "a.scores.jsonl.owner").exists()
    assert names(tmp_path) == ["a.scores.jsonl"]


def test_where_locks_are_no_file_names_an_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _locked(tmp_path, new=False):
        assert names(tmp_path) == [".lock"]
        with pytest.raises(InputError, match=r"wait for it or end it first$"):
            _locked(tmp_path, new=False).__enter__()
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "x")))
    with (tmp_path / "f").open("w") as file, pytest.raises(OSError, match="x"):
        only_process(file, tmp_path / "f", "busy").__enter__()


# ---- a file system that does not sync


def unsynced(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refused)
    monkeypatch.setattr(asides, "_TOLD", set())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_does_not_sync_is_said_once_and_takes_checkpoints(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.training.checkpoint import CheckpointStore

    unsynced(monkeypatch, number)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    for epoch in (1, 2):
        save(store, epoch, best=True)
    assert store.load("last").progress["epoch"] == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"note: {tmp_path}")
    assert told.endswith(f"synced to disk here ({os.strerror(number)}): a power cut may lose it")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_or_failing_disk_is_an_error_wherever_it_shows(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsynced(monkeypatch, number)
    with pytest.raises(NotWrittenError):
        write_text(tmp_path / "t", "1")
    assert names(tmp_path) == []
