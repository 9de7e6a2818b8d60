"""What reads a ledger's lines at once takes what the declarations take, and nothing else."""

import json
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records.ledger import read_ledger
from harness.records.records import CheckpointRecord, EvalRecord, RunRecord, from_json, to_json
from harness.records.typed import TypedReader
from tests.ledger_runs import RUN
from tests.long_ledger import write_long_ledger

CHECKPOINT = CheckpointRecord(1, 0, 3, "epoch-0001", "0" * 32, None)
RECORDS = [RUN.steps[0], RUN.norms[0], RUN.evals[0], RUN.epochs[0], CHECKPOINT]
READER = TypedReader()
LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from([2**63 - 1, 2**63, -(2**63)])
    | st.floats(-10, 10) | st.sampled_from(["", "a", "\x00é", "1"])
)  # fmt: skip
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.sampled_from("ab"), LEAVES)


def body(data):
    return json.dumps(data, ensure_ascii=False).encode()


def slowly(data):
    """Return what the declarations make of a record, or nothing."""
    try:
        return from_json(json.loads(body(data)))
    except ValueError:
        return None


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_as_it_was_written_is_read_with_the_attempt_that_it_names(record):
    assert READER.read(body(to_json(record))) == (record, None)
    assert READER.read(body(to_json(record, attempt=7))) == (record, 7)


@given(st.sampled_from(RECORDS), st.data())
@settings(max_examples=300)
def test_whatever_a_field_holds_is_taken_where_its_declaration_takes_it(record, data):
    names = [*(item.name for item in fields(record)), "kind", "more"]
    changed = {**to_json(record), data.draw(st.sampled_from(names)): data.draw(VALUES)}
    found = READER.read(body(changed))
    assert (found and found[0]) == slowly(changed)


@given(st.sampled_from(RECORDS), st.data())
def test_a_field_that_is_missing_is_taken_where_it_has_a_default(record, data):
    changed = to_json(record)
    del changed[data.draw(st.sampled_from([*(item.name for item in fields(record)), "kind"]))]
    found = READER.read(body(changed))
    assert (found and found[0]) == slowly(changed)


@pytest.mark.parametrize("attempt", [0, -1, 1.0, True, None, "1", 2**63])
def test_an_attempt_that_is_none_is_left_to_those_who_say_so(attempt):
    assert READER.read(body({**to_json(CHECKPOINT), "attempt": attempt})) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1e999", "01", "1.", "9" * 5000])
def test_what_is_no_number_of_json_is_left_to_those_who_say_so(number):
    text = body({**to_json(RUN.steps[0]), "loss": 123456.5}).replace(b"123456.5", number.encode())
    assert READER.read(text) is None


def test_an_opening_and_what_is_no_record_are_left_to_those_who_say_so():
    opening = next(record for record in RUN.openings if isinstance(record, RunRecord))
    good = body(to_json(CHECKPOINT))
    for line in (body(to_json(opening)), b"", b"[]", b"1", good[:-1], good + b"x", b"\xff" + good,
                 good.replace(b"epoch-0001", b"\xff"), good.replace(b"epoch-0001", b"\\ud800"),
                 b"[" * 100_000):  # fmt: skip
        assert READER.read(line) is None


def test_equal_numbers_of_other_types_and_signs_stay_what_they_are():
    data = to_json(RUN.evals[0])
    READER.read(body({**data, "zero_flow_epe": 3.0, "mean_epe": 0.0}))
    changed = {**data, "samples": 3, "per_arch_epe": [3.0, -0.0, 0.0, 7.25, 1.0], "std_epe": -0.0}
    one, _ = READER.read(body(changed))
    assert list(map(repr, one.per_arch_epe)) == ["3.0", "-0.0", "0.0", "7.25", "1.0"]
    assert (repr(one.samples), repr(one.std_epe)) == ("3", "-0.0")


@pytest.mark.parametrize(("first", "then"), [(11, 11.0), (11.0, 11)])
def test_a_whole_number_and_its_equal_are_not_taken_for_each_other(first, then):
    reader, data = TypedReader(), to_json(RUN.evals[0])
    reader.read(body({**data, "mean_epe": first}))
    lists = {"per_arch_epe": [then, 0.5, 7.25, 2.0, 1.0]}
    one, _ = reader.read(body({**data, "mean_epe": then, **lists}))
    assert [repr(one.mean_epe), repr(one.per_arch_epe[0])] == [repr(then)] * 2


def test_records_of_a_long_ledger_share_what_is_equal(tmp_path):
    content = read_ledger(write_long_ledger(tmp_path, 400) / "ledger.jsonl")
    evals = [record for record in content.records if isinstance(record, EvalRecord)]
    assert len({id(record.archs) for record in evals}) < 20
    assert len({id(record.zero_flow_epe) for record in evals}) < 20
    assert vars(evals[0])["epoch"] == 1
