"""``harness import-checkpoint``: what it says, refuses and leaves behind."""

import errno
import json
import re
from itertools import count

import pytest

from harness.asides import is_aside
from harness.cli import main
from harness.config import dump_config, load_config, parse_config
from harness.promises.setting import embedded_config
from harness.training.checkpoint import CheckpointStore
from tests.dying import Killed, dead_at_name, failing_at
from tests.edgeflownas_checkpoints import tensorflow_and_reader, variables, write


@pytest.fixture(scope="module")
def tf():
    return tensorflow_and_reader()


@pytest.fixture(scope="module")
def prefix(tf, tmp_path_factory):
    return write(tf, tmp_path_factory.mktemp("theirs"), variables("full", 2))


@pytest.fixture
def kept(prefix, kept_checkpoint, monkeypatch):
    """Return the checkpoint's prefix; no process is started to read it once more."""
    monkeypatch.setattr("harness.training.importing.read_edgeflownas", lambda _: kept_checkpoint)
    return prefix


@pytest.fixture(scope="module")
def kept_checkpoint(tf, prefix):
    return tf.read_whole(prefix)


@pytest.fixture
def small(embedded_frames, tmp_path):
    """The embedded setting without a word on the model."""
    path, tree = tmp_path / "small.yaml", embedded_config(embedded_frames).model_dump()
    tree = {name: tree[name] for name in ("data", "eval")} | {"train": {"batch_size": 3}}
    path.write_text(dump_config(parse_config(tree)).split("model:")[0])
    return path


def test_an_imported_run_is_scored_at_once(tmp_path, prefix, small, embedded_frames, capsys):
    out, said = tmp_path / "run", tmp_path / "said.json"
    words = ["--config", str(small), "--json", str(said)]
    assert main(["import-checkpoint", str(prefix), str(out), *words]) == 0
    shown = capsys.readouterr().out
    for words in ("skeleton full, width 2", "epoch 3, global step 7, fairness gap 1", "7.2500 px"):
        assert words in shown
    assert "note:" not in shown
    result = json.loads(said.read_text())
    assert (result["variables"], result["left_out"], result["optimizer"]) == (393, 2, True)
    config = load_config(out / "config.yaml")
    assert (config.model.skeleton, config.model.width) == ("full", 2)
    store = CheckpointStore(out / "checkpoints")
    assert store.resolve("best") == store.resolve("last")
    checkpoint = store.load("best")
    assert checkpoint.digest == result["checkpoint_digest"]
    assert checkpoint.meta == {
        "config": config.model_dump(mode="json", by_alias=True),
        "environment": {},
        "identity": "",
        "imported_from": {
            "prefix": "supernet_best.ckpt",
            "digest": result["source_digest"],
            "format": "EdgeFlowNAS, TensorFlow 1 Saver",
        },
    }
    asked = ["--run", str(out), "--fc2-root", str(embedded_frames), "--pool", "2"]
    assert main(["eval", *asked, "--json", str(said)]) == 0
    assert json.loads(said.read_text())["epoch"] == 3


def test_a_checkpoint_without_adam_is_said_to_be_one(tf, tmp_path, capsys):
    prefix = write(tf, tmp_path, variables("bilinear", 1, slots=False))
    assert main(["import-checkpoint", str(prefix), str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "note: the checkpoint holds nothing of Adam: moments are 0, powers initial" in shown
    assert "note: crop 176 x 240: the default 180 x 240 is no multiple of 16" in shown
    assert load_config(tmp_path / "run" / "config.yaml").train_crop == (176, 240)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("model: {width: 32}", "`model.width` is 32, but the checkpoint holds 2; remove the key"),
        ("model: {skeleton: bilinear}", "`model.skeleton` is 'bilinear', but .* holds 'full'"),
        ("data: {input_height: 30}", "crop 30 x 240 .* the nearest are 28 x 240 and 32 x 240"),
        ("model: {widht: 2}", "did you mean `model.width`"),
    ],
)
def test_a_configuration_that_does_not_fit_the_checkpoint_is_refused(
    tmp_path, kept, tree, message, capsys
):
    path, out = tmp_path / "c.yaml", tmp_path / "run"
    path.write_text(tree)
    assert main(["import-checkpoint", str(kept), str(out), "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_configuration_that_says_the_same_is_taken(tmp_path, kept):
    path, out = tmp_path / "c.yaml", tmp_path / "run"
    path.write_text("model: {width: 2, skeleton: full}\ntrain: {lr: 0.5}")
    out.mkdir()
    assert main(["import-checkpoint", str(kept), str(out), "--config", str(path)]) == 0
    assert load_config(out / "config.yaml").train.lr == 0.5


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_something_that_is_there_is_never_overwritten(tmp_path, kept, kind, capsys):
    out = tmp_path / "run"
    mine = out / "mine" if kind == "folder" else out
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert main(["import-checkpoint", str(kept), str(out)]) == 2
    said = {"folder": "expected a new run directory", "file": "is there and no folder"}
    assert said[kind] in capsys.readouterr().err
    assert mine.read_text() == "mine"


def files(folder):
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_an_import_that_was_killed_completes_when_repeated(tmp_path, kept, there):
    words = ["import-checkpoint", str(kept)]
    assert main([*words, str(tmp_path / "straight")]) == 0
    straight, seen = files(tmp_path / "straight"), set()
    for number in count():
        out = tmp_path / str(number) / "run"
        (out if there else out.parent).mkdir(parents=True)
        try:
            with dead_at_name(number, tmp_path):
                assert main([*words, str(out)]) == 0
        except Killed:
            seen |= {p.name for p in out.parent.glob("run/*") if not is_aside(p.name)}
        else:
            break
        assert [main([*words, str(out)]) for _ in range(2)] == [0, 0]
        assert files(out.parent) == {f"run/{name}": content for name, content in straight.items()}
    assert number == 4 + there
    assert seen == ({"checkpoints"} if there else set())


def test_an_import_to_a_full_disk_is_one_line(tmp_path, kept, capsys):
    with failing_at(9, OSError(errno.ENOSPC, "No space left on device"), tmp_path):
        assert main(["import-checkpoint", str(kept), str(tmp_path / "run")]) == 2
    wanted = f"harness import-checkpoint: {tmp_path / 'run'}: not written: No space left on device"
    error = capsys.readouterr().err
    assert error.startswith(wanted)
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
