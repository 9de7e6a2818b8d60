import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.config import WatchConfig, dump_config, load_config
from harness.environment import apply_environment
from harness.errors import WatchError
from harness.promises.setting import embedded_config
from harness.records.ledger import effective, read_ledger
from harness.records.records import (
    EpochRecord,
    EvalRecord,
    NormsRecord,
    NoteRecord,
    ResumeRecord,
    RunRecord,
    StepRecord,
)
from harness.watch import ADVICE, Watch, WatchParts
from tests.synthetic_run import POOL, ZERO_FLOW, digest, make_records, opening, tree

DEFAULT = WatchConfig().model_dump()
RECORDS = make_records()
SCORES = [record for record in RECORDS if isinstance(record, EvalRecord)]


def watched(records, modes=DEFAULT, history=()):
    """Feed records; return what was said, the notes, and the error that stopped it."""
    said: list[str] = []
    notes: list[NoteRecord] = []
    watch = Watch(modes, say=said.append, observers=(notes.append,), history=history)
    try:
        for record in records:
            watch(record)
    except WatchError as error:
        return said, notes, str(error)
    return said, notes, None


def each(kind, records=RECORDS, epoch=None, step=None, **changes):
    """Change fields of the records of a kind, or of those of one epoch and step."""

    def chosen(record):
        return (
            isinstance(record, kind)
            and epoch in (None, getattr(record, "epoch", None))
            and step in (None, getattr(record, "step", None))
        )

    return [
        replace(record, **{k: v(record) if callable(v) else v for k, v in changes.items()})
        if chosen(record)
        else record
        for record in records
    ]


def dead_share(share=1.0, std=0.001, only=None):
    return each(EvalRecord, epoch=only, mean_epe=ZERO_FLOW * share, std_epe=std)


def saturated(records=RECORDS):
    return each(EpochRecord, records, clip_count=lambda r: r.clip_checks)


SOUND = {
    "full pass": RECORDS,
    "fixed steps": make_records(sizes=(5,) * 3, train={"epoch_mode": "fixed_steps"}),
    "clip per update": make_records(train={"clip_position": "update"}),
    "random recalibration": make_records(eval={"recal_mode": "random"}),
    "every second epoch": make_records(epochs=5, eval={"eval_every_epoch": 2}),
    "no evaluation": make_records(evaluate=False),
    "killed": RECORDS[:-3],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_run_is_left_alone(name):
    assert watched(SOUND[name]) == ([], [], None)


STOPS = {
    "clip checks announced": (
        each(RunRecord, expected_clip_checks=27), "clip_counts",
        "watch: announced, clip checks: expected 24, found 27",
    ),
    "clip checks of a step": (
        each(StepRecord, checks=3), "clip_counts",
        "watch: epoch 1, step 1, clip checks: expected 9, found 3, which implies "
        "ceil(batch / micro-batch) = 1.00 for batch 5, micro-batch 2",
    ),
    "a step beyond the plan": (
        [*RECORDS[:4], replace(RECORDS[3], step=4)], "clip_counts", "epoch 1, step 4, clip checks",
    ),
    "clip checks of the row": (
        each(EpochRecord, epoch=2, clip_checks=18), "clip_counts",
        "watch: epoch 2, clip_checks: expected 24, found 18, which implies",
    ),
    "expected clip checks": (
        each(EpochRecord, expected_clip_checks=27), "clip_counts", "epoch 1, expected_clip_checks",
    ),
    "a step left out": (
        [r for r in RECORDS if not isinstance(r, StepRecord) or r.step != 3], "clip_counts",
        "epoch 1, sum of its steps' checks: expected 24, found 18",
    ),
    "norms": (
        each(NormsRecord, norms=lambda r: r.norms[:-1]), "clip_counts",
        "epoch 1, norms: expected 24, found 23",
    ),
    "fairness of a step": (
        each(StepRecord, epoch=2, step=2, archs=(POOL[0],) * 3), "fairness",
        "epoch 2, step 2, block 0: expected options 0, 1, 2 once each, found ('0', '0', '0') "
        "(and 8 more)",
    ),
    "fairness gap": (each(EpochRecord, fairness_gap=1), "fairness", "epoch 1, fairness_gap"),
    "eval batches": (
        each(EvalRecord, epoch=3, eval_batch_hash="other"), "batch_hashes",
        "epoch 3, eval_batch_hash: expected '" + digest("eval") + "' as in epoch 1, found 'other'",
    ),
    "recal batches": (
        each(EvalRecord, epoch=2, bn_recal_batch_hash="other"), "batch_hashes",
        "epoch 2, bn_recal_batch_hash",
    ),
    "zero flow": (
        each(EvalRecord, epoch=2, zero_flow_epe=7.0), "batch_hashes", "epoch 2, zero_flow_epe",
    ),
    "archs score alike": (
        each(EvalRecord, per_arch_epe=(6.0,) * 5), "metric",
        "epoch 1, EPE of the pool: expected a difference between archs, found 6.0 px for all 5",
    ),
    "EPE stays": (
        each(EvalRecord, per_arch_epe=SCORES[0].per_arch_epe), "metric",
        "epoch 2, per-arch EPE: expected others than in epoch 1, the weights have changed, found "
        "the same for all 5 archs: a dead metric",
    ),
    "recalibration stays": (
        each(EvalRecord, stats_digest="s"), "metric",
        "epoch 2, stats_digest: expected another than in epoch 1, the weights have changed, found "
        "the same s: recalibration computes nothing",
    ),
    "EPE moves alone": (
        each(EvalRecord, weights_digest="w"), "metric", "with the same weights and batches",
    ),
    "a loss that is not finite": (
        each(StepRecord, epoch=2, step=2, loss=math.nan), "finite",
        "epoch 2, step 2, loss: expected a finite number, found nan",
    ),
    "a norm that is not finite": (
        each(NormsRecord, epoch=1, norms=lambda r: (math.inf, *r.norms[1:])), "finite", "norms[0]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_a_broken_promise_stops_the_run_with_one_line_and_a_note(name):
    records, kind, message = STOPS[name]
    said, notes, error = watched(records)
    assert error is not None
    assert message in error
    assert ADVICE[kind] in error
    assert "\n" not in error
    assert said == []
    assert [note.text for note in notes] == [error.removesuffix(f" (watch.{kind}=warn goes on)")]


@pytest.mark.parametrize("name", [name for name in STOPS if STOPS[name][1] != "finite"])
def test_a_kind_that_is_off_is_not_reported_and_one_that_warns_goes_on(name):
    records, kind, message = STOPS[name]
    quiet = dict.fromkeys(DEFAULT, "off") | {"finite": "stop"}
    assert watched(records, quiet) == ([], [], None)
    said, notes, error = watched(records, quiet | {kind: "warn"})
    assert error is None
    assert len(said) == len(notes) == 1
    assert message in said[0]
    assert said[0] == f"warning: {notes[0].text}"


def test_saturated_clipping_warns_once_and_stops_if_asked_to():
    said, notes, error = watched(saturated())
    assert error is None
    assert said == [
        "warning: watch: saturated clipping, epoch 1: all of 24 checks clipped; "
        "the step length is the threshold's, not the gradient's"
    ]
    assert [(note.epoch, f"warning: {note.text}") for note in notes] == [(1, said[0])]
    assert watched(saturated(), DEFAULT | {"clip_saturation": "stop"})[2] is not None


@pytest.mark.parametrize(
    ("records", "epoch"),
    [
        (dead_share(), 3),
        (dead_share(1.3), 3),
        (dead_share(0.98), None),
        (dead_share(std=0.01), None),
        (each(EvalRecord, dead_share(), epoch=3, std_epe=1.0), None),
    ],
    ids=["at it", "above", "below", "with spread", "interrupted"],
)
def test_three_evaluations_at_the_zero_flow_warn_in_words(records, epoch):
    said, notes, error = watched(records)
    assert error is None
    assert [note.epoch for note in notes] == ([epoch] if epoch else [])
    assert len(said) == len(notes)
    assert all("this is what a dead metric looks like" in line for line in said)


def cut(records, epoch, steps):
    """Cut a run after some steps of an epoch; return its history and what a resume adds."""
    number = next(
        i for i, r in enumerate(records) if isinstance(r, StepRecord) and r.epoch == epoch
    )
    border = [opening(tree(), attempt=2), ResumeRecord(2, epoch - 1, steps, 0, "d")]
    done, rest = records[: number + steps], records[number + steps :]
    return [*done, *each(StepRecord, rest[:1], archs=(POOL[0],) * 3)], [*border, *rest]


@pytest.mark.parametrize(("epoch", "steps"), [(1, 1), (2, 0), (3, 2), (4, 1)])
def test_a_resume_is_left_alone(epoch, steps):
    history, rest = cut(RECORDS, epoch, steps)
    assert watched(rest, history=history) == ([], [], None)


@pytest.mark.parametrize("name", ["EPE stays", "recalibration stays", "eval batches"])
def test_comparisons_go_over_the_border_of_a_resume(name):
    records, _, message = STOPS[name]
    epoch = 3 if name == "eval batches" else 2
    history, rest = cut(records, epoch, 1)
    error = watched(rest, history=history)[2]
    assert error is not None
    assert message in error


def test_clip_checks_are_summed_over_the_border_of_a_resume():
    history, rest = cut(RECORDS, 2, 2)
    rest = [r for r in rest if not (isinstance(r, StepRecord) and (r.epoch, r.step) == (2, 3))]
    assert "epoch 2, sum of its steps' checks" in str(watched(rest, history=history)[2])


def test_a_ledger_that_lost_steps_does_not_stop_the_resumed_run():
    history, rest = cut(RECORDS, 2, 2)
    assert watched(rest, history=[r for r in history if getattr(r, "step", 0) != 1])[2] is None


def test_findings_of_the_past_are_not_reported_again():
    history, rest = cut(saturated(), 3, 0)
    said, notes, error = watched(rest, history=history)
    assert (len(said), [note.epoch for note in notes], error) == (1, [3], None)


@pytest.mark.parametrize("what", ["environment", "protocol"])
def test_scores_of_another_environment_or_protocol_are_not_compared(what):
    history, rest = cut(each(EvalRecord, stats_digest="s"), 2, 1)
    changed = {"environment": {"threads": 9}} if what == "environment" else {}
    config = tree(eval={"eval_batches_per_arch": 2}) if what == "protocol" else tree()
    rest[0] = opening(config, attempt=2, **changed)
    error = watched(rest, history=history)[2]
    assert error is not None
    assert error.startswith("watch: epoch 3, stats_digest: expected another than in epoch 2")


def test_scores_are_compared_with_those_of_a_version_that_recorded_less_of_the_same():
    history, rest = cut(each(EvalRecord, stats_digest="s"), 2, 1)
    rest[0] = opening(tree(), attempt=2, environment={"threads": 2, "cpu": "recorded since"})
    error = watched(rest, history=history)[2]
    assert error is not None
    assert error.startswith("watch: epoch 2, stats_digest: expected another than in epoch 1")


def test_without_an_opening_there_is_no_plan_to_compare_with():
    assert watched(each(StepRecord, RECORDS[1:], checks=3)) == ([], [], None)


def test_every_kind_of_the_configuration_has_its_advice():
    assert set(ADVICE) == set(DEFAULT)
    assert {kind for kind, mode in DEFAULT.items() if mode == "warn"} == {
        "clip_saturation", "zero_flow",
    }  # fmt: skip


# ---- real runs


@pytest.fixture
def config_file(embedded_frames: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(embedded_config(embedded_frames)))
    apply_environment(load_config(path))
    return path


def train(config_file: Path, *words: str) -> tuple[int, list[Any]]:
    folder = config_file.parent / "run"
    small = ("eval.eval_pool_size=2", "eval.bn_recal_batches=1", "eval.eval_batches_per_arch=1")
    assignments = [word for key in (*small, *words) for word in ("--set", key)]
    code = main(["train", "--config", str(config_file), "--run", str(folder), *assignments])
    return code, effective(read_ledger(folder / "ledger.jsonl").records)


def all_zero(self: Any, weights: Any, arch: Any, stats: Any, batch: Any) -> Any:
    return np.zeros_like(batch.flow)


@pytest.mark.slow
def test_a_dead_metric_stops_training_at_the_first_evaluation(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.evaluation.evaluator import Evaluator

    monkeypatch.setattr(Evaluator, "predict", all_zero)
    code, records = train(config_file)
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    wanted = (
        r"harness train: watch: epoch 1, EPE of the pool: expected a difference between archs, "
        r"found [\d.]+ px for all 2; fix the metric before tuning anything "
        r"\(watch\.metric=warn goes on\)"
    )
    assert re.fullmatch(wanted, line)
    assert isinstance(records[-2], EvalRecord)
    assert isinstance(records[-1], NoteRecord)
    assert records[-1].text in line


@pytest.mark.slow
def test_a_recalibration_that_computes_nothing_stops_training_at_the_second(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.evaluation.evaluator import Evaluator

    def initial(self: Any, weights: Any, arch: Any, batches: Any) -> Any:
        return dict(self._inactive)

    monkeypatch.setattr(Evaluator, "recalibrate", initial)
    code, records = train(config_file)
    assert code == 1
    assert "epoch 2, stats_digest: expected another" in capsys.readouterr().err
    assert [record.epoch for record in records if isinstance(record, EpochRecord)] == [1]


@pytest.mark.slow
def test_saturated_clipping_is_said_once_and_training_goes_on(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, records = train(config_file, "train.grad_clip_global_norm=1.0e-6")
    assert code == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "watch: saturated" in line]
    assert len(warned) == 1
    assert warned[0].startswith("warning: watch: saturated clipping, epoch 1: all of 21 checks")
    notes = [record for record in records if isinstance(record, NoteRecord)]
    assert [f"warning: {note.text}" for note in notes] == warned
    rows = [record for record in records if isinstance(record, EpochRecord)]
    assert [row.clip_rate for row in rows] == [1.0, 1.0]
    assert main(["audit", str(config_file.parent / "run")]) == 0
    assert "warning: ledger-clip-figures: saturated clipping" in capsys.readouterr().out


@pytest.mark.parametrize("part", [field.name for field in fields(WatchParts)])
def test_a_watch_asks_each_of_its_parts(part):
    def broken(*args, **kwargs):
        raise LookupError(part)

    watch = Watch(DEFAULT, say=print, parts=replace(WatchParts(), **{part: broken}))
    with pytest.raises(LookupError, match=part):
        list(map(watch, RECORDS))
