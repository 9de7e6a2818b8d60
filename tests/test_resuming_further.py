"""Resuming, further: crashes in between, segments and other borders, older versions' files.

All of it is slow, and nothing in ``test_resuming_runs.py`` is: each tier makes the fixtures once.
"""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.config import Config, with_overrides
from harness.environment import apply_environment
from harness.errors import InputError
from harness.records.ledger import Ledger, read_ledger
from harness.records.records import EpochRecord, NoteRecord, RunRecord, StepRecord
from harness.records.run import segments
from harness.training.checkpoint import CheckpointStore
from harness.training.epochlog import effective_rows
from tests.run_directories import records, without_clock
from tests.training_runs import (
    POINTS,
    Crash,
    cache,
    changed_config,
    config,
    crashing,
    edit_first_record,
    page,
    require_repaired,
    require_replaced_frames_refused,
    straight,
    train,
)

__all__ = ["cache", "config", "crashing", "straight"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("point", [point for i, point in enumerate(POINTS) if i % 3])
def test_a_crash_in_between_is_repaired_by_a_resume(
    point: str, config: Config, cache: Any, straight: Path, tmp_path: Path, crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    require_repaired(point, config, cache, straight, tmp_path / "run", crashing, monkeypatch)


def test_a_crash_between_best_and_last_of_the_first_checkpoint_is_repaired(
    config: Config, cache: Any, straight: Path, tmp_path: Path, crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rare = changed_config(config, "checkpoint.every_steps=0")
    crashing(CheckpointStore, "_point", 2)
    with pytest.raises(Crash):
        train(rare, tmp_path / "run", cache)
    monkeypatch.undo()
    assert train(rare, tmp_path / "run", cache, resume=True).status == "finished"
    rows = [
        [without_clock(r) for r in records(f, EpochRecord)] for f in (tmp_path / "run", straight)
    ]
    assert rows[0] == rows[1]
    assert CheckpointStore(tmp_path / "run" / "checkpoints").load("best")


def test_a_segment_with_another_batch_size_is_not_stopped_for_other_evaluation_batches(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    follows = changed_config(config, "eval.batch_size=null")
    train(follows, tmp_path / "run", cache, until=1)
    other = changed_config(follows, "train.batch_size=4")
    found = train(other, tmp_path / "run", cache, resume=True, segment="b4")
    assert found.status == "finished"
    hashes = {row.eval_batch_hash for row in records(tmp_path / "run", EpochRecord)}
    assert len(hashes) == 2
    assert main(["audit", str(tmp_path / "run")]) == 0


def test_a_row_that_is_repaired_in_a_new_segment_belongs_to_the_old_one(
    config: Config, cache: Any, tmp_path: Path, crashing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing(Ledger, "__call__", 8)
    with pytest.raises(Crash):
        train(config, tmp_path / "run", cache)
    monkeypatch.undo()
    other = changed_config(config, "train.clip_position=update")
    train(other, tmp_path / "run", cache, resume=True, segment="update")
    first, second = segments(read_ledger(tmp_path / "run" / "ledger.jsonl").effective())
    assert [row.epoch for row in first.epochs] == [1]
    assert [row.epoch for row in second.epochs] == [2]
    assert main(["audit", str(tmp_path / "run")]) == 0


def test_a_segment_may_reset_early_stopping(config: Config, cache: Any, tmp_path: Path) -> None:
    train(config, tmp_path / "run", cache, until=1)
    other = changed_config(config, "checkpoint.reset_early_stop_on_resume=true", "train.lr=0.1")
    train(other, tmp_path / "run", cache, resume=True, segment="anew")
    assert main(["audit", str(tmp_path / "run")]) == 0


def test_best_is_taken_off_a_checkpoint_that_has_become_void(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    kept, folder = changed_config(config, "checkpoint.keep_latest=9"), tmp_path / "run"
    train(kept, folder, cache)
    store = CheckpointStore(folder / "checkpoints")
    (folder / "checkpoints" / "best").write_text("epoch-0002-step-00000-attempt-1\n")
    (folder / "checkpoints" / "last").write_text("epoch-0001-step-00000-attempt-1/\n")
    worse = changed_config(kept, "train.lr=0.3")
    train(worse, folder, cache, resume=True, segment="worse", until=1)
    assert store.resolve("best").name == "epoch-0001-step-00000-attempt-1"
    assert any("which is void now" in note.text for note in records(folder, NoteRecord))


def test_a_new_metric_series_forgets_the_best_and_the_ranking(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    other = changed_config(config, "eval.eval_batches_per_arch=2")
    train(other, folder, cache, resume=True, segment="k2")
    first, second = records(folder, EpochRecord)
    assert first.protocol != second.protocol
    assert second.best_epe == second.mean_epe_12
    assert second.kendall_tau_prev is None
    assert second.reasons["kendall_tau_prev"] == "no previous evaluation"
    assert any("a new metric series starts" in r.text for r in records(folder, NoteRecord))
    assert main(["audit", str(folder)]) == 0
    steps = [(r.epoch, r.step, r.batch) for r in records(folder, StepRecord)]
    assert len(steps) == 4


def test_another_environment_is_a_recorded_border(
    config: Config, cache: Any, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    there = {"intra_op_threads": 7, "onednn_isa": "none", "variables": {"XLA_FLAGS": "--a"}}
    edit_first_record(folder, lambda r: replace(r, environment={**r.environment, **there}))
    train(config, folder, cache, resume=True)
    isa = apply_environment(config).onednn_isa
    note = (
        "bit equality with an uncut run is not promised: intra_op_threads: 7 -> 2; "
        f"onednn_isa: none -> {isa}; variables.XLA_FLAGS: --a -> absent"
    )
    assert note in capsys.readouterr().out
    assert any(note in record.text for record in records(folder, NoteRecord))
    assert f"environment onednn_isa: none -&gt; {isa}" in page(folder)


def test_an_older_checkpoint_without_what_observes_resumes_with_a_note(
    config: Config, cache: Any, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    store = CheckpointStore(folder / "checkpoints")
    old = store.load("last")
    older = {k: v for k, v in old.progress.items() if k not in ("previous", "row", "sums")}
    meta = {k: v for k, v in old.meta.items() if k not in ("segment", "protocol", "data")}
    store.save("epoch-0001-step-00000-attempt-2", old.arrays, older, meta)
    edit_first_record(folder, lambda r: replace(r, data={}, protocol=""))
    train(config, folder, cache, resume=True)
    assert "the checkpoint holds no `previous`" in capsys.readouterr().out
    arrays = [CheckpointStore(f / "checkpoints").load().arrays for f in (folder, straight)]
    assert all((arrays[0][name] == arrays[1][name]).all() for name in arrays[1])


def test_an_older_epoch_log_keeps_its_columns(config: Config, cache: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    path = folder / "epochs.csv"
    table = list(csv.reader(path.read_text().splitlines()))
    path.write_text("".join(",".join(row[:25]) + "\n" for row in table))
    before = path.read_text()
    train(config, folder, cache, resume=True)
    assert path.read_text().startswith(before)
    rows = effective_rows(path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert set(rows[1]) == set(table[0][:25])


def on_device(config: Config) -> Config:
    return with_overrides(config, ["runtime.score_on=device"])


def test_scores_go_on_where_they_were_summed_up(config: Config, cache: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    with pytest.raises(InputError, match=r"eval.scored: host -> device.* name a new segment"):
        train(on_device(config), folder, cache, resume=True)
    train(on_device(config), folder, cache, resume=True, segment="device")
    assert any(
        "a new metric series starts" in note.text and "eval.scored: host -> device" in note.text
        for note in records(folder, NoteRecord)
    )
    # By itself it goes on as it is, whatever this device is.
    more = with_overrides(config, ["train.num_epochs=3"])
    train(more, folder, cache, resume=True, segment="more")
    host, device, again = records(folder, RunRecord)
    assert [one.data.get("scored") for one in (host, device, again)] == [None, "device", None]
    assert host.protocol == again.protocol != device.protocol
    folder = tmp_path / "device"
    train(on_device(config), folder, cache, until=1)
    train(config, folder, cache, resume=True)
    assert [one.data.get("scored") for one in records(folder, RunRecord)] == ["device"] * 2


def test_training_frames_that_were_replaced_are_refused_before_a_step_towards_an_evaluation(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    require_replaced_frames_refused("train", config, cache, tmp_path)
