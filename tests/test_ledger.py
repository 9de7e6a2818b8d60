import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
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
from tests.chains import unchained

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
    values = {"int": 3, "float": 1.5, "str": "a"}
    of_type = {
        name: next((value for kind, value in values.items() if kind in str(item.type)), None)
        for name, item in EpochRecord.__dataclass_fields__.items()
    }
    given = {"epoch": epoch, "reasons": {"kendall_tau_prev": "none"}, "mean_epe_12": None}
    return EpochRecord(**of_type | given | changes)


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
@settings(max_examples=40)
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
        ('{"kind": "stop", "epoch": 1}', "unknown record kind 'stop', expected one of"),
        ('{"kind": "note", "epoch": 1}', "note: no text"),
        ('{"kind": "note", "epoch": 1, "text": "a", "more": 2}', "note: 'more' is no field of it"),
        ('{"kind": "note", "epoch": 1, "text": 2}', "note.text: expected a text, found 2"),
        ('{"kind": "note", "epoch": "x", "text": "a"}', "note.epoch: expected a whole number, fo"),
        ('{"kind": "note", "epoch": null, "text": "a"}', "note.epoch: expected a whole number, fo"),
        ('{"kind": "note", "epoch": true, "text": "a"}', "note.epoch: expected a whole number, fo"),
        ('{"kind": "note", "epoch": 1.0, "text": "a"}', "note.epoch: expected a whole number, fo"),
        (
            '{"kind": "note", "epoch": 1, "epoch": 2, "text": "a"}',
            "JSONDecodeError: the key 'epoch' stands",
        ),
        (
            '{"kind": "norms", "epoch": 1, "norms": [1.0, true]}',
            "norms.norms[1]: expected a finite",
        ),
        (
            '{"kind": "norms", "epoch": 1, "norms": [1.0, NaN]}',
            "JSONDecodeError: NaN is no number of JSON",
        ),
        (
            '{"kind": "norms", "epoch": 1, "norms": [1e999]}',
            "JSONDecodeError: the number 1e999 is beyond",
        ),
        (
            '{"kind": "note", "epoch": 1%s, "text": "a"}' % ("0" * 400),
            "JSONDecodeError: the whole number",
        ),
        ('{"kind": "note", "attempt": "x", "epoch": 1, "text": "a"}', "attempt: expected a whole"),
        (
            '{"kind": "note", "attempt": 1e999, "epoch": 1, "text": "a"}',
            "JSONDecodeError: the number 1e999",
        ),
        ('{"kind": "note", "attempt": 0, "epoch": 1, "text": "a"}', "attempt: expected 1 or more"),
        ('{"kind": [], "epoch": 1, "text": "a"}', "unknown record kind [], expected one of"),
        ("7", "expected an object, found 7"),
        ("[" * 5000, "JSONDecodeError: nested deeper than"),
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
    (broken,) = content.broken
    assert broken.number == 2
    kind = "" if reason.startswith("JSON") else "ValueError: "
    assert broken.reason.startswith(kind + reason)


CHANGES = {
    "a figure changed": (lambda lines: [*lines[:2], lines[2].replace("7.5", "8.5"), *lines[3:]], 3),
    "a line left out": (lambda lines: [*lines[:2], *lines[3:]], 3),
    "a line said twice": (lambda lines: [*lines[:3], *lines[2:]], 4),
    "two lines exchanged": (lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], 2),
    "a chain changed": (lambda lines: [*lines[:2], lines[2][:-10] + "0" + lines[2][-9:]], 3),
    "a chain taken away": (lambda lines: [*lines[:2], lines[2][:-44] + "}", *lines[3:]], 3),
    "the opening changed": (lambda lines: [lines[0].replace('":9', '":8'), *lines[1:]], 1),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_since_it_was_written_is_named_by_its_line(path, change):
    write(path, RUN, step(1, 1), step(1, 2), step(1, 3), step(1, 4))
    changed, number = CHANGES[change]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*changed(lines), ""]))
    content = read_ledger(path)
    assert content.broken[0].number == number
    assert re.match("(changed|lines before it are missing)", content.broken[0].reason)
    assert not content.broken[0].tail
    assert all(one in (RUN, *(step(1, n) for n in (1, 2, 3, 4))) for one in content.records)


def test_a_ledger_of_an_earlier_version_is_read_said_and_vouched_for_from_then_on(path):
    write(path, RUN, step(1, 1), step(1, 2))
    unchained(path)
    assert read_ledger(path).unchained == 3
    write(path, step(1, 3), step(1, 4))
    content = read_ledger(path)
    assert (content.records, content.broken) == ((RUN, *(step(1, n) for n in (1, 2, 3, 4))), ())
    assert content.unchained == 3
    path.write_text(path.read_text().replace("7.5", "8.5", 1))
    content = read_ledger(path)
    assert content.records == (step(1, 3), step(1, 4))
    assert content.attempts == (1, 1)
    assert [(line.number, line.tail) for line in content.broken] == [(n, False) for n in (1, 2, 3)]


def test_what_is_missing_before_half_a_line_is_no_tail(path):
    write(path, RUN, step(1, 1), step(1, 2), step(1, 3))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[3][:40]]))
    write(path, replace(RUN, attempt=2))
    assert [line.tail for line in read_ledger(path).broken] == [True]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:], ""]))
    content = read_ledger(path)
    assert [line.tail for line in content.broken] == [False]
    assert len(content.records) == 2


def test_a_line_after_half_a_line_is_known_by_itself(path):
    write(path, RUN, step(1, 1), step(1, 2), step(1, 3))
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:40]
    for figure, records in (("7.5", (RUN, step(1, 2), step(1, 3))), ("8.5", (RUN, step(1, 3)))):
        changed = lines[2].replace("7.5", figure)
        path.write_text("\n".join([*lines[:2], changed, lines[3], ""]))
        assert read_ledger(path).records == records


@pytest.mark.parametrize("lines", [1, 40, 3000])
def test_a_chain_goes_on_over_attempts_whatever_the_length_of_the_last_line(path, lines):
    write(path, RUN, NormsRecord(1, (0.125,) * lines * 100))
    with path.open("a") as file:
        file.write('{"kind":"step","epo')
    write(path, replace(RUN, attempt=2), step(1, 1))
    content = read_ledger(path)
    assert [line.number for line in content.broken] == [3]
    assert content.broken[0].tail
    assert len(content.records) == 4


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


@pytest.mark.parametrize("sizes", [[[1, 10**7 + 1]], [[2, 1]] + [[1, 10**6]] * 10, [[5, -1]]])
def test_a_plan_of_more_steps_than_anybody_lists_is_refused(sizes):
    opening = {**to_json(RUN), "planned_sizes": sizes}
    with pytest.raises(ValueError, match=r"run\.planned_sizes"):
        from_json(opening)
    assert from_json({**opening, "planned_sizes": [[1, 10**7]]}).planned_sizes == ((1, 10**7),)


def test_a_ledger_whose_folder_was_moved_is_not_written_on_elsewhere(tmp_path):
    (tmp_path / "run").mkdir()
    ledger = Ledger(tmp_path / "run" / "ledger.jsonl")
    ledger(NoteRecord(0, "one"))
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="is gone while the run writes to it"):
        ledger(NoteRecord(0, "two"))
    ledger.close()
    assert len(read_ledger(tmp_path / "moved" / "ledger.jsonl").records) == 1
