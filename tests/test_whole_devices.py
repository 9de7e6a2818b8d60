"""What is written to and is no file: standard output, a pipe, a device, a link."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from harness.whole import NotWrittenError, list_entries, remove_old, write_bytes
from tests.dying import device
from tests.whole_trees import NEW, OLD, write_tree


def through(tmp_path, target, stdout):
    code = (
        "import sys; from pathlib import Path; from harness.whole import write_text\n"
        "print('before', flush=True); write_text(Path(sys.argv[1]), 'text\\n')\n"
        "print('after', flush=True)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, target], stdout=stdout, check=True, text=True, cwd=tmp_path
    ).stdout


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_is_written_to_whatever_it_is(name, tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    assert through(tmp_path, name, subprocess.PIPE) == "before\ntext\nafter\n"
    with (tmp_path / "log").open("w") as log:
        through(tmp_path, name, log)
    assert (tmp_path / "log").read_text() == "before\ntext\nafter\n"
    assert list_entries(tmp_path) == ["link", "log"]


def test_a_pipe_takes_what_is_written_and_the_null_device_too(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_bytes(tmp_path / "pipe", NEW)
    reader.join()
    (tmp_path / "dev").mkdir()
    write_bytes(device(tmp_path / "dev", "null"), NEW)
    assert found == [NEW]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR((tmp_path / "dev" / "null").stat().st_mode)
    assert list_entries(tmp_path) == ["dev", "pipe"]
    with pytest.raises(NotWrittenError, match="dev/full: not written: No space left on device"):
        write_bytes(device(tmp_path / "dev", "full"), NEW)


def test_what_no_longer_holds_is_removed_and_what_is_no_file_stays(tmp_path):
    (tmp_path / "link").symlink_to("t")
    (tmp_path / "device").symlink_to(device(tmp_path, "null"))
    write_bytes(tmp_path / "t", OLD)
    for name in ("link", "t", "absent", "device", "null"):
        remove_old(tmp_path / name)
    assert list_entries(tmp_path) == ["device", "link", "null"]
    assert stat.S_ISCHR((tmp_path / "device").stat().st_mode)
    with pytest.raises(NotWrittenError, match="there is no folder"):
        remove_old(tmp_path / "no" / "t")


def test_a_link_that_looks_like_an_aside_leads_nowhere(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "lock").write_bytes(b"")
    (tmp_path / "mine" / "content").mkdir()
    for name in ("t", "f"):
        (tmp_path / f".{name}.{'0' * 16}.part").symlink_to("mine")
    write_bytes(tmp_path / "t", NEW)
    write_tree(tmp_path / "f")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["content", "lock"]
