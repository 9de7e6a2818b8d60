"""Logs of other trainers are read as they are written, or refused by file, line and reason."""

import json
import os

import pytest

from harness.cli import main
from harness.errors import InputError
from harness.foreign import text
from harness.foreign.recognise import read_foreign
from tests.foreign_runs import Made, write_edgeflownas, write_lightning, write_mmengine


@pytest.fixture
def run(tmp_path):
    return write_edgeflownas(tmp_path / "run", Made(generation="902a0e1"))


def refused(path, columns=()):
    with pytest.raises(InputError) as caught:
        read_foreign(path, dict(columns))
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


def edit(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


LOG = [
    ("clip_count=0", "clip_count=x", "line 9: expected a number, found 'x'"),
    ("epoch=1 ", "epoch=1.5 ", "line 9: expected a whole number from 0, found 1.5"),
    ("loss=9.000000", "loss=9.000000 loss=8.0", "line 9: expected NAME=VALUE, each once"),
    ("loss=9.000000 ", "", "line 9: expected loss=, found"),
    ("arch_rank_12=1:", "arch_rank_12=2:", "line 9: expected 1:INDEX:EPE in the ranking"),
    ("batch_size=10", "batch_size=ten", "line 2: batch_size: expected a number, found 'ten'"),
    ("start strict-fairness supernet", "start retrain", "line 1: expected a supernet trainer's"),
]


@pytest.mark.parametrize(("old", "new", "words"), LOG, ids=[new[:20] for _, new, _ in LOG])
def test_a_line_of_a_log_that_gives_figures_otherwise_is_named(run, old, new, words):
    edit(run / "train.log", old, new)
    said = refused(run)
    assert said.startswith(f"{run / 'train.log'}: ")
    assert words in said


def test_a_log_may_say_anything_else_and_end_anywhere(run):
    path = run / "train.log"
    whole = read_foreign(run, {})
    lines = path.read_text().splitlines(keepends=True)
    lines[3:3] = ["Traceback (most recent call last):\n", "  epoch=9 is no line of it\n",
                  "2026-02-17 10:00:00,123 | WARNING | something else = 3\n"]  # fmt: skip
    path.write_text("".join(lines))
    assert read_foreign(run, {}).epochs == whole.epochs
    (run / "eval_epe_history.csv").unlink()
    path.write_text("".join(lines)[:-150])
    cut = read_foreign(run, {})
    assert [e.number for e in cut.epochs] == [1, 2, 3, 4]
    assert "the last line of train.log has no end and is left out" in cut.notes


def test_a_last_row_without_its_end_is_left_out(tmp_path):
    folder = write_lightning(tmp_path / "a")
    path = folder / "metrics.csv"
    path.write_text(path.read_text().rstrip("\n")[:-2])
    run = read_foreign(folder, {})
    assert [epoch.loss for epoch in run.epochs] == [8.0, 4.0, None]
    assert "the last line has no end and is left out" in run.notes


TABLE = [
    ("epoch,", "epoch,epoch,", "line 1: expected each column once, found 'epoch' twice"),
    ("mean_epe_12,", "mean_epe,", "line 1: expected the columns epoch and mean_epe_12"),
    ("\n2,", "\n2,0,", "line 3: expected 15 cells, found 16"),
    ("\n2,", "\n1,", "line 3: epoch: expected one after 1, found 1"),
    ("\n2,", "\n2\N{SUPERSCRIPT TWO},", "line 3: 'epoch': expected a number"),
    ("\n2,", "\n\0,", "line 3: holds a NUL byte"),
    ("\n2,", '\n"2,', "line 3: is no row"),
]


@pytest.mark.parametrize(
    ("old", "new", "words"), TABLE, ids=[repr(new)[:20] for _, new, _ in TABLE]
)
def test_a_row_of_a_table_that_is_none_is_named(run, old, new, words):
    edit(run / "eval_epe_history.csv", old, new)
    said = refused(run)
    assert said.startswith(f"{run / 'eval_epe_history.csv'}: ")
    assert words in said


DOCUMENTS = [
    ("fairness_counts.json", '"0": 35', '"0": -1', "block '0': expected a whole number from 0"),
    ("fairness_counts.json", "{", "[", "Expecting"),
    ("checkpoints/supernet_last.ckpt.meta.json", '"epoch": 5', '"epoch": "5"', "epoch and global"),
    (
        "checkpoints/supernet_best.ckpt.meta.json",
        '"metric": ',
        '"metric": true, "x": ',
        "metric: e",
    ),
    (
        "run_manifest.json",
        '"batch_size": 10',
        '"batch_size": "ten"',
        "train_snapshot.batch_size: e",
    ),
    ("train_manifest.json", "[32, 48]", "[32]", "input_shape: expected two sides, found [32]"),
]


@pytest.mark.parametrize(("name", "old", "new", "words"), DOCUMENTS)
def test_a_document_that_says_something_else_is_named(run, name, old, new, words):
    edit(run / name, old, new)
    said = refused(run)
    assert said.startswith(f"{run / name}: ")
    assert words in said


def test_lines_of_json_are_refused_by_their_number(tmp_path):
    folder = write_mmengine(tmp_path / "a")
    path = folder / "vis_data" / "scalars.json"
    whole = path.read_text()
    for old, new, words in (
        ('"loss": ', '"loss": "x", "y": ', "line 1: 'loss': expected a number, found 'x'"),
        ("{", "[{", "line 1: Expecting"),
        ('"epoch": 1', '"epoch": -1', "line 1: 'epoch': expected a whole number from 0"),
        ('"loss": ', '"loss": 1, "loss": ', "line 1: the key 'loss' stands there twice"),
    ):
        path.write_text(whole.replace(old, new, 1))
        assert words in refused(folder)
    path.write_text(whole[:-5])
    assert len(read_foreign(folder, {}).epochs) == 3


def test_rows_that_are_sorted_otherwise_than_by_time_are_refused_and_a_restart_is_not(tmp_path):
    def table(*epochs):
        rows = [f"{epoch},{place}.5" for place, epoch in enumerate(epochs)]
        (tmp_path / "x.csv").write_text("\n".join(["epoch,loss", *rows]) + "\n")
        return tmp_path / "x.csv"

    assert len(read_foreign(table(1, 2, 3, 2, 3, 4), {}).epochs) == 4
    assert len(read_foreign(table(0, 1, 0, 0, 1), {}).epochs) == 2
    for epochs in ((3, 2, 1), (0, 2, 1), (5, 6, 4, 5)):
        assert "comes first after epoch" in refused(table(*epochs))
    lines = [f'{{"epoch": {epoch}, "loss": {epoch}.5}}' for epoch in (3, 2, 1)]
    (tmp_path / "scalars.json").write_text("\n".join(lines) + "\n")
    assert "line 2: epoch 2 comes first after epoch 3" in refused(tmp_path / "scalars.json")


def test_a_ranking_in_lines_of_json_is_read_or_refused_as_it_is_in_a_table(tmp_path):
    path, line = tmp_path / "scalars.json", '{{"epoch": 1, "loss": 2.5, "arch_rank": {}}}\n'
    path.write_text(line.format('"1:3:0.5|2:0:0.75"'))
    assert read_foreign(path, {}).epochs[0].ranking == ((3, 0.5), (0, 0.75))
    for wrong in ("7", '"2:3:0.5"'):
        path.write_text(line.format(wrong))
        assert "ranking" in refused(path)


@pytest.mark.parametrize("cell", ["1e100", "-1e100", "1e-300", "nan", "inf", "0"])
def test_extreme_numbers_are_audited_to_the_end(tmp_path, capsys, cell):
    path = tmp_path / "x.csv"
    names = "epoch,loss,lr,grad_norm,epe,epe_std,clip_count,clip_rate"
    rows = [[epoch, *[cell] * 7] for epoch in (1, 1, 2, 3)]
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")
    plan = ["num_epochs=3", "steps_per_epoch=2", "lr_schedule=cosine", "batch_size=3",
            "micro_batch_size=1", "grad_clip_global_norm=1e-300"]  # fmt: skip
    words = [word for one in plan for word in ("--set", f"train.{one}")]
    words += ["--set", "search.archs_per_step=3", "--zero-flow", "1e-300"]
    assert main(["audit", str(path), *words, "--json", str(tmp_path / "o.json")]) == 1
    assert main(["clip-study", "--advise", str(path), *words[:12]]) in (0, 2)
    assert len(capsys.readouterr().err.splitlines()) <= 1
    path.write_text(f"epoch,loss\n1,{ {'0': '1e101', 'nan': '-1e999'}.get(cell, '9' * 200) }\n")
    assert "line 2: 'loss': expected a number up to 1e+100, found" in refused(path)


def test_what_is_too_long_is_refused_before_it_is_read(run, tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss\n" + "1" * 2**21)
    assert "line 2: is longer than" in refused(path)
    with path.open("wb") as file:
        file.truncate(text.MOST_BYTES + 1)
    assert f"expected at most {text.MOST_BYTES} bytes" in refused(path)
    with (run / "fairness_counts.json").open("wb") as file:
        file.truncate(2**40)
    assert "expected at most" in refused(run)


@pytest.mark.parametrize(
    "words",
    [["audit", "RUN", "--json"], ["report", "RUN", "--out"],
     ["clip-study", "--advise", "RUN", "--json"]],
    ids=["audit", "report", "clip-study"],
)  # fmt: skip
def test_nothing_is_written_over_what_another_trainer_left(run, capsys, words):
    for name in ("run_manifest.json", "checkpoints/supernet_last.ckpt.meta.json", "train.log"):
        before = (run / name).read_bytes()
        given = [str(run) if word == "RUN" else word for word in words]
        assert main([*given, str(run / name)]) == 2
        assert str(run / name) in capsys.readouterr().err
        assert (run / name).read_bytes() == before


@pytest.mark.parametrize("name", ["train.log", "fairness_counts.json"])
def test_what_is_no_file_is_named_and_not_waited_for(run, capsys, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    assert main(["audit", str(run)]) == 2
    assert str(run / name) in capsys.readouterr().err


def test_a_log_of_any_program_beside_a_known_table_decides_nothing(tmp_path):
    folder = write_lightning(tmp_path / "a")
    (folder / "train.log").write_text("[2026-02-17 10:00:00] begin\n")
    assert read_foreign(folder, {}).kind == "Lightning"
    (folder / "metrics.csv").unlink()
    assert "train.log: no supernet trainer began in it" in refused(folder)


def test_what_table_and_log_say_is_never_mixed_where_the_table_says_it(tmp_path):
    folder = write_edgeflownas(tmp_path / "a", Made(generation="902a0e1", ahead=True))
    edit(folder / "train.log", "lr=0.00e+00", "lr=5.00e-05")
    assert read_foreign(folder, {}).epochs[-1].lr == 0.0


def test_a_folder_of_nobody_or_of_several_is_named(tmp_path, capsys):
    assert main(["audit", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "ledger.jsonl: no such ledger" in said
    assert "metrics.csv (Lightning)" in said
    for version in ("version_0", "version_1"):
        write_lightning(tmp_path / version)
    assert "holds several runs (version_0/metrics.csv, version_1/metrics.csv)" in refused(tmp_path)
    (tmp_path / "version_1" / "metrics.csv").unlink()
    assert read_foreign(tmp_path, {}).kind == "Lightning"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--column", "epe"], "--column 'epe': expected NAME=COLUMN"),
        (["--column", "x=loss"], "--column 'x': expected one of epoch, epe"),
        (["--column", "epe=nope"], "--column epe: no column 'nope'; it has 'epoch'"),
        (["--set", "train.nope=1"], "--set 'train.nope=1': expected KEY=VALUE with one of"),
        (["--set", "train.batch_size=[1"], "--set train.batch_size: "),
        (["--set", "train.batch_size=x"], "--set train.batch_size: expected a number, found"),
        (["--zero-flow", "0"], "expected a number, above 0"),
        (["--zero-flow", "3", "--fc2-root", "."], "--zero-flow and --fc2-root: either"),
        (["--fc2-root", "."], "no such folder"),
        (["--config", "nope.yaml"], "nope.yaml: No such file"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_in_one_line(tmp_path, capsys, words, said):
    folder = write_lightning(tmp_path / "a")
    words = [str(tmp_path) if word == "." else word for word in words]
    assert main(["audit", str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "expected sections such as `train:`"),
        ("train: 3", "train: expected a section, found"),
        ("train: {lr: [1]}", "train.lr: expected a number, found"),
        ("train: {batch_size: 012}", "train.batch_size: "),
        ("a: *b", "run.yaml: "),
    ],
)
def test_a_configuration_is_refused_by_its_key(tmp_path, capsys, content, said):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    folder = write_lightning(tmp_path / "a")
    assert main(["audit", str(folder), "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert said in error


def test_a_configuration_of_a_later_generation_is_taken_with_keys_that_nobody_here_knows(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train: {gpu_devices: '0,1', lr: 1.0e-4, batch_size: 10, micro_batch_size: 10}")
    folder = write_edgeflownas(tmp_path / "a", Made(generation="v3"))
    out = tmp_path / "o.json"
    assert main(["audit", str(folder), "--config", str(path), "--json", str(out)]) == 1
    found = json.loads(out.read_text())["measured"]["plan-as-configured"]
    assert found["values"]["differ"] == ["train.micro_batch_size"]


def test_what_cannot_be_below_0_is_found_and_a_loss_may_be(tmp_path, capsys):
    path = tmp_path / "x.csv"
    for column, code in (("train_loss", 0), ("epe", 1), ("grad_norm", 1), ("lr", 1)):
        path.write_text(f"epoch,loss,{column}\n1,-2.5,-1.5\n2,-3.5,-2.5\n")
        assert main(["audit", str(path)]) == code
        assert ("below 0 where none can be" in capsys.readouterr().out) is bool(code)
