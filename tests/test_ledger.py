import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records.ledger import Ledger, effective, read_ledger
from harness.records.records import (
    RECORDS,
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    NormsRecord,
    NoteRecord,
    ResumeRecord,
    RunRecord,
    StepRecord,
    from_json,
    to_json,
)
from harness.records.run import segments

ARCHS = ("012012012", "120120120", "201201201")
DIGEST = "0123456789abcdef" * 2


def step(epoch, number, **changes):
    values = {"batch": DIGEST, "lr": 1e-4, "loss": 0.1 + 0.2, "checks": 9, "clipped": 2}
    return StepRecord(epoch, number, ARCHS, **values | {"norm": 7.5} | changes)


def scores(epoch):
    return EvalRecord(
        ARCHS, (1.5, 2.25, 1 / 3), 1.36, 0.5, 4.0, 7, 3, "full", 2, DIGEST, "b" * 32, "c" * 32,
        "d" * 32, None, 0.25, 0.125, epoch,
    )  # fmt: skip


def row(epoch, **changes):
    names = EpochRecord.__dataclass_fields__
    values = dict.fromkeys(names, 1.5) | {"epoch": epoch, "reasons": {"kendall_tau_prev": "none"}}
    return EpochRecord(**values | {"mean_epe_12": None} | changes)


RUN = RunRecord(
    1, {"train": {"lr": 1e-4, "distill": {}}}, {"threads": 2}, 9, 7, 5, 2, ((5, 1), (4, 1)), 15,
    DIGEST,
)  # fmt: skip
EXAMPLES = {
    "run": RUN,
    "resume": ResumeRecord(2, 1, 3, 5, DIGEST),
    "step": step(1, 2),
    "norms": NormsRecord(1, (0.5, 7.5, 1e-30)),
    "eval": scores(1),
    "epoch": row(1),
    "checkpoint": CheckpointRecord(1, 0, 2, "epoch-0001-step-00000-attempt-1", DIGEST),
    "note": NoteRecord(2, "stopped early: patience is used up \N{GREEK SMALL LETTER TAU}\n"),
}


def write(path, *records):
    ledger = Ledger(path)
    for record in records:
        ledger(record)
    ledger.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "ledger.jsonl"


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_of_each_type_is_read_as_it_was_written(path, kind):
    write(path, EXAMPLES[kind], EXAMPLES["step"])
    content = read_ledger(path)
    assert content.records == (EXAMPLES[kind], EXAMPLES["step"])
    assert content.broken == ()
    assert json.loads(path.read_text().splitlines()[0])["kind"] == kind


def test_an_example_of_every_record_type_is_tested():
    assert {kind: type(example) for kind, example in EXAMPLES.items()} == dict(RECORDS)


def test_records_are_appended_one_a_line_over_two_attempts(path):
    write(path, RUN, step(1, 1), step(1, 2))
    write(path, RUN, EXAMPLES["resume"])
    assert [type(r).__name__ for r in read_ledger(path).records] == [
        "RunRecord", "StepRecord", "StepRecord", "RunRecord", "ResumeRecord",
    ]  # fmt: skip


def test_a_record_can_be_read_before_the_ledger_is_closed(path):
    ledger = Ledger(path)
    ledger(step(1, 1))
    assert read_ledger(path).records == (step(1, 1),)
    ledger.close()


@given(cut=st.integers(1, 10_000))
@settings(deadline=None, max_examples=40)
def test_a_tail_cut_anywhere_is_reported_and_the_rest_is_read(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    write(path, RUN, step(1, 1), step(1, 2))
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    path.write_bytes(whole[: -1 - cut % (last - 1)])
    content = read_ledger(path)
    complete = cut % (last - 1) == 0  # only the line's end is missing
    assert content.records == (RUN, step(1, 1), step(1, 2))[: 3 if complete else 2]
    assert [line.number for line in content.broken] == ([] if complete else [3])


def test_a_new_record_after_a_broken_tail_starts_on_its_own_line(path):
    write(path, step(1, 1), step(1, 2))
    path.write_bytes(path.read_bytes()[:-40])
    write(path, step(1, 3), step(1, 4))
    content = read_ledger(path)
    assert content.records == (step(1, 1), step(1, 3), step(1, 4))
    assert [line.number for line in content.broken] == [2]
    assert content.broken[0].reason.startswith("JSONDecodeError: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"kind": "stop", "epoch": 1}', "ValueError: unknown record kind 'stop', expected one of"),
        ('{"kind": "note", "epoch": 1}', "TypeError: "),
        ('{"kind": "note", "epoch": 1, "text": "a", "more": 2}', "TypeError: "),
        ('{"kind": "note", "attempt": "x", "epoch": 1, "text": "a"}', "ValueError: "),
        ("7", "TypeError: "),
        ("", "JSONDecodeError: "),
        ("\0\0\0", "JSONDecodeError: "),
    ],
)
def test_a_line_that_is_no_record_is_reported_with_its_number(path, line, reason):
    write(path, step(1, 1))
    with path.open("a") as file:
        file.write(line + "\n")
    write(path, step(1, 2))
    content = read_ledger(path)
    assert content.records == (step(1, 1), step(1, 2))
    assert [(one.number, one.reason[: len(reason)]) for one in content.broken] == [(2, reason)]


def test_a_ledger_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError, match=r"ledger\.jsonl"):
        read_ledger(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_field_and_not_written(path, value):
    ledger = Ledger(path)
    with pytest.raises(ValueError, match=rf"StepRecord\.loss is {value}, expected a finite number"):
        ledger(step(1, 1, loss=value))
    with pytest.raises(ValueError, match=r"norms|not JSON compliant"):
        ledger(NormsRecord(1, (1.0, value)))
    ledger.close()
    assert path.read_text() == ""


def test_an_unknown_kind_lists_those_that_exist():
    with pytest.raises(ValueError, match="unknown record kind None, expected one of run, resume"):
        from_json({"epoch": 1})


def test_a_step_takes_at_most_300_bytes(path):
    long = 123456.78901234567
    record = step(9999, 99_999, lr=9.999999999999999e-05, loss=-long, norm=long, batch="f" * 32)
    write(path, record)
    assert read_ledger(path).records == (record,)
    assert 200 < path.stat().st_size <= 300
    assert to_json(record)["norm"] == long


def test_a_resume_at_an_epoch_boundary_voids_what_came_after_it():
    first = [step(1, 1), step(1, 2), NormsRecord(1, (1.0,)), scores(1), row(1)]
    second = [step(2, 1), NoteRecord(2, "a warning"), step(2, 2), NormsRecord(2, ()), scores(2)]
    again = [step(2, 1, loss=9.0), step(2, 2), row(2)]
    resume = ResumeRecord(2, 1, 0, 2, DIGEST)
    found = effective([RUN, *first, *second, row(2, lr=9.0), RUN, resume, *again])
    assert found == [RUN, *first, RUN, resume, *again]


def test_a_resume_within_an_epoch_keeps_the_steps_before_it():
    done = [step(1, 1), row(1), step(2, 1), step(2, 2), CheckpointRecord(1, 2, 4, "a", DIGEST)]
    void = [step(2, 3), NormsRecord(2, ()), scores(2), row(2), CheckpointRecord(2, 0, 5, "b", "")]
    resume = ResumeRecord(2, 1, 2, 4, DIGEST)
    found = effective([RUN, *done, *void, step(3, 1), RUN, resume, step(2, 3, loss=5.0)])
    assert found == [RUN, *done, RUN, resume, step(2, 3, loss=5.0)]


def test_a_resume_in_the_first_epoch_keeps_the_steps_before_it():
    resume = ResumeRecord(2, 0, 1, 1, DIGEST)
    found = effective([RUN, step(1, 1), step(1, 2), row(1), RUN, resume, step(1, 2)])
    assert found == [RUN, step(1, 1), RUN, resume, step(1, 2)]


def test_each_of_two_resumes_voids_what_came_before_it():
    first, second = ResumeRecord(2, 1, 0, 2, DIGEST), ResumeRecord(3, 1, 1, 3, DIGEST)
    records = [row(1), step(2, 1), first, step(2, 1, loss=2.0), step(2, 2), second, step(2, 2)]
    assert effective(records) == [row(1), first, step(2, 1, loss=2.0), second, step(2, 2)]


def test_without_a_resume_nothing_is_dropped():
    records = [RUN, step(1, 1), row(1), step(2, 1), NoteRecord(2, "end")]
    assert effective(records) == records


def test_a_record_of_a_process_that_was_thought_dead_is_void(tmp_path):
    path = tmp_path / "ledger.jsonl"
    old, new = Ledger(path), Ledger(path, attempt=2)
    for record in (RUN, step(1, 1)):
        old(record)
    for record in (replace(RUN, attempt=2), ResumeRecord(2, 0, 1, 1, DIGEST)):
        new(record)
    old(step(1, 2, loss=9.0))
    new(step(1, 2, loss=5.0))
    old.close()
    new.close()
    content = read_ledger(path)
    assert content.attempts == (1, 1, 2, 2, 1, 2)
    assert [r for r in content.effective() if isinstance(r, StepRecord)] == [
        step(1, 1), step(1, 2, loss=5.0),
    ]  # fmt: skip


def test_a_ledger_without_attempt_numbers_is_read_in_order(tmp_path):
    path = tmp_path / "ledger.jsonl"
    lines = [to_json(RUN), to_json(step(1, 1)), to_json(replace(RUN, attempt=2)),
             to_json(ResumeRecord(2, 0, 0, 0, DIGEST)), to_json(step(1, 1, loss=5.0))]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = read_ledger(path)
    assert content.attempts == (1, 1, 2, 2, 2)
    assert content.effective()[-1] == step(1, 1, loss=5.0)
    assert [type(r) for r in content.effective()] == [
        RunRecord,
        RunRecord,
        ResumeRecord,
        StepRecord,
    ]


def test_records_are_sorted_into_segments_by_the_run_record_before_them():
    other = replace(RUN, attempt=2, segment="b", protocol="p" * 32)
    border = ResumeRecord(2, 1, 0, 2, DIGEST)
    late = row(1, segment="main", best_epe=2.5)  # repaired by the attempt that came after
    first, second = segments([RUN, step(1, 1), scores(1), other, border, late, step(2, 1)])
    assert (first.segment, first.epochs, first.start) == ("main", (late,), (0, 0))
    assert (second.segment, second.epochs, second.start) == ("b", (), (1, 2))
    assert second.before is first
    assert (second.best_before, second.previous_eval) == (None, None)
    same, again = segments([RUN, scores(1), late, replace(other, protocol=""), border, step(2, 1)])
    assert (again.best_before, again.previous_eval) == (2.5, scores(1))
    assert same.before is None


def test_a_segment_that_recorded_nothing_is_left_out():
    b, c = (replace(RUN, attempt=n, segment=name) for n, name in ((2, "b"), (3, "c")))
    border = ResumeRecord(2, 1, 0, 2, DIGEST)
    found = segments([RUN, row(1), b, border, c, replace(border, attempt=3), step(2, 1)])
    assert [one.segment for one in found] == ["main", "c"]
    with pytest.raises(ValueError, match="no run record"):
        segments([step(1, 1)])
    assert [one.segment for one in segments([RUN, row(1), b, border])] == ["main"]
    assert [one.segment for one in segments([RUN])] == ["main"]
