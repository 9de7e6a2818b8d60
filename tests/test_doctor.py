"""``harness doctor``: whether this machine is ready, and in what it differs from that of a run."""

import json
import re
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from harness.cli import main
from harness.commands import doctor
from harness.config import Config, with_overrides
from harness.environment import Environment, EnvironmentMismatchError, apply_environment
from harness.promises.setting import embedded_config
from harness.records.ledger import Ledger
from tests.documented import ROOT
from tests.synthetic_run import opening


def begun(folder: Path, config: Config, environment: dict[str, object]) -> str:
    """Return a run directory that holds how a run began, and nothing more."""
    folder.mkdir()
    with closing(Ledger(folder / "ledger.jsonl")) as ledger:
        ledger(opening(config.model_dump(mode="json", by_alias=True), environment=environment))
    return str(folder)


def test_doctor_says_what_differs_from_a_run(
    tmp_path: Path, embedded_frames: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "_kernels", str)
    words = ["doctor", "--run", str(tmp_path), "--against"]
    config = embedded_config(embedded_frames)
    here = apply_environment(config).as_dict()
    assert main([*words, begun(tmp_path / "same", config, here)]) == 0
    told = capsys.readouterr().out
    assert "same environment as attempt 1\n" in told
    assert "onednn_isa: " in told
    exact = with_overrides(config, ["runtime.tf32=true"])  # which is applied here, too
    there = {**here, "onednn_isa": "none", "numpy": "1.0", "tf32": True}
    other = begun(tmp_path / "other", exact, there)
    assert main([*words, other, "--json", str(tmp_path / "found.json")]) == 1
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
    # Its own words: what class of error says them tells a reader nothing.
    assert told.count("FAIL  tensorflow: train.gpu_device is 1, but") == 1
    assert "kernels" not in told


def test_doctor_asks_for_what_the_package_itself_needs_and_nothing_more() -> None:
    """A fresh installation as README.md says has none of what develops it, and is ready."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split("[<>=]", line)[0] for line in project["dependencies"]}
    assert set(doctor._REQUIRED) == needed


@pytest.mark.slow
def test_doctor_finds_this_machine_ready(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "harness", "doctor", "--run", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready" in done.stdout
