import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.commands import doctor, train
from harness.config import Config, dump_config, load_config
from harness.environment import Environment, EnvironmentMismatchError, apply_environment
from harness.errors import InputError
from harness.promises.registry import declarations_digest
from harness.promises.setting import embedded_config
from harness.records.environments import LATER_FIELDS
from harness.records.ledger import effective, read_ledger
from harness.records.records import EPOCH_FIELDS, EpochRecord, NoteRecord, RunRecord, StepRecord
from harness.reporting.tensorboard import EPOCH_TAGS
from harness.require_gate import FORMAT, seal_of
from harness.runs.identity import gate_values
from harness.runs.run_directory import RunOptions
from tests.chains import without_chain

HARNESS = [sys.executable, "-m", "harness"]


def run(*words: object, code: int = 0) -> str:
    done = subprocess.run(
        [*HARNESS, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def config_file(embedded_frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(dump_config(embedded_config(embedded_frames)))
    return path


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
    run("train", "--config", config_file, "--run", folder, *gated)
    return folder


def write_gate(file: Path, gate: dict[str, Any]) -> None:
    """Write a gate file as the gate does, sealed."""
    file.write_text(json.dumps({**gate, "seal": seal_of(gate)}))


def green_gate(config_file: Path) -> dict[str, Any]:
    """Return a gate file that is green for a configuration."""
    config = load_config(config_file)
    return {
        "format": FORMAT, "verdict": "green", "system": "builtin", "version": "0.1",
        "tier": "quick", "relations": {"metric-oracle": {"verdict": "holds"}},
        "digests": {"declarations": declarations_digest()}, "known_defects": {},
        "required": [], "due": ["metric-oracle"],
        "configuration": gate_values(config), "environment": apply_environment(config).as_dict(),
    }  # fmt: skip


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


def test_a_run_directory_holds_what_the_contract_names(straight: Path) -> None:
    names = {path.name for path in straight.iterdir()}
    assert {"config.yaml", "ledger.jsonl", "epochs.csv", "checkpoints"} <= names
    for pointer in ("best", "last"):
        named = (straight / "checkpoints" / pointer).read_text().strip()
        assert (straight / "checkpoints" / named / "manifest.json").is_file()
    header, *lines = (straight / "epochs.csv").read_text().splitlines()
    assert header.split(",") == list(EPOCH_FIELDS)
    assert len(lines) == 2


def test_ledger_lines_of_steps_stay_below_300_bytes(straight: Path) -> None:
    content = read_ledger(straight / "ledger.jsonl")
    assert content.broken == ()
    lines = (straight / "ledger.jsonl").read_text().splitlines()
    steps = [line for line in lines if '"kind":"step"' in line]
    assert len(steps) == 6
    assert max(map(len, steps)) <= 300


def test_every_number_of_the_epoch_log_is_a_tensorboard_scalar(straight: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is an extra"
    )
    events = accumulator.EventAccumulator(str(straight / "tensorboard")).Reload()
    tags = set(events.Tags()["tensors"])
    last = rows(straight)[1]
    numbers = {name for name in EPOCH_FIELDS if isinstance(getattr(last, name), int | float)}
    wanted = {EPOCH_TAGS.get(name, f"epoch/{name}") for name in numbers - {"global_step"}}
    assert {tag for tag in tags if not tag.startswith(("step/", "pictures/"))} == wanted
    assert {"train/loss", "eval/epe_mean", "clip/rate", "eval/kendall_tau", "epoch/epoch"} <= tags
    # Steps where steps are known: two epochs of three.
    assert [event.step for event in events.Tensors("step/loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Tensors("train/loss")] == [3, 6]
    written = events.Tensors("eval/epe_mean")[-1].tensor_proto
    # TensorBoard keeps single precision.
    assert np.frombuffer(written.tensor_content, np.float32) == np.float32(last.mean_epe_12)


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
    straight: Path, config_file: Path, tmp_path: Path
) -> None:
    frozen, found = tmp_path / "frozen.npz", tmp_path / "eval.json"
    said = run("freeze", "--config", config_file, "--out", frozen)
    counts = r"\d validation batch(es)? \(digest \w+\) and \d recalibration batch(es)? \("
    assert re.search(rf"^{frozen}: {counts}digest \w+\)$", said, re.MULTILINE)
    run("eval", "--run", straight, "--checkpoint", "last", "--frozen", frozen, "--json", found)
    assert json.loads(found.read_text())["mean_epe_12"] == rows(straight)[1].mean_epe_12


@pytest.mark.slow
def test_the_full_split_scores_every_sample_once(straight: Path, tmp_path: Path) -> None:
    found, pool = tmp_path / "eval.json", tmp_path / "pool.json"
    pool.write_text(json.dumps(["012012012", [2, 1, 0, 2, 1, 0, 2, 1, 0]]))
    run("eval", "--run", straight, "--batches-per-arch", "full", "--pool", pool, "--json", found)
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
    run("train", "--config", config_file, "--run", folder, "--epochs", "1")
    before = (folder / "epochs.csv").read_text()
    ledger = folder / "ledger.jsonl"
    kept = [line for line in ledger.read_text().splitlines() if '"kind":"epoch"' not in line]
    ledger.write_text("\n".join(kept) + "\n")
    (folder / "epochs.csv").unlink()
    run("train", "--config", config_file, "--run", folder, "--epochs", "1", "--resume")
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


def test_training_dynamics_cannot_change_on_resume(
    straight: Path, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", str(config_file), "--run", str(straight), "--resume"]
    assert main([*words, "--set", "train.grad_clip_global_norm=20"]) == 2
    assert "train.grad_clip_global_norm: 50.0 -> 20.0" in capsys.readouterr().err


def test_a_run_is_not_overwritten(
    straight: Path, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", str(config_file), "--run", str(straight)]) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "red"}, "verdict 'red', expected 'green'"),
        ({"verdict": "green except known"}, "--accept-known-defects accepts it"),
        ({"configuration": {"train.lr": 1.0}}, "train.lr: gated 1.0, asked 0.001"),
        ({"configuration": {"eval.recal_mode": "random"}}, "eval.recal_mode: gated 'random'"),
        ({"environment": {"intra_op_threads": 3}}, "intra_op_threads: gated 3, asked 2"),
        ({"environment": {"onednn_isa": "none"}}, "onednn_isa: gated 'none', asked "),
        ({"environment": {"variables": {"XLA_FLAGS": "--a"}}}, "variables.XLA_FLAGS: gated '--a'"),
    ],
)
def test_training_refuses_a_gate_that_is_not_green_for_it(
    changes: dict[str, Any], message: str, config_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    green = green_gate(config_file)
    found = {k: v | changes.get(k, {}) if isinstance(v, dict) else changes.get(k, v)
             for k, v in green.items()}  # fmt: skip
    file = tmp_path / "gate.json"
    write_gate(file, found)
    words = ["train", "--config", str(config_file), "--run", str(tmp_path / "run")]
    assert main([*words, "--require-gate", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_a_gate_file_must_name_what_gate_files_always_named(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gate.json"
    write_gate(file, green_gate(config_file) | {"environment": {}})
    words = ["train", "--config", str(config_file), "--run", str(tmp_path / "run")]
    assert main([*words, "--require-gate", str(file)]) == 2
    assert "tensorflow: gated absent, asked '" in capsys.readouterr().err


def test_a_gate_file_of_an_earlier_version_is_accepted_with_a_note(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gate, file = green_gate(config_file), tmp_path / "gate.json"
    known = {k: v for k, v in gate["environment"].items() if k not in LATER_FIELDS}
    write_gate(file, gate | {"environment": known})
    asked = []

    def told(config: Config, _: Path, options: RunOptions) -> Any:
        asked.append(options.check_environment(apply_environment(config)))
        raise InputError

    monkeypatch.setattr(train, "train_run", told)
    words = ["train", "--config", str(config_file), "--run", str(tmp_path / "run")]
    assert main([*words, "--require-gate", str(file)]) == 2
    assert asked[0].startswith("gated: green")
    assert "the gate file does not name cpu, onednn_isa" in capsys.readouterr().out


def test_doctor_says_what_differs_from_a_run(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "_kernels", str)
    words = ["doctor", "--run", str(tmp_path), "--against"]
    assert main([*words, str(straight)]) == 0
    told = capsys.readouterr().out
    assert "same environment as attempt 1\n" in told
    assert "onednn_isa: " in told
    lines = [*map(without_chain, (straight / "ledger.jsonl").read_text().splitlines())]
    opening = json.loads(lines[0])
    opening["environment"] |= {"onednn_isa": "none", "numpy": "1.0"}
    opening["config"]["runtime"]["tf32"] = opening["environment"]["tf32"] = True
    (tmp_path / "ledger.jsonl").write_text("\n".join([json.dumps(opening), *lines[1:], ""]))
    assert main([*words, str(tmp_path), "--json", str(tmp_path / "found.json")]) == 1
    told = capsys.readouterr().out
    assert "differs  onednn_isa: attempt 1 had none, here " in told
    assert "differs  numpy: attempt 1 had 1.0, here " in told
    assert "same environment" not in told
    assert [one.split(":")[0] for one in json.loads((tmp_path / "found.json").read_text())[
        "differs"]] == ["numpy", "onednn_isa"]  # fmt: skip
    assert main([*words, str(tmp_path / "none")]) == 2
    assert "no such ledger" in capsys.readouterr().err


def test_doctor_tries_no_kernel_on_a_device_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_: Config) -> Environment:
        msg = "train.gpu_device is 1, but TensorFlow sees no GPUs"
        raise EnvironmentMismatchError(msg)

    monkeypatch.setattr(doctor, "apply_environment", absent)
    monkeypatch.setattr(doctor, "_kernels", lambda _: pytest.fail("tried"))
    assert main(["doctor", "--run", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert told.count("train.gpu_device is 1") == 1
    assert "kernels" not in told


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


@pytest.mark.slow
def test_doctor_finds_this_machine_ready(tmp_path: Path) -> None:
    assert "ready" in run("doctor", "--run", tmp_path)
