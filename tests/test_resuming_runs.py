"""A run directory: what it holds, and that it is crashed, resumed, changed and repaired."""

import fcntl
import json
import shutil
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.config import Config
from harness.errors import InputError
from harness.fc2.synthetic import write_dataset
from harness.records.environments import LATER_FIELDS
from harness.records.ledger import read_ledger
from harness.records.records import (
    EPOCH_FIELDS,
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    NoteRecord,
    ResumeRecord,
    RunRecord,
    StepRecord,
)
from harness.records.run import segments
from harness.reporting.tensorboard import EPOCH_TAGS
from harness.runs import run_directory
from harness.training.checkpoint import CheckpointStore
from harness.training.epochlog import effective_rows
from tests.chains import without_chain
from tests.run_directories import other_value, records, require_equal, without_clock
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


@pytest.fixture(scope="module")
def first_epoch(config: Config, cache: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "begun"
    train(config, folder, cache, until=1)
    return folder


@pytest.fixture
def begun(first_epoch: Path, tmp_path: Path) -> Path:
    """Return a run that has one epoch to go, of the test alone."""
    return Path(shutil.copytree(first_epoch, tmp_path / "run"))


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
    assert len(steps) == 4
    assert max(map(len, steps)) <= 300


def test_every_number_of_the_epoch_log_is_a_tensorboard_scalar(straight: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is an extra"
    )
    events = accumulator.EventAccumulator(str(straight / "tensorboard")).Reload()
    tags = set(events.Tags()["tensors"])
    last = records(straight, EpochRecord)[1]
    numbers = {name for name in EPOCH_FIELDS if isinstance(getattr(last, name), int | float)}
    wanted = {EPOCH_TAGS.get(name, f"epoch/{name}") for name in numbers - {"global_step"}}
    assert {tag for tag in tags if not tag.startswith(("step/", "pictures/"))} == wanted
    assert {"train/loss", "eval/epe_mean", "clip/rate", "eval/kendall_tau", "epoch/epoch"} <= tags
    # Steps where steps are known: two epochs of two.
    assert [event.step for event in events.Tensors("step/loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Tensors("train/loss")] == [2, 4]
    written = events.Tensors("eval/epe_mean")[-1].tensor_proto
    # TensorBoard keeps single precision.
    assert np.frombuffer(written.tensor_content, np.float32) == np.float32(last.mean_epe_12)


def test_training_dynamics_cannot_change_on_resume(
    straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", str(straight / "config.yaml"), "--run", str(straight)]
    assert main([*words, "--resume", "--set", "train.grad_clip_global_norm=20"]) == 2
    assert "train.grad_clip_global_norm: 50.0 -> 20.0" in capsys.readouterr().err


def test_a_run_is_not_overwritten(straight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(straight / "config.yaml"), "--run", str(straight)]
    assert main(words) == 2
    told = capsys.readouterr()
    assert "already holds a run" in told.err
    assert told.out == ""  # no results go anywhere


@pytest.mark.parametrize("point", [*POINTS][::3])  # neighbours leave much the same behind
def test_a_crash_is_repaired_by_a_resume(
    point: str, config: Config, cache: Any, straight: Path, tmp_path: Path, crashing: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    require_repaired(point, config, cache, straight, tmp_path / "run", crashing, monkeypatch)


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
    config: Config, cache: Any, begun: Path
) -> None:
    ledger, table = begun / "ledger.jsonl", begun / "epochs.csv"
    lines = ledger.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if '"kind":"norms"' in line)
    lines[place] = lines[place].replace('"norms":[', '"norms":[1')
    ledger.write_text("\n".join([*lines, ""]))
    header, row = table.read_text().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True)) | {"lr": "0.25"}
    table.write_text(";".join(cells) + "\r\n" + ";".join(cells.values()) + "\r\n")
    train(config, begun, cache, resume=True)
    notes = [record.text for record in records(begun, NoteRecord, broken=1)]
    assert any(text.startswith(f"ledger.jsonl: broken line {place + 1} (evid") for text in notes)
    assert any(
        text.startswith("epochs.csv: epoch 1, lr: says '0.25', the ledger") for text in notes
    )
    rows = effective_rows(table)
    assert [(one["epoch"], one["lr"] == "0.25") for one in rows] == [("1", True), ("2", False)]
    assert main(["audit", str(begun)]) == 1


def test_a_table_that_is_none_is_refused_before_anything_is_trained(
    config: Config, cache: Any, begun: Path
) -> None:
    table = begun / "epochs.csv"
    table.write_bytes(table.read_bytes().replace(b"mean_epe_12", b"mean_epe"))
    before = [(begun / name).read_bytes() for name in ("ledger.jsonl", "epochs.csv")]
    with pytest.raises(InputError, match=r"epochs\.csv: line 1: expected names of columns, found"):
        train(config, begun, cache, resume=True)
    assert [(begun / name).read_bytes() for name in ("ledger.jsonl", "epochs.csv")] == before


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
    folder = Path(shutil.copytree(straight, tmp_path / "run"))
    assert train(config, folder, cache, resume=True).status == "finished"
    require_equal(folder, straight)
    assert main(["audit", str(folder)]) == 0


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


def test_a_new_segment_goes_on_with_changed_dynamics_and_the_log_says_so(
    config: Config, cache: Any, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = changed_config(config, "train.grad_clip_global_norm=3", "train.clip_position=update")
    with pytest.raises(InputError, match=r"changed training dynamics: train\.clip_position"):
        train(other, begun, cache, resume=True)
    train(other, begun, cache, resume=True, segment="clip-3")
    rows = records(begun, EpochRecord)
    assert [(row.epoch, row.segment) for row in rows] == [(1, "main"), (2, "clip-3")]
    assert rows[0].protocol == rows[1].protocol != ""
    assert rows[1].kendall_tau_prev is not None
    cells = effective_rows(begun / "epochs.csv")
    assert [row["segment"] for row in cells] == ["main", "clip-3"]
    first, second = segments(read_ledger(begun / "ledger.jsonl").effective())
    assert second.start == (1, 2)
    assert first.config["train"]["clip_position"] == "micro_step"
    capsys.readouterr()
    assert main(["audit", str(begun)]) == 0
    text = capsys.readouterr().out
    assert "segment main" in text
    assert "segment clip-3" in text


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


def test_a_record_of_an_earlier_version_is_resumed_with_a_note_and_without_a_border(
    config: Config, cache: Any, begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    def older(record: RunRecord) -> RunRecord:
        known = {k: v for k, v in record.environment.items() if k not in LATER_FIELDS}
        return replace(record, environment=known)

    edit_first_record(begun, older)
    train(config, begun, cache, resume=True)
    note = "the record of the attempt before does not name cpu, onednn_isa, variables, gpu"
    told = capsys.readouterr().out
    assert note in told
    assert "another environment" not in told
    assert "environment cpu" not in page(begun)


def test_files_that_were_replaced_in_place_are_noticed(
    config: Config, cache: Any, begun: Path, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "fc2", train=7, val=5, height=19, width=37, seed=1)
    moved = changed_config(config, f"data.base_path={tmp_path / 'fc2'}")
    with pytest.raises(InputError, match="the batch of epoch 1, step 2 was trained on as"):
        train(moved, begun, cache, resume=True)


def test_frames_that_were_replaced_are_refused_before_a_step_towards_their_evaluation(
    config: Config, cache: Any, tmp_path: Path
) -> None:
    require_replaced_frames_refused("val", config, cache, tmp_path)
