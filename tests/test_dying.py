"""What the tests of kills count: the calls of what is tested, and of nothing beside it."""

import gc
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from harness.whole import write_text
from tests import dying


class Cycle:
    """Reached by itself alone, so that only the garbage collector ends it."""

    def __init__(self, folder: Path) -> None:
        self.itself = self
        weakref.finalize(self, shutil.rmtree, folder)


def written(tmp_path: Path, *, beside: bool) -> list[str]:
    """Return the calls of one write, in the middle of which an earlier test's folder may go."""
    target = tmp_path / ("beside" if beside else "straight") / "t"
    target.parent.mkdir()
    gone = tmp_path / "earlier"
    (gone / "deep").mkdir(parents=True)
    Cycle(gone)
    try:
        with dying.interfering(target.parent, lambda *_: collected(beside)) as made:
            write_text(target, "content")
        assert gone.exists() is not beside
        return made
    finally:
        gc.collect()


def collected(wanted: bool) -> None:
    if wanted:
        gc.collect()


@pytest.mark.slow
def test_what_the_garbage_collector_removes_elsewhere_is_not_counted(tmp_path: Path) -> None:
    straight = written(tmp_path, beside=False)
    assert {"open", "fsync", "replace"} <= set(straight)
    assert written(tmp_path, beside=True) == straight


@pytest.mark.parametrize("folder", ["here", "elsewhere"])
def test_calls_by_a_descriptor_of_a_folder_are_of_that_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / folder
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_bytes(b"1")
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    with dying.interfering(tmp_path / "here", lambda *_: None) as made:
        shutil.rmtree(tree)
        with open(os.devnull, "rb"):  # noqa: PTH123 -- its mode is no name in the current folder
            pass
    expected: Any = {"rmdir", "unlink"} if folder == "here" else set()
    assert set(made) - {"open"} == expected
