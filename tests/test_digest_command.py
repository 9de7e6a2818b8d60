import json
import re
import shutil

import numpy as np
import pytest

from harness.cli import main
from harness.config import parse_config
from harness.digest import digest_arrays
from harness.training.checkpoint import CheckpointStore
from harness.training.progress import Progress

COUNTS = ((1, 1, 1),) * 9
NAME = "saved"


def arrays():
    rng = np.random.default_rng(4)
    return {
        "E0/kernel": rng.normal(size=(3, 2, 5)).astype(np.float32),
        "E0/gamma": np.float32([1, 0, 2]),
        "adam/beta1_power": np.float32(0.9),
    }


def save(folder, *, change=lambda a: a, identity="aa", progress=None, **tree):
    """Write a run's checkpoint; return the run's folder."""
    config = parse_config(tree).model_dump(mode="json", by_alias=True)
    meta = {"config": config, "environment": {}, "identity": identity}
    state = Progress(epoch=2, global_step=6, counts=COUNTS).get_state() | (progress or {})
    store = CheckpointStore(folder / "checkpoints")
    store.save(NAME, change(arrays()), state, meta, best=True)
    return folder


@pytest.fixture
def run(tmp_path):
    return save(tmp_path / "a")


def digest(*words, code):
    assert main(["digest", *map(str, words)]) == code


def test_a_checkpoint_is_named_by_its_directory_a_pointer_or_its_run(run, capsys):
    for path in (run, run / "checkpoints" / "last", run / "checkpoints" / NAME):
        digest(path, code=0)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith(f"checkpoints/{NAME}")
        assert lines[1:3] == ["identity aa", "epoch 2, step 0, global step 6"]
        whole = CheckpointStore(run / "checkpoints").load("last").digest
        assert lines[3] == f"digest {whole}"
        assert [line.split()[0] for line in lines[4:]] == sorted(arrays())
        for line in lines[4:]:
            array = arrays()[line.split()[0]]
            assert f"float32 {array.shape}" in line
            assert line.endswith(digest_arrays({line.split()[0]: array}))


def test_equal_checkpoints_of_two_runs_are_equal(run, tmp_path, capsys):
    other = save(tmp_path / "b", data={"base_path": "elsewhere"}, progress={"row": {"seconds": 1}})
    digest(run, other / "checkpoints" / "best", code=0)
    assert capsys.readouterr().out.startswith("equal: digest ")


def with_array(name, value):
    return {"change": lambda arrays: arrays | {name: value}}


def one_element(arrays):
    changed = arrays["E0/kernel"].copy()
    changed[1, 0, 3:] += np.float32([0.5, -2])
    return arrays | {"E0/kernel": changed}


KERNEL = digest_arrays({"E0/kernel": arrays()["E0/kernel"]})


@pytest.mark.parametrize(
    ("changes", "first", "total"),
    [
        (
            {"identity": "bb", "train": {"lr": 0.5}, "progress": {"epoch": 3}},
            "identity: aa against bb (train.lr: 0.0001 -> 0.5)",
            "the identity, 1 counters and 0 of 3",
        ),
        (
            {"identity": "bb"},
            "identity: aa against bb (no configuration key of the training dynamics differs)",
            "the identity, 0 counters and 0 of 3",
        ),
        (
            {"progress": {"epoch": 3, "bad_epochs": 1}, **with_array("E0/gamma", np.float32([1]))},
            "counter epoch: 2 against 3",
            "2 counters and 1 of 3",
        ),
        (
            {"progress": {"best_metric": 1.5}},
            "counter best_metric: None against 1.5",
            "1 counters and 0 of 3",
        ),
        (
            {"progress": {"counts": (*COUNTS[:4], (1, 2, 3), *COUNTS[5:])}},
            "counter counts: 1 against 2 (first at [4][1], 2 in all)",
            "1 counters and 0 of 3",
        ),
        (
            {"progress": {"extra": [1]}},
            "counter extra: absent against [1]",
            "1 counters and 0 of 3",
        ),
        (
            with_array("E0/gamma", np.float32([1, 0])),
            "variable E0/gamma: * against * (float32 (3,) against float32 (2,))",
            "0 counters and 1 of 3",
        ),
        (
            with_array("H1/gamma", np.float32([1, 0])),
            "variable H1/gamma: absent against *",
            "0 counters and 1 of 4",
        ),
        (
            with_array("E0/gamma", np.float32([1, -0.0, 2])),
            "variable E0/gamma: * against * (1 of 3 elements differ, by 0 at most, first [1]: "
            "0.0 against -0.0)",
            "0 counters and 1 of 3",
        ),
        (
            with_array("E0/gamma", np.float32([1, np.nan, 2])),
            "variable E0/gamma: * against * (1 of 3 elements differ, by unbounded at most, first "
            "[1]: 0.0 against nan)",
            "0 counters and 1 of 3",
        ),
        (
            with_array("adam/beta1_power", np.float32(0.5)),
            "variable adam/beta1_power: * against * (1 of 1 elements differ, by 0.4 at most, "
            "first []: 0.9 against 0.5)",
            "0 counters and 1 of 3",
        ),
    ],
)
def test_the_first_difference_is_named_and_all_are_counted(
    run, tmp_path, changes, first, total, capsys
):
    said = tmp_path / "said.json"
    digest(run, save(tmp_path / "b", **changes), "--json", said, code=1)
    one, other = capsys.readouterr().out.splitlines()
    assert re.fullmatch("DIFFERENT: " + re.escape(first).replace(r"\*", "[0-9a-f]{32}"), one)
    assert other == f"in all: {total} variables differ"
    found = json.loads(said.read_text(), parse_constant=pytest.fail)
    assert found["equal"] is False
    assert one == f"DIFFERENT: {found['differences'][0]['text']}"


def test_the_elements_that_differ_are_measured(run, tmp_path, capsys):
    said = tmp_path / "said.json"
    digest(run, save(tmp_path / "b", change=one_element), "--json", said, code=1)
    shown = capsys.readouterr().out
    assert "2 of 30 elements differ, by 2 at most, first [1, 0, 3]: " in shown
    before, after = (a["E0/kernel"] for a in (arrays(), one_element(arrays())))
    (found,) = json.loads(said.read_text())["differences"]
    assert found["one"] == KERNEL
    assert found["other"] == digest_arrays({"E0/kernel": after})
    assert found["elements"] == {
        "number": 2, "size": 30, "largest": pytest.approx(2, rel=1e-6),
        "index": [1, 0, 3], "values": [str(before[1, 0, 3]), str(after[1, 0, 3])],
    }  # fmt: skip


def test_all_of_one_checkpoint_is_json_too(run, tmp_path):
    said = tmp_path / "said.json"
    digest(run, "--json", said, code=0)
    found = json.loads(said.read_text())
    assert found["variables"]["E0/kernel"] == {
        "dtype": "float32", "shape": [3, 2, 5], "digest": KERNEL,
    }  # fmt: skip
    assert (found["identity"], found["progress"]["global_step"]) == ("aa", 6)


@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_checkpoint_is_wrong_input_and_named(run, tmp_path, which, capsys):
    other = shutil.copytree(run, tmp_path / "b")
    file = (run, other)[which] / "checkpoints" / NAME / "arrays.npz"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    digest(run, other, code=2)
    error = capsys.readouterr().err
    assert str(file.parent) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent", "absent: no such checkpoint, pointer or run directory"),
        ("checkpoints", "no checkpoint here"),
        (f"checkpoints/{NAME}/arrays.npz", "expected the name of a checkpoint beside it"),
    ],
)
def test_what_is_no_checkpoint_is_named(run, path, message, capsys):
    digest(run / path, code=2)
    assert message in capsys.readouterr().err
