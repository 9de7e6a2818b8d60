"""Archives of arrays: names before data, sizes before memory."""

import os

import numpy as np
import pytest

from harness.archives import ArchiveError, OtherNamesError, open_archive
from tests.hostile_archives import ARRAYS, archive, one_body_for_many
from tests.limited import in_child


@pytest.mark.parametrize("what", ["refuse_lying_archives", "refuse_lying_frozen",
                                  "say_out_of_memory"])  # fmt: skip
def test_an_archive_takes_no_more_memory_than_its_file_can_fill(tmp_path, what):
    in_child(f"tests.hostile_archives:{what}", tmp_path)


SHAPES = [
    np.float32(2.5), np.zeros((0, 3)), np.arange(24).reshape(2, 3, 4),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.array([True, False]),
    np.arange(3, dtype=">i4"), np.array([1 + 2j]), np.arange(70_000, dtype=np.uint8),
]  # fmt: skip


def test_arrays_of_every_kind_of_number_come_back_as_numpy_reads_them(tmp_path):
    given = {f"a/{number}": array for number, array in enumerate(SHAPES)}
    np.savez(tmp_path / "a.npz", **given)
    with open_archive(tmp_path / "a.npz") as found, np.load(tmp_path / "a.npz") as wanted:
        assert found.names == set(given)
        for name in wanted.files:
            one, other = found.read(name), wanted[name]
            assert (one.dtype, one.shape, one.tobytes()) == (
                other.dtype, other.shape, other.tobytes()
            )  # fmt: skip


def test_names_are_compared_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(archive(more=np.zeros(3)))
    monkeypatch.setattr("zipfile.ZipFile.open", lambda *_: pytest.fail("an array was opened"))
    with (
        pytest.raises(OtherNamesError, match=r"^arrays and manifest disagree on E1, more$"),
        open_archive(tmp_path / "a.npz") as found,
    ):
        found.require_names([*ARRAYS, "E1"], "manifest")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "arrays.npz")
    with pytest.raises(OSError, match="is a pipe"), open_archive(tmp_path / "arrays.npz"):
        pass


def test_a_changed_byte_of_an_array_is_noticed_by_the_archive_s_own_checksum(tmp_path):
    content = bytearray(archive())
    content[content.index(ARRAYS["E0/kernel"].tobytes()) + 5] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ArchiveError, match="CRC"), open_archive(tmp_path / "a.npz") as found:
        found.read("E0/kernel")


def test_names_that_share_one_body_are_refused_before_any_is_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(one_body_for_many())
    with (
        pytest.raises(ArchiveError, match=r"^\d{10} bytes of arrays in \d{7} bytes$"),
        open_archive(tmp_path / "a.npz"),
    ):
        pytest.fail("opened")
