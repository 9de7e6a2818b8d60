"""What cannot be meant is refused in one line, before any work, and nothing is changed by it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from tests.command_place import Seen, make_place, outcome, work_left_out
from tests.every_command import NUMPY


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("commands") / "place")


@pytest.fixture
def told(place, monkeypatch, capsys):
    """Return what a command line ends with and says; it must leave everything as it was."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("NOPE", raising=False)

    def run(words, *, new=False):
        before = Seen.of(place)
        with work_left_out():
            code = outcome(main, words)
        assert before.changed() == []
        made = before.new()
        for name in sorted(made, reverse=True):
            (place / name).rmdir() if (place / name).is_dir() else (place / name).unlink()
        assert bool(made) is new, made
        return code, capsys.readouterr().err

    return run


TRAIN = ["train", "--config", "run.yaml", "--run", "new"]
EVAL = ["eval", "--run", "run"]
BUDGET = ["budget", "--config", "run.yaml"]
SYNTH = ["synth", "new", "--train", "1", "--val", "1"]
SUBSET = ["subset", "fc2", "new", "--train", "1", "--val", "1"]
REPORT = ["report", "run", "--out", "r.html"]
STUDY = ["clip-study", "--config", "run.yaml", "--run", "new", "--epochs", "1"]
FREEZE = ["freeze", "--config", "run.yaml", "--out", "new.npz"]

NUMBERS = {
    "--recal-batches": (EVAL, "0 -1 1.5 ² ٣ 1_000 nan inf 1048577 0x10 +"),
    "--batches-per-arch": (EVAL, "0 -1 1.5 ² ٣ 1_000 nan FULL 1048577"),
    "--pool": (EVAL, "0 -1 1.5 ² ٣ 20000 19684"),
    "--epochs": (STUDY, "0 -1 1.5 ² nan 1000000001"),
    "--train": (SUBSET, "0 -5 1.5 ² nan 1000001"),
    "--val": (SYNTH, "0 -5 1.5 ² nan 1000001"),
    "--seed": (SUBSET, "-5 -1 1.5 ² 9223372036854775809 random"),
    "--size": (SYNTH, "999999x999999 15x16 16x15 64 x64 64x 64x64x64 -64x64 ²x² 64X64 8193x16"),
    "--look": (SYNTH, "Even odd"),
    "--time-limit": (BUDGET, "0 -1 nan inf 1e10 ² 1_0 0x1"),
    "--tau": (BUDGET, "0 -1 nan inf 1.1 1.0000001 ²"),
    "--jobs": (["faults"], "0 -1 1.5 ² 100000"),
    "--clean": (["faults"], "-1 1.5 ² 10000000"),
    "--system-timeout": (["gate-power"], "0 -1 nan inf 1e10 ² soon"),
    "--system-memory": (["check-adapter", "a.py:A"], "0 -1 nan inf 1e12 ² soon"),
}  # fmt: skip
"""Options that take a number, by a command that has them and what each must refuse."""


@pytest.mark.parametrize(
    ("option", "base", "value"),
    [
        pytest.param(option, base, value, id=f"{option}={value[:12]}")
        for option, (base, values) in NUMBERS.items()
        for value in (*values.split(), "", " 1", "9" * 5000)
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(told, option, base, value):
    code, error = told([*base, f"{option}={value}"])
    assert code == 2
    assert len(error.splitlines()) == 1
    assert len(error) < 600
    assert option in error or option == "--pool"  # of a file, any other name
    assert " to " in error or re.search("expected|invalid choice|no such|pool", error, re.I)


def test_numbers_within_their_ranges_are_taken(told):
    for words in (
        [*EVAL, "--recal-batches", "1048576", "--batches-per-arch", "full", "--pool", "7"],
        [*BUDGET, "--tau", "1", "--time-limit", ".5"], [*BUDGET, "--time-limit", "1e-6"],
        [*SYNTH, "--size", "16x8192", "--seed", "9223372036854775808"], [*TRAIN, "--epochs", "007"],
        ["faults", "--jobs", "1", "--clean", "0"], ["gate-power", "--system-timeout", "1e9"],
    ):  # fmt: skip
        assert told(words) == ("work", "")


@pytest.mark.parametrize(
    "command",
    [
        "synth",
        "subset",
        "eval",
        "budget",
        "faults",
        "gate-power",
        "check-adapter",
        "clip-study",
        "train",
    ],
)
def test_help_names_the_range_of_every_number(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option, (base, _) in NUMBERS.items():
        if base[0] == command and option not in ("--look", "--pool"):
            entry = said.split(f" {option} ")[-1][:220]
            assert re.search(r"\((above )?\d.* (to|up to) [\d.e+]+|each side 16 to 8192 px", entry)


def crossed(options, values):
    """Return each option with each value; a fifth is quick, each option and value among it."""
    return [
        pytest.param(
            option, value, id=f"{option} {value[:20]!a}",
            marks=[pytest.mark.slow] * ((i + j) % 5 != 0),
        )
        for i, option in enumerate(options)
        for j, value in enumerate(values)
    ]  # fmt: skip


# ---- what is read

INPUTS = {
    "--config": [*TRAIN[:1], "--run", "new"],
    "--require-gate": TRAIN, "--fc2-root": TRAIN, "--frozen": EVAL, "--pool": EVAL,
    "--checkpoint": EVAL, "--run": ["eval"], "--gate-power": REPORT,
    "--against": ["doctor"], "--system": ["gate-power"], "--system-root": ["gate-power"],
}  # fmt: skip
WRONG = (
    "", "pipe", "to-nowhere", "loop", "nothing", "run.yaml/x", "a" * 300, "a/" * 3000, "$NOPE/a",
    "~nobody-of-this-name/a", "a\0b", "/dev/zero", "binary", "empty", "deep.json", "gate-list.json",
    "gate-half.json", "gate-types.json", "number.json", "no.json", "caf\udce9",
)  # fmt: skip
TAKEN = {("--system-root", "")}


@pytest.mark.parametrize(("option", "value"), crossed(INPUTS, WRONG))
def test_a_path_to_nothing_that_can_be_read_is_refused(told, option, value):
    """Nothing waits for a pipe, and nothing reads a device without an end."""
    code, error = told([*INPUTS[option], f"{option}={value}"])
    assert code == 2
    assert len(error.splitlines()) == 1
    assert len(error) < 5000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "pipe"], "RUN pipe: expected a file or folder, found a pipe"),
        (["audit", ""], "expected a path, got nothing"),
        (["audit", "a" * 300], "File name too long"),
        (["audit", "empty"], "empty: "),
        (["digest", "pipe"], "found a pipe"),
        (["digest", "empty"], "empty"),
        (["digest", "run", "folder"], "folder"),
        (["report", "pipe", "--out", "r.html"], "found a pipe"),
        (["import-checkpoint", "nothing", "new"], "nothing.index: no such file"),
        (["import-checkpoint", "folder", "new"], "folder.index: no such file"),
        (["require-gate", "gate-list.json"], "not a gate file"),
        (["require-gate", "gate-half.json"], "gate-half.json: not a gate file: verdict is"),
        (["require-gate", "gate-types.json"], "gate-types.json: not a gate file"),
        (["require-gate", "deep.json"], "deep.json: not a gate file"),
        (["require-gate", "number.json"], "number.json: not a gate file"),
        (["require-gate", "pipe"], "found a pipe"),
        (["require-gate", "folder"], "folder: is a folder, expected a file"),
        ([*TRAIN, "--require-gate", "gate-list.json"], "gate-list.json: not a gate file"),
        ([*TRAIN, "--fc2-root", "no-samples"], "no sample found"),
        ([*TRAIN, "--fc2-root", "odd-names"], "x-img_0.png"),
        (["subset", "no-samples", "new", "--train", "1", "--val", "1"], "no sample found"),
        ([*SUBSET[:1], "fc2", "new", "--train", "6", "--val", "1"], "expected 1 to 5"),
        ([*EVAL, "--pool", "words.json"], "words.json"),
        ([*EVAL, "--frozen", "run.yaml"], "run.yaml: is no frozen artifact"),
        (["eval", "--run", "no-run"], "expected sections"),
        (["train", "--config", "date.yaml"], "`train.lr`"),
        (["train", "--config", "digits.yaml"], "`runtime.seed`"),
        (["train", "--config", "deep.yaml"], "nested more deeply"),
        (["train", "--config", "no-data.yaml"], "nowhere/train"),
        (["train", "--config", "no-samples.yaml"], "no sample found"),
        (["train", "--config", "no-frozen.yaml"], "nothing.npz: no such file"),
        ([*TRAIN, "--set", "runtime.threads=100000"], "`runtime.threads`"),
        ([*TRAIN, "--set", "model.width=1000000000"], "`model.width`"),
        ([*TRAIN, "--set", "train.lr=nan"], "`train.lr`"),
        ([*TRAIN, "--set", "train.lr=2020-13-45"], "`train.lr`"),
        ([*TRAIN, "--set", "runtime.seed=" + "9" * 5000], "`runtime.seed`"),
        ([*TRAIN, "--set", "train.lr=" + "[" * 5_000], "nested more deeply"),
        ([*TRAIN, "--set", "data.base_path=$NOPE"], "the variable NOPE is not set"),
        ([*TRAIN, "--set", ""], "expected KEY=VALUE"),
        (["faults", "--resume"], "--resume"),
        (["faults", "--resume", "--json", "no.json"], "expected results that say"),
        (["gate-power", "--json", "old.json"], "gate-power --json"),
        (["check-adapter", "nothing.py:A"], "expected a file nothing.py"),
        (["check-adapter", "builtin"], "expected an adapter"),
        (["check-adapter", "run.yaml"], "FILE:CLASS 'run.yaml': expected builtin, edgeflownas"),
        (["check-adapter", "taken.py"], "as in taken.py:MyTrainer"),
        (["init-adapter", "run.yaml"], "expected a name that Python can import"),
        (["init-adapter", "a-b.py"], "expected a name that Python can import"),
        (["init-adapter", "--torch", "--numpy", "a.py"], "not allowed with argument"),
        (["promises", "no-such"], "no promise 'no-such'"),
        (["schema"], "no schema is named"),
        ([], "COMMAND"), (["nope"], "invalid choice"), (["audit"], "RUN"),
        (["audit", "run", "--nope"], "unrecognized arguments: --nope"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_input_is_one_line_that_says_what_is_wrong(told, words, said):
    code, error = told(words)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert said in error


# ---- slow checks come before TensorFlow


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--config", "crop.yaml", "--run", "new"], "33"),
        (["budget", "--config", "crop.yaml"], "33"),
        (["clip-study", "--config", "crop.yaml", "--run", "new", "--epochs", "1"], "33"),
        ([*TRAIN, "--set", "eval.crop=[32, 49]"], "`eval.crop`"),
        ([*BUDGET, "--checkpoint", "nothing"], "nothing"),
        ([*BUDGET, "--run", "other-run"], "other-run"),
        ([*BUDGET, "--pool", "words.json"], "words.json"),
        ([*EVAL, "--checkpoint", "nothing"], "nothing"),
        ([*EVAL, "--fc2-root", "no-samples"], "no sample found"),
        (["freeze", "--config", "no-samples.yaml", "--out", "new.npz"], "no sample found"),
        (["freeze", "--config", "run.yaml", "--out", "run.yaml"], "is what --config reads"),
    ],
)
def test_what_can_be_known_is_refused_before_tensorflow_is_imported(told, words, said):
    """TensorFlow's import is left out here with the work: that it was not reached is the point."""
    code, error = told(words)
    assert code == 2
    assert said in error


# ---- what is written

OUTPUTS = {
    "audit --json": ["audit", "run", "--json"],
    "train --json": [*TRAIN, "--json"], "eval --json": [*EVAL, "--json"],
    "budget --json": [*BUDGET, "--json"], "freeze --out": [*FREEZE[:-1]],
    "clip-study --json": [*STUDY, "--json"], "report --out": REPORT[:-1],
    "report --json": [*REPORT, "--json"], "digest --json": ["digest", "run", "--json"],
    "schema --json": ["schema", "ledger", "--json"], "gate --json": ["gate", "--json"],
    "gate --gate-file": ["gate", "--config", "run.yaml", "--gate-file"],
    "faults --json": ["faults", "--json"], "synth --json": [*SYNTH, "--json"],
    "subset --json": [*SUBSET, "--json"],
    "init-adapter --json": ["init-adapter", "new.py", "--json"],
    "check-adapter --json": ["check-adapter", f"{NUMPY}", "--json"],
    "require-gate --json": ["require-gate", "gate-half.json", "--json"],
}  # fmt: skip
NOWHERE = (
    "nowhere/x.json", "folder", "run/ledger.jsonl", "run/config.yaml", "run/checkpoints/x.json",
    "run/checkpoints/last", "run/epochs.csv", "run/.lock", "run/x.scores.jsonl",
    "other-run/epochs.csv", "fc2/train/x.json", "fc2/val/1000000-img_0.png", "hard-link.yaml",
    "link.yaml", "loop", "empty/x", "binary", "", "$NOPE/x", "a" * 300, "/proc/x.json",
)  # fmt: skip


@pytest.mark.parametrize(("option", "value"), crossed(OUTPUTS, NOWHERE))
def test_an_output_that_would_destroy_or_fail_is_refused_before_the_work(told, option, value):
    code, error = told([*OUTPUTS[option], value])
    assert code == 2
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "run", "--json", "run/ledger.jsonl"], "one of the files of the run"),
        (["audit", "run/ledger.jsonl", "--json", "run/ledger.jsonl"], "is what RUN reads"),
        (["subset", "fc2", "fc2", "--train", "1", "--val", "1"], "OUT fc2: is what SRC reads"),
        (["subset", "fc2", "fc2/small", "--train", "1", "--val", "1"], "lies in what is read"),
        (["subset", "fc2", "fc2/train/x", "--train", "1", "--val", "1"], "lies in what is read"),
        (["subset", "fc2", ".", "--train", "1", "--val", "1"], "would hold what is read"),
        (["synth", "new", "--train", "1", "--val", "1", "--json", "new/x.json"], "--json new/x"),
        (["synth", "fc2/train/new", "--train", "1", "--val", "1"], "among the samples"),
        (["synth", "run.yaml", "--train", "1", "--val", "1"], "is there and no folder"),
        (["synth", "loop", "--train", "1", "--val", "1"], "loop"),
        (["synth", "run/checkpoints/x", "--train", "1", "--val", "1"], "the files of the run"),
        (["train", "--config", "run.yaml", "--run", "fc2/train"], "--run fc2/train"),
        (["train", "--config", "run.yaml", "--run", "run/checkpoints/x"], "files of the run"),
        (["train", "--config", "run.yaml", "--run", "run.yaml"], "is there and no folder"),
        ([*TRAIN, "--json", "new/ledger.jsonl"], "one of the files of the run"),
        ([*TRAIN, "--json", "new/checkpoints/x.json"], "one of the files of the run"),
        (["init-adapter", "taken.py"], "exists and holds something else"),
        (["init-adapter", "nowhere/a.py"], "nowhere"),
        (["init-adapter", "fc2/train/a.py"], "lies among the samples"),
        (["init-adapter", "run/checkpoints/a.py"], "one of the files of the run"),
        (["init-adapter", "folder.py"], "is a folder"),
        ([*REPORT, "--json", "r.html"], "--json r.html: is what --out writes, too"),
        ([*BUDGET, "--out", "plot.svg", "--json", "plot.svg"], "is what --out writes, too"),
        ([*BUDGET, "--out", "plot.pdf"], "expected a name that ends in .png"),
        (["schema", "--write", "nowhere"], "there is no such folder"),
        (["schema", "--write", "run/checkpoints"], "one of the files of the run"),
        (["promises", "--write", "nowhere"], "there is no such folder"),
        (["train", "--config", "run.yaml", "--set", "runtime.output_root=fc2/val"], "output_root"),
        (["freeze", "--config", "run.yaml", "--out", "words.json"], "no frozen artifact"),
        (["gate", "--pictures", "run.yaml"], "is there and no folder"),
        (["gate", "--pictures", "fc2/val/new"], "lies among the samples"),
        (["gate", "--pictures", "run/checkpoints/x"], "one of the files of the run"),
        (["gate", "--config", "run.yaml", "--pictures", "."], "would hold what is read"),
        (["gate", "--gate-file", "new/g.json", "--pictures", "new"], "new"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)  # fmt: skip
def test_an_output_is_neither_an_input_nor_of_a_run_nor_among_the_data(told, words, said):
    code, error = told(words)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert said in error


def test_outputs_that_are_fine_are_taken(told):
    for words in (
        [*TRAIN, "--json", "new/result.json"], [*TRAIN, "--json", "old.json"],
        [*EVAL, "--json", "/dev/null"], [*EVAL, "--json", "/dev/stdout"],
        [*EVAL, "--json", "run/result.json"], [*BUDGET, "--out", "plot.svg"],
        ["synth", "a/b/c", "--train", "1", "--val", "1"],
        ["train", "--config", "run/config.yaml", "--run", "run", "--resume"],
    ):  # fmt: skip
        assert told(words)[0] == "work", words
    assert told(["audit", "run", "--json", "run/audit.json"], new=True)[0] in (0, 1)


def test_a_home_folder_and_a_variable_are_meant_and_not_made(told, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("HERE", str(place / "run"))
    assert told(["audit", "~/run"])[0] in (0, 1)
    assert told(["audit", "$HERE"])[0] in (0, 1)
    assert told(["audit", "${HERE}/ledger.jsonl"])[0] in (0, 1)
    code, error = told(["audit", "run", "--json=$NOPE/x.json"])
    assert (code, "NOPE is not set" in error) == (2, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is protected against root")
def test_what_is_protected_is_named(told, place):
    (place / "folder").chmod(0o500)
    try:
        assert "takes no files" in told([*EVAL, "--json", "folder/x.json"])[1]
    finally:
        (place / "folder").chmod(0o700)


@pytest.mark.slow
def test_scores_of_the_whole_space_have_a_place(told):
    """Beside /dev/stdout there is none: they go into the run."""
    assert told([*EVAL, "--pool", "all", "--json", "/dev/stdout"]) == ("work", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gate", "--tier", "most"], "--tier: expected one of"),
        (["gate", "--config", "nothing"], "no such configuration file"),
        (["gate", "--config", "deep.yaml"], "nested more deeply"),
        (["gate", "--config", "crop.yaml"], "33"),
        (["gate", "--fc2-root", "no-samples"], "no sample found"),
        (["gate", "--gate-file", "binary"], "--gate-file binary"),
        (["gate", "--system-timeout", "nan"], "--system-timeout"),
        (["gate", "--system", "nothing.py:A"], "nothing.py"),
        (["gate", "--promise", "no-such"], "no promise of that name"),
        (["gate", "--config", "run.yaml", "--gate-file", "hard-link.yaml"], "--gate-file"),
        (["gate", "--json", "a.json", "--gate-file", "b.json"], "give one of them"),
    ],
)
def test_a_gate_that_cannot_be_asked_is_a_usage_error(place, words, said):
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], cwd=place, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_is_appended_to_is_no_output_whatever_its_name(told, place):
    own = (place / "run" / "ledger.jsonl").read_bytes()
    logs = {
        "copied.json": own, "begun.html": own.splitlines(keepends=True)[0],
        "scalars.json": b'{"loss": 1.5}\n{"loss": 2.5}\n',
    }  # fmt: skip
    for name, content in logs.items():
        (place / name).write_bytes(content)
        for words in (["schema", "ledger", "--json", name], [*REPORT[:-1], name]):
            code, error = told(words)
            assert (code, "holds lines of JSON" in error) == (2, True)
        (place / name).unlink()
    for words in (["schema", "ledger", "--json"], REPORT[:-1], [*EVAL, "--pool", "all", "--csv"]):
        code, error = told([*words, "a.scores.jsonl"])
        assert (code, "is a name of scores" in error) == (2, True)


def test_a_stream_that_takes_nothing_is_refused_before_the_work(told):
    reading = os.open(os.devnull, os.O_RDONLY)
    for descriptor in (reading, 512):
        code, error = told([*EVAL, "--json", f"/dev/fd/{descriptor}"])
        assert (code, f"--json /dev/fd/{descriptor}: not written: " in error) == (2, True)
    os.close(reading)
