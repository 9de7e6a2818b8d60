"""What a run holds, how it is evaluated anew, interrupted and resumed, by the commands."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import _parser, main
from harness.commands import train
from harness.records.ledger import effective, read_ledger
from harness.records.records import EpochRecord, NoteRecord, RunRecord, StepRecord
from tests.documented import ROOT
from tests.gate_files import config_file, green_gate, write_gate

__all__ = ["config_file"]

HARNESS = [sys.executable, "-m", "harness"]


def run(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [*HARNESS, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_here(*words: object) -> None:
    """Run a command in this process, which has TensorFlow already."""
    assert main([*map(str, words)]) == 0


@pytest.fixture(scope="module")
def straight(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    file = folder.with_name("gate.json")
    gate = green_gate(config_file) | {
        "verdict": "green except known", "known_defects": {"nan-stops": "no check yet"},
        "gated": {"name": "builtin", "code": {"commit": "0123456789abcdef", "dirty": False}},
    }  # fmt: skip
    write_gate(file, gate)
    gated = ("--require-gate", file, "--accept-known-defects")
    run_here("train", "--config", config_file, "--run", folder, *gated)
    return folder


@pytest.mark.slow
def test_what_was_gated_stands_in_the_ledger_and_in_the_report(
    straight: Path, tmp_path: Path
) -> None:
    gated = (
        "gated: green except known, builtin (commit 0123456789ab, clean), samebits 0.1, "
        "tier quick; nan-stops: no check yet"
    )
    records = read_ledger(straight / "ledger.jsonl").records
    assert [r.text for r in records if isinstance(r, NoteRecord)] == [gated]
    assert main(["report", str(straight), "--out", str(tmp_path / "report.html")]) == 0
    assert gated in (tmp_path / "report.html").read_text()


def rows(folder: Path) -> list[EpochRecord]:
    records = effective(read_ledger(folder / "ledger.jsonl").records)
    return [record for record in records if isinstance(record, EpochRecord)]


@pytest.mark.slow
def test_two_processes_evaluate_to_the_last_bit(straight: Path, tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        file = tmp_path / f"{name}.json"
        text = run("eval", "--run", straight, "--checkpoint", "last", "--json", file)
        assert "in-train evaluation of epoch 2: equal to the last bit" in text
        results.append(json.loads(file.read_text()))
    differing = {key for key in results[0] if results[0][key] != results[1][key]}
    assert differing <= {"eval_seconds", "bn_recal_seconds", "seal"}  # which is of the seconds, too
    assert results[0]["mean_epe_12"] == rows(straight)[1].mean_epe_12


@pytest.mark.slow
def test_frozen_batches_score_as_the_data_set_does(
    straight: Path, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen, found = tmp_path / "frozen.npz", tmp_path / "eval.json"
    run_here("freeze", "--config", config_file, "--out", frozen)
    said = capsys.readouterr().out
    counts = r"\d validation batch(es)? \(digest \w+\) and \d recalibration batch(es)? \("
    assert re.search(rf"^{frozen}: {counts}digest \w+\)$", said, re.MULTILINE)
    run_here("eval", "--run", straight, "--checkpoint", "last", "--frozen", frozen, "--json", found)
    assert json.loads(found.read_text())["mean_epe_12"] == rows(straight)[1].mean_epe_12


@pytest.mark.slow
def test_the_full_split_scores_every_sample_once(straight: Path, tmp_path: Path) -> None:
    found, pool = tmp_path / "eval.json", tmp_path / "pool.json"
    pool.write_text(json.dumps(["012012012", [2, 1, 0, 2, 1, 0, 2, 1, 0]]))
    words = ("--batches-per-arch", "full", "--pool", pool, "--json", found)
    run_here("eval", "--run", straight, *words)
    result = json.loads(found.read_text())
    assert result["samples"] == 7
    assert result["archs"] == ["012012012", "210210210"]


def interrupted(config_file: Path, folder: Path, *words: str) -> None:
    """Send SIGUSR1 once the first step is recorded."""
    process = subprocess.Popen(
        [*HARNESS, "train", "--config", str(config_file), "--run", str(folder), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    ledger, limit = folder / "ledger.jsonl", time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        if ledger.exists() and '"kind":"step"' in ledger.read_text():
            process.send_signal(signal.SIGUSR1)
            break
        time.sleep(0.01)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output.decode()


@pytest.mark.slow
def test_a_run_interrupted_by_a_signal_resumes_to_the_same_end(
    straight: Path, config_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    interrupted(config_file, folder)
    run("train", "--config", config_file, "--run", folder, "--resume")

    def comparable(run_folder: Path) -> list[dict[str, Any]]:
        clock = ("eval_seconds", "bn_recal_seconds")
        return [{k: v for k, v in vars(r).items() if k not in clock} for r in rows(run_folder)]

    assert comparable(folder) == comparable(straight)
    steps = [
        [r for r in effective(read_ledger(f / "ledger.jsonl").records) if isinstance(r, StepRecord)]
        for f in (folder, straight)
    ]
    assert steps[0] == steps[1]
    assert len((folder / "epochs.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_an_epoch_row_lost_in_a_crash_is_written_on_resume(
    config_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run_here("train", "--config", config_file, "--run", folder, "--epochs", "1")
    before = (folder / "epochs.csv").read_text()
    ledger = folder / "ledger.jsonl"
    kept = [line for line in ledger.read_text().splitlines() if '"kind":"epoch"' not in line]
    ledger.write_text("\n".join(kept) + "\n")
    (folder / "epochs.csv").unlink()
    run_here("train", "--config", config_file, "--run", folder, "--epochs", "1", "--resume")
    assert (folder / "epochs.csv").read_text() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--config", "absent.yaml"], "no such configuration file: absent.yaml"),
        (["eval", "--run", "absent"], "not a run directory"),
        (["synth", "OUT", "--train", "1", "--val", "1", "--size", "big"], "WIDTHxHEIGHT"),
        (["subset", "absent", "OUT", "--train", "1", "--val", "1"], "no such folder"),
    ],
)
def test_wrong_input_is_one_plain_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_memory_that_does_not_suffice_is_one_line_and_no_traceback(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from tensorflow.errors import ResourceExhaustedError

    def full(*_: object) -> None:
        text = "OOM when allocating tensor with shape[2,3] and type float on device:GPU:0"
        raise ResourceExhaustedError(None, None, text)

    monkeypatch.setattr(train, "train_run", full)
    assert main(["train", "--config", str(config_file), "--run", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("harness train: out of memory (pid ")
    assert "shape [2,3]" in line


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        pytest.param("ONEDNN_MAX_CPU_ISA=AVX2", "onednn_isa", marks=pytest.mark.nightly),
        pytest.param(
            "TF_XLA_FLAGS=--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
            "mode",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_a_run_that_goes_on_under_another_variable_says_so(
    variable: str, named: str, straight: Path, config_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name, _, value = variable.partition("=")
    monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "run"
    run("train", "--config", config_file, "--run", folder, "--epochs", 1)
    monkeypatch.setenv(name, value)
    run("train", "--config", config_file, "--run", folder, "--resume", "--segment", "longer")
    first, second = (r.environment for r in read_ledger(folder / "ledger.jsonl").records
                     if isinstance(r, RunRecord))  # fmt: skip
    assert first[named] != second[named]
    assert second["variables"][name] == value
    notes = [r.text for r in read_ledger(folder / "ledger.jsonl").records
             if isinstance(r, NoteRecord)]  # fmt: skip
    assert any("another environment" in text and f"{named}: {first[named]}" in text
               for text in notes)  # fmt: skip
    assert main(["report", str(folder), "--out", str(tmp_path / "report.html"),
                 "--across-segments"]) == 0  # fmt: skip
    assert f"environment {named}: {first[named]}" in (tmp_path / "report.html").read_text()
    told = run("eval", "--run", straight, "--checkpoint", "last")
    assert "evaluated in another environment than trained in" in told
    assert f"{named}: {first[named]}" in told


@pytest.mark.parametrize("page", ["api.md", "training.md"])
def test_a_page_says_the_exit_codes_that_the_help_says(page: str) -> None:
    said = re.compile(r"\b(\d+) (?:done|a\s+promise|wrong|the\s+input|a\s+mistake|interrupted)")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert set(said.findall(text)) == set(said.findall(str(_parser("").epilog)))
