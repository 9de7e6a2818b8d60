"""Training that a gate is required of: which gate files it takes, and which it refuses, and why."""

from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.commands import train
from harness.config import Config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.records.environments import LATER_FIELDS
from harness.runs.run_directory import RunOptions
from tests.gate_files import config_file, green_gate, write_gate

__all__ = ["config_file"]


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
