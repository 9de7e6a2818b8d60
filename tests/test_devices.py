"""What is opened for reading is a file, whatever has its name."""

import os
import socket

import pytest

from harness.devices import SpecialFileError, open_regular, read_regular


def make(kind, path):
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "a socket"])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "by a link"])
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path, kind, linked):
    path = tmp_path / "0000004-img_0.png"
    make(kind, path)
    if linked:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    with pytest.raises(SpecialFileError) as caught:
        read_regular(path)
    assert str(caught.value) == f"{path}: is {kind}, expected a file"


def test_a_name_that_became_a_pipe_meanwhile_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    before = (tmp_path / "file").stat()
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    monkeypatch.setattr("pathlib.Path.stat", lambda *_: before)
    with pytest.raises(SpecialFileError, match="is a pipe"):
        open_regular(tmp_path / "file")


def test_a_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == b"content"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent")


def test_a_disk_that_fails_while_it_is_read_is_told_with_the_file(tmp_path):
    (tmp_path / "0000004-img_0.png").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=r"Input/output error.*0000004-img_0\.png"):
        read_regular(tmp_path / "0000004-img_0.png")
