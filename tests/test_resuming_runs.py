"""A run directory that is crashed, resumed, changed and repaired, in one process."""

import csv
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.commands.observers import run_observers
from harness.config import Config, dump_config, with_overrides
from harness.environment import apply_environment
from harness.errors import InputError
from harness.fc2.synthetic import write_dataset
from harness.promises.setting import matrix_config
from harness.records.environments import LATER_FIELDS
from harness.records.ledger import Ledger, read_ledger
from harness.records.records import (
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    NoteRecord,
    ResumeRecord,
    RunRecord,
    StepRecord,
    from_json,
    to_json,
)
from harness.records.run import segments
from harness.runs import run_directory
from harness.runs.run_directory import RunOptions, train_run
from harness.training.checkpoint import CheckpointStore
from harness.training.epochlog import EpochCsv, effective_rows
from tests.chains import unchained, without_chain
from tests.run_directories import other_value, records, require_equal, without_clock


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "fc2", train=7, val=5, height=19, width=37)
    few = ("eval.eval_pool_size=3", "train.num_epochs=2", "eval.eval_batches_per_arch=1",
           "eval.bn_recal_batches=1", "checkpoint.every_steps=1",
           # Runs with pictures are in test_pictured_runs.py.
           "train.batch_size=5", "runtime.pictures=0")  # fmt: skip
    found = with_overrides(matrix_config(folder / "fc2"), few)
    apply_environment(found)
    return found


@pytest.fixture(scope="module")
def cache(config: Config) -> Any:
    from harness.runs.session import CompiledCache

    return CompiledCache()


def train(config: Config, folder: Path, cache: Any, **options: Any) -> Any:
    acquired = []
    real = cache.acquire

    def acquire(*args: Any) -> Any:
        acquired.append(real(*args))
        return acquired[-1]

    cache.acquire = acquire
    try:
        return train_run(
            config, folder, RunOptions(cache=cache, observers=run_observers, **options)
        )
    finally:
        cache.acquire = real
        for one in acquired:
            cache.release(one)


@pytest.fixture(scope="module")
def straight(config: Config, cache: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    code = {"commit": "0" * 40, "dirty": False}
    assert train(config, folder, cache, code=lambda: code).status == "finished"
    return folder


class Crash(BaseException):
    """What nothing catches, as a kill would."""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def at(owner: Any, name: str, call: int, *, after: bool = False) -> None:
        real, calls = getattr(owner, name), []

        def crash(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == call and not after:
                raise Crash
            found = real(*args, **kwargs)
            if len(calls) == call:
                raise Crash
            return found

        monkeypatch.setattr(owner, name, crash)

    return at


POINTS: dict[str, tuple[Any, str, int, bool]] = {
    "before the first record": (Ledger, "__call__", 1, False),
    "before the first step is recorded": (Ledger, "__call__", 2, False),
    "before the first checkpoint is pointed at": (CheckpointStore, "_point", 1, False),
    "before epoch 1 is saved, ahead of its evaluation": (CheckpointStore, "save", 2, False),
    "as that is pointed at": (CheckpointStore, "_point", 2, False),
    "after that": (CheckpointStore, "save", 2, True),
    "before the norms of epoch 1": (Ledger, "__call__", 5, False),
    "before the scores of epoch 1": (Ledger, "__call__", 6, False),
    "before the checkpoint of epoch 1": (CheckpointStore, "save", 3, False),
    "between best and last": (CheckpointStore, "_point", 4, False),
    "before the first save goes": (CheckpointStore, "_discard_others", 3, False),
    "between checkpoint and its record": (Ledger, "__call__", 7, False),
    "between checkpoint and row": (Ledger, "__call__", 8, False),
    "between ledger row and CSV row": (EpochCsv, "__call__", 8, False),
    "after the last row": (EpochCsv, "__call__", 15, True),
}


@pytest.mark.parametrize(
    "point",  # every second one in the slow tier: neighbours leave much the same behind
    [pytest.param(p, marks=[pytest.mark.slow] * (i % 2)) for i, p in enumerate(POINTS)],
)
def test_a_crash_anywhere_is_repaired_by_a_resume(
    point: str, config: Config, cache: Any, straight: Path, tmp_path: Path, crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    owner, name, call, after = POINTS[point]
    crashing(owner, name, call, after=after)
    with pytest.raises(Crash):
        train(config, tmp_path / "run", cache)
    monkeypatch.undo()
    assert train(config, tmp_path / "run", cache, resume=True).status == "finished"
    require_equal(tmp_path / "run", straight)
    assert main(["audit", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("field", [field.name for field in fields(RunRecord)])
def test_each_field_of_the_first_line_is_told_when_it_alone_is_changed(
    field: str, straight: Path, tmp_path: Path
) -> None:
    # As an earlier version wrote it: a chain would tell of any change.
    lines = (straight / "ledger.jsonl").read_text().splitlines()
    first, *rest = map(without_chain, lines)
    opening = json.loads(first)
    changed = json.dumps({**opening, field: other_value(opening[field])})
    (tmp_path / "ledger.jsonl").write_text("\n".join([changed, *rest]))
    assert main(["audit", str(straight)]) == 0
    # Of another attempt, all that follows is void, and nothing is left to audit.
    assert main(["audit", str(tmp_path / "ledger.jsonl")]) == (2 if field == "attempt" else 1)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_segment_may_reset_early_stopping(config: Config, cache: Any, tmp_path: Path) -> None:
    train(config, tmp_path / "run", cache, until=1)
    other = changed_config(config, "checkpoint.reset_early_stop_on_resume=true", "train.lr=0.1")
    train(other, tmp_path / "run", cache, resume=True, segment="anew")
    assert main(["audit", str(tmp_path / "run")]) == 0


@pytest.mark.slow
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


def test_logs_are_only_appended_to_and_name_the_attempt(
    config: Config, cache: Any, straight: Path, tmp_path: Path, crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    crashing(CheckpointStore, "save", 4)
    with pytest.raises(Crash):
        train(config, folder, cache)
    before = [(folder / name).read_bytes() for name in ("ledger.jsonl", "epochs.csv")]
    monkeypatch.undo()
    train(config, folder, cache, resume=True)
    after = [(folder / name).read_bytes() for name in ("ledger.jsonl", "epochs.csv")]
    assert [a.startswith(b) for a, b in zip(after, before, strict=True)] == [True, True]
    content = read_ledger(folder / "ledger.jsonl")
    assert set(content.attempts) == {1, 2}
    (border,) = (r for r in content.records if isinstance(r, ResumeRecord))
    assert (border.attempt, border.epoch, border.step) == (2, 1, 0)
    assert len(content.records) > len(content.effective())  # epoch 2's first step came twice


def test_a_resume_tells_of_lost_lines_and_of_a_table_that_says_something_else(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    ledger, table = folder / "ledger.jsonl", folder / "epochs.csv"
    lines = ledger.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if '"kind":"norms"' in line)
    lines[place] = lines[place].replace('"norms":[', '"norms":[1')
    ledger.write_text("\n".join([*lines, ""]))
    header, row = table.read_text().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True)) | {"lr": "0.25"}
    table.write_text(";".join(cells) + "\r\n" + ";".join(cells.values()) + "\r\n")
    train(config, folder, cache, resume=True)
    notes = [record.text for record in records(folder, NoteRecord, broken=1)]
    assert any(text.startswith(f"ledger.jsonl: broken line {place + 1} (evid") for text in notes)
    assert any(
        text.startswith("epochs.csv: epoch 1, lr: says '0.25', the ledger") for text in notes
    )
    rows = effective_rows(table)
    assert [(one["epoch"], one["lr"] == "0.25") for one in rows] == [("1", True), ("2", False)]
    assert main(["audit", str(folder)]) == 1


def test_a_table_that_is_none_is_refused_before_anything_is_trained(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    table = folder / "epochs.csv"
    table.write_bytes(table.read_bytes().replace(b"mean_epe_12", b"mean_epe"))
    before = [(folder / name).read_bytes() for name in ("ledger.jsonl", "epochs.csv")]
    with pytest.raises(InputError, match=r"epochs\.csv: line 1: expected names of columns, found"):
        train(config, folder, cache, resume=True)
    assert [(folder / name).read_bytes() for name in ("ledger.jsonl", "epochs.csv")] == before


def test_a_stop_within_an_evaluation_keeps_the_steps(
    config: Config, cache: Any, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.evaluation.evaluator import Evaluator

    asked: list[bool] = []
    real = Evaluator.recalibrate

    class Flag:
        def __enter__(self) -> Any:
            return lambda: bool(asked)

        def __exit__(self, *_: object) -> None: ...

    def recalibrate(*args: Any) -> Any:
        asked.append(True)
        return real(*args)

    monkeypatch.setattr(run_directory, "StopFlag", Flag)
    monkeypatch.setattr(Evaluator, "recalibrate", recalibrate)
    found = train(config, tmp_path / "run", cache)
    assert (found.status, found.progress.epoch, found.progress.step) == ("interrupted", 0, 2)
    assert records(tmp_path / "run", EvalRecord) == []
    monkeypatch.undo()
    train(config, tmp_path / "run", cache, resume=True)
    require_equal(tmp_path / "run", straight)


def steps_recorded(folder: Path) -> list[tuple[int, int]]:
    """Return every step that was ever trained, those that became void too."""
    content = read_ledger(folder / "ledger.jsonl").records
    return [(r.epoch, r.step) for r in content if isinstance(r, StepRecord)]


STEPS = [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_evaluation_that_fails_loses_no_step(
    epoch: int, config: Config, cache: Any, straight: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from harness.evaluation.evaluator import Evaluator

    real, folder = Evaluator.evaluate, tmp_path / "run"

    def evaluate(*args: Any, **options: Any) -> Any:
        if options["epoch"] == epoch:
            raise InputError("a file that cannot be read")
        return real(*args, **options)

    rare = changed_config(config, "checkpoint.every_steps=0")
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", evaluate)
        for resume in (False, True):  # where nothing was mended, the same again
            with pytest.raises(InputError, match="cannot be read"):
                train(rare, folder, cache, resume=resume)
            last = CheckpointStore(folder / "checkpoints").load("last").progress
            assert (last["epoch"], last["step"]) == (epoch - 1, 2)
    (saved,) = (r for r in records(folder, CheckpointRecord) if r.step)
    assert (saved.epoch, saved.step) == (epoch - 1, 2)
    train(config, folder, cache, resume=True)
    assert steps_recorded(folder) == STEPS
    rows = [[without_clock(r) for r in records(f, EpochRecord)] for f in (folder, straight)]
    assert rows[0] == rows[1]
    assert main(["audit", str(folder)]) == 0


def test_a_batch_that_cannot_be_read_loses_no_step(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "fc2", train=7, val=5, height=19, width=37)
    every = ("checkpoint.every_steps=0", f"data.base_path={tmp_path / 'fc2'}", "runtime.seed=5")
    own, folder = changed_config(config, *every), tmp_path / "run"
    train(own, tmp_path / "straight", cache, until=1)
    second = last_sample_of_epoch(own)
    whole = second.read_bytes()
    second.write_bytes(whole[:99])
    with pytest.raises(InputError, match=f"{second.name}: expected an image"):
        train(own, folder, cache, until=1)
    assert CheckpointStore(folder / "checkpoints").load("last").progress["step"] == 1
    second.write_bytes(whole)
    train(own, folder, cache, resume=True, until=1)
    assert steps_recorded(folder) == STEPS[:2]
    require_equal(folder, tmp_path / "straight")


def last_sample_of_epoch(config: Config) -> Path:
    """Return a frame that the last batch of epoch 1 alone reads, and no evaluation."""
    from harness.fc2.provider import open_provider

    provider = open_provider(config, "train", "train")
    served = set(provider.batch(1, 1).ids)
    fixed = {triplet.id for triplet in provider.samples[: config.eval_batch_size]}
    chosen = sorted(served - fixed)[0]
    return next(t.img_0 for t in provider.samples if t.id == chosen)


UNFIT: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "a validation file that cannot be read": (
        (), lambda val: next(val.glob("*2-img_1*")).write_bytes(b"P6"), "img_1.*expected an image"
    ),
    "a crop that does not fit a frame": (
        ("eval.crop=[32,32]",), lambda val: None, "expected a frame of at least 32 x 32"
    ),
    "a sample without a known pixel": (
        (), lambda val: unknown(next(val.glob("*2-flow*"))),
        r"sample .*2: expected flow that is known at one pixel at least of its evaluation crop",
    ),
}  # fmt: skip


def unknown(path: Path) -> None:
    """Mark the flow of a sample as unknown everywhere."""
    content = path.read_bytes()
    path.write_bytes(content[:12] + np.full((len(content) - 12) // 4, 1.5e9, "<f4").tobytes())


@pytest.mark.parametrize("name", UNFIT)
def test_what_no_evaluation_can_use_is_said_before_the_first_step(
    name: str, config: Config, cache: Any, tmp_path: Path
) -> None:
    keys, spoil, message = UNFIT[name]
    write_dataset(tmp_path / "fc2", train=7, val=5, height=19, width=37)
    own = changed_config(config, f"data.base_path={tmp_path / 'fc2'}", *keys)
    spoil(tmp_path / "fc2" / "val")
    with pytest.raises(InputError, match=message):
        train(own, tmp_path / "run", cache)
    assert read_ledger(tmp_path / "run" / "ledger.jsonl").records == ()
    assert not (tmp_path / "run" / "config.yaml").exists()
    # Where no evaluation comes, none is held against it.
    rare = changed_config(own, "eval.eval_every_epoch=9")
    assert train(rare, tmp_path / "run", cache, until=1).status == "finished"


def test_a_stop_before_the_first_step_is_resumable(
    config: Config, cache: Any, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "StopFlag", lambda: nullcontext(lambda: True))
        for resume in (False, True):
            found = train(config, tmp_path / "run", cache, resume=resume)
            assert (found.status, found.progress.global_step) == ("interrupted", 0)
    train(config, tmp_path / "run", cache, resume=True)
    require_equal(tmp_path / "run", straight)


def test_a_finished_run_is_resumed_without_harm(
    config: Config, cache: Any, straight: Path, tmp_path: Path
) -> None:
    train(config, tmp_path / "run", cache)
    assert train(config, tmp_path / "run", cache, resume=True).status == "finished"
    require_equal(tmp_path / "run", straight)
    assert main(["audit", str(tmp_path / "run")]) == 0


def test_an_older_checkpoint_that_is_named_by_hand_is_replayed(
    config: Config, cache: Any, straight: Path, tmp_path: Path
) -> None:
    folder, kept = tmp_path / "run", changed_config(config, "checkpoint.keep_latest=9")
    train(kept, folder, cache)
    (folder / "checkpoints" / "last").write_text("epoch-0001-step-00001-attempt-1\n")
    before = (folder / "epochs.csv").read_bytes()
    train(kept, folder, cache, resume=True)
    assert (folder / "epochs.csv").read_bytes() == before
    scores = [[r.per_arch_epe for r in records(f, EvalRecord)] for f in (folder, straight)]
    assert scores[0] == scores[1]
    digests = {CheckpointStore(f / "checkpoints").load("last").digest for f in (folder, straight)}
    assert len(digests) == 1
    assert main(["audit", str(folder)]) == 0


def test_two_processes_do_not_train_in_one_directory(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process trains there"):
            train(config, tmp_path / "run", cache)


def changed_config(config: Config, *assignments: str) -> Config:
    return with_overrides(config, assignments)


def test_a_new_segment_goes_on_with_changed_dynamics_and_the_log_says_so(
    config: Config, cache: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)
    other = changed_config(config, "train.grad_clip_global_norm=3", "train.clip_position=update")
    with pytest.raises(InputError, match=r"changed training dynamics: train\.clip_position"):
        train(other, folder, cache, resume=True)
    train(other, folder, cache, resume=True, segment="clip-3")
    rows = records(folder, EpochRecord)
    assert [(row.epoch, row.segment) for row in rows] == [(1, "main"), (2, "clip-3")]
    assert rows[0].protocol == rows[1].protocol != ""
    assert rows[1].kendall_tau_prev is not None
    cells = effective_rows(folder / "epochs.csv")
    assert [row["segment"] for row in cells] == ["main", "clip-3"]
    first, second = segments(read_ledger(folder / "ledger.jsonl").effective())
    assert second.start == (1, 2)
    assert first.config["train"]["clip_position"] == "micro_step"
    capsys.readouterr()
    assert main(["audit", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "segment main" in text
    assert "segment clip-3" in text


@pytest.mark.slow
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


def edit_first_record(folder: Path, change: Any) -> None:
    path = folder / "ledger.jsonl"
    first, *rest = unchained(path)
    record = from_json(json.loads(first))
    assert isinstance(record, RunRecord)
    path.write_text("\n".join([json.dumps(to_json(change(record))), *rest, ""]))


def test_other_code_is_a_recorded_border_and_the_same_is_none(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    run, codes = tmp_path / "run", [{"commit": "a" * 40, "dirty": False}] * 2
    codes += [{"commit": "a" * 40, "dirty": True}, {}]
    for epochs, code in enumerate(codes, start=0):
        train(config, run, cache, resume=epochs > 0, until=1, code=lambda found=code: found)
    records = read_ledger(run / "ledger.jsonl").records
    assert [one.code for one in records if isinstance(one, RunRecord)] == codes
    told = [one.text for one in records if isinstance(one, NoteRecord) and "code" in one.text]
    assert told == [
        f"resuming with other code, the same is not promised: commit {'a' * 40} -> "
        f"commit {'a' * 40}, changed since"
    ]


@pytest.mark.slow
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


def page(folder: Path) -> str:
    """Return the report on a run."""
    out = folder.with_suffix(".html")
    assert main(["report", str(folder), "--out", str(out), "--across-segments"]) == 0
    return out.read_text()


def test_a_record_of_an_earlier_version_is_resumed_with_a_note_and_without_a_border(
    config: Config, cache: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(config, folder, cache, until=1)

    def older(record: RunRecord) -> RunRecord:
        known = {k: v for k, v in record.environment.items() if k not in LATER_FIELDS}
        return replace(record, environment=known)

    edit_first_record(folder, older)
    train(config, folder, cache, resume=True)
    note = "the record of the attempt before does not name cpu, onednn_isa, variables, gpu"
    told = capsys.readouterr().out
    assert note in told
    assert "another environment" not in told
    assert "environment cpu" not in page(folder)


def test_files_that_were_replaced_in_place_are_noticed(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "fc2", train=7, val=5, height=19, width=37, seed=1)
    moved = changed_config(config, f"data.base_path={tmp_path / 'fc2'}")
    train(config, tmp_path / "run", cache, until=1)
    with pytest.raises(InputError, match="the batch of epoch 1, step 2 was trained on as"):
        train(moved, tmp_path / "run", cache, resume=True)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("split", ["val", pytest.param("train", marks=pytest.mark.slow)])
def test_frames_that_were_replaced_are_refused_before_a_step_towards_their_evaluation(
    split: str, config: Config, cache: Any, tmp_path: Path
) -> None:
    folder, fc2 = tmp_path / "run", tmp_path / "fc2"
    shutil.copytree(config.data.base_path, fc2)
    moved = changed_config(config, f"data.base_path={fc2}")
    train(moved, folder, cache, until=1)
    first, second = sorted((fc2 / split).glob("*-img_0.png"))[:2]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    before = (folder / "ledger.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"files have been replaced\. Restore them"):
        train(moved, folder, cache, resume=True)
    assert (folder / "ledger.jsonl").read_bytes() == before
    first.write_bytes(kept)
    assert train(moved, folder, cache, resume=True).status == "finished"
