"""A clip study judges what it trained, changes nothing, and goes on where it was killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.config import Config, dump_config
from harness.records.ledger import Ledger
from harness.records.records import EpochRecord
from tests.run_directories import records
from tests.training_runs import Crash, changed_config, config, crashing

__all__ = ["config", "crashing"]


@pytest.mark.slow
def test_a_clip_study_judges_what_it_trained_and_changes_nothing(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "config.yaml", tmp_path / "run"
    path.write_text(dump_config(changed_config(config, "train.grad_clip_global_norm=5")))
    study = ["clip-study", "--config", str(path), "--run", str(folder), "--epochs", "1"]
    assert main([*study, "--json", str(tmp_path / "study.json")]) == 0
    found = json.loads((tmp_path / "study.json").read_text())
    (row,) = records(folder, EpochRecord)
    assert [epoch["clip_rate"] for epoch in found["epochs"]] == [row.clip_rate]
    assert found["advice"]["clip_rate"] == row.clip_rate > 0.9
    assert found["advice"]["p90"] == row.grad_norm_p90
    assert found["advice"]["threshold"] == 20
    assert "--segment clip-20 --set train.grad_clip_global_norm=20" in found["command"]
    assert found["command"] in capsys.readouterr().out
    assert main([*study[:-1], "2"]) == 2
    assert "1 of the 2 planned epochs are done" in capsys.readouterr().err


@pytest.mark.nightly
@pytest.mark.parametrize("record", [3, 12])
def test_a_clip_study_that_was_killed_ends_where_it_would_have_ended(
    record: int, config: Config, tmp_path: Path, crashing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = tmp_path / "config.yaml", []
    path.write_text(dump_config(config))
    for name in ("straight", "cut"):
        study = ["clip-study", "--config", str(path), "--run", str(tmp_path / name), "--epochs",
                 "2", "--json", str(tmp_path / f"{name}.json")]  # fmt: skip
        if name == "cut":
            crashing(Ledger, "__call__", record)
            with pytest.raises(Crash):
                main(study)
            monkeypatch.undo()
        assert main(study) == 0
        told.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert told[0] == told[1]
    assert [row["epoch"] for row in told[0]["epochs"]] == [1, 2]
    # Killed after its last word, or asked once more: the plan is over, and it says the same.
    (tmp_path / "cut.json").unlink()
    assert main(study) == 0
    assert json.loads((tmp_path / "cut.json").read_text()) == told[1]
    assert main([*study, "--epochs", "1"]) == 2, "another, for which no epochs are left"
