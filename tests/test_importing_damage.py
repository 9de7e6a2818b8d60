import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import InputError
from harness.training import saver_child
from harness.training.saver_files import read_variables
from tests.edgeflownas_checkpoints import (
    COUNTS,
    META,
    STEPS,
    tensorflow_and_reader,
    variables,
    write,
)
from tests.saver_index import sealed


@pytest.fixture(scope="module")
def tf():
    return tensorflow_and_reader()


DATA = ".data-00000-of-00001"


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        (DATA, lambda b: b[: len(b) // 2], r"\.data-\*: \S+: cut short or damaged .*less bytes"),
        (
            DATA,
            lambda b: bytes([b[0] ^ 1]) + b[1:],
            r"\.data-\*: \S+: cut short or damaged .*Checksum",
        ),
        (DATA, None, r"\.data-\*: beta1_power: cut short or damaged .*copy all of them again"),
        (".index", lambda b: b[: len(b) // 2], r"\.index: cut short or damaged"),
        (".index", lambda b: b"", r"\.index: cut short or damaged .*too short"),
        (".index", None, r"\.index: no such file; PREFIX is what .*have in common"),
    ],
)
def test_a_missing_or_damaged_file_is_named(tf, tmp_path, suffix, change, message):
    prefix = write(tf, tmp_path, variables("full", 1))
    file = Path(f"{prefix}{suffix}")
    content = file.read_bytes()
    file.unlink()
    if change is not None:
        file.write_bytes(change(content))
    with pytest.raises(InputError, match=message) as raised:
        tf.read_edgeflownas(prefix)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; EdgeFlowNAS writes it"),
        (json.dumps(META)[:-3], "not readable as JSON"),
        ("[1]", r"expected an object .*found \[1\]"),
    ],
)
def test_a_missing_or_damaged_file_of_counters_is_named(tf, tmp_path, content, message):
    prefix = write(tf, tmp_path, variables("full", 1))
    file = Path(f"{prefix}.meta.json")
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(InputError, match=rf"\.meta\.json: {message}") as raised:
        tf.read_whole(prefix)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": None}, "`epoch`: expected a whole number from 0, found None"),
        ({"epoch": 2.5}, "`epoch`: .*found 2.5"),
        ({"bad_epochs": -1}, "`bad_epochs`: .*found -1"),
        ({"bad_epochs": True}, "`bad_epochs`: .*found True"),
        ({"best_metric": float("nan")}, "`best_metric`: expected a number.*found nan"),
        ({"best_metric": "low"}, "`best_metric`: .*found 'low'"),
        ({"fairness_counts": None}, "`fairness_counts`: expected keys 0 to 8, found None"),
        ({"fairness_counts": {"0": {}}}, "expected keys 0 to 8, found {'0': {}}"),
        (
            {"fairness_counts": COUNTS | {"4": {"0": 1, "1": 1}}},
            "`fairness_counts.4`: expected keys 0 to 2, found {'0': 1, '1': 1}",
        ),
        (
            {"fairness_counts": COUNTS | {"4": {"0": 1, "1": 1, "2": -1}}},
            "`fairness_counts.4.2`: expected a whole number",
        ),
        (
            {"global_step": STEPS + 1},
            "`global_step` is 8, but beta2_power .*after 7 steps: the files are of different mom",
        ),
    ],
)
def test_counters_that_cannot_be_are_named(tf, tmp_path, changes, message):
    prefix = write(tf, tmp_path, variables("full", 1), META | changes)
    with pytest.raises(InputError, match=rf"\.meta\.json: .*{message}"):
        tf.read_whole(prefix)


# ---- a process of its own


@pytest.fixture
def whole(tf, tmp_path):
    return write(tf, tmp_path, variables("full", 1))


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_pipe_in_the_place_of_a_file_is_named(tf, whole, suffix):
    path = Path(f"{whole}{suffix}")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=rf"{suffix}: is a pipe, expected a file"):
        tf.read_edgeflownas(whole)


def test_a_folder_of_bytes_that_are_no_utf_8_is_read(tf, whole):
    folder = Path(os.fsdecode(os.fsencode(whole.parent) + b"/\xff\xfe"))
    folder.mkdir()
    for path in whole.parent.glob(f"{whole.name}.*"):
        path.rename(folder / path.name)
    assert tf.read_edgeflownas(folder / whole.name).progress.global_step == STEPS


def test_a_reader_that_takes_too_long_is_ended(whole):
    with pytest.raises(InputError, match="reader did not end within 0 seconds"):
        read_variables(whole, seconds=0.01)


def test_an_index_that_ends_tensorflow_is_a_line(tf, whole):
    path = Path(f"{whole}.index")
    content = path.read_bytes()
    found = bytearray(content)
    at = found.index(b"beta1_power") + len("beta1_power")
    assert found[at : at + 4] == b"\x08\x01\x12\x00", "expected type 1 and a shape of no sides"
    found[at + 2] = 1  # a field that no entry has, under a checksum that holds
    path.write_bytes(sealed(bytes(found), content))
    with pytest.raises(InputError) as caught:
        tf.read_edgeflownas(whole)
    said = str(caught.value)
    assert said.startswith(f"{path}: cut short or damaged (TensorFlow's reader died of it: SIG")
    assert said.endswith("copy all of them again")


def test_the_name_of_a_damaged_variable_is_spelled_out(whole, monkeypatch):
    answer = b'{"place": ".data-*: a\\u000f\\u001bkernel", "reason": "Key"}'
    monkeypatch.setattr(
        "subprocess.run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=answer)
    )
    with pytest.raises(InputError, match=r"a\\x0f\\x1bkernel: cut short or damaged") as caught:
        read_variables(whole)
    assert str(caught.value).isprintable()


def test_a_full_disk_is_no_damage_of_the_checkpoint(whole, monkeypatch):
    def full(command, **given):
        return SimpleNamespace(returncode=0, stdout=b'{"system": "[Errno 28] No space left"}')

    monkeypatch.setattr("subprocess.run", full)
    with pytest.raises(
        InputError, match=r"not written, to read .*No space left; make room, or set"
    ):
        read_variables(whole)


@pytest.mark.slow
def test_a_tensorflow_that_has_its_reader_elsewhere_is_imported_whole(tf, whole, monkeypatch):
    monkeypatch.setattr(
        "harness.training.saver_files._CHILD",
        odd := whole.parent / "child.py",
    )
    source = Path(saver_child.__file__).read_text(encoding="utf-8")
    odd.write_text(source.replace("py_checkpoint_reader", "no_such_reader"), encoding="utf-8")
    assert tf.read_edgeflownas(whole).progress.global_step == STEPS
