"""``epochs.csv`` is read where its values are surely those that were written, or refused."""

import dataclasses

import pytest

from harness.errors import InputError
from harness.records.records import EPOCH_FIELDS
from harness.training.epoch_table import each_row, read_header, told_otherwise
from harness.training.epochlog import EpochCsv, effective_rows
from tests.test_ledger import row

ROWS = tuple(
    dataclasses.replace(row(epoch), lr=1 / 3, kendall_tau_prev=None, checkpoint_digest="d" * 32)
    for epoch in (1, 2, 3)
)


def write(path, rows=ROWS):
    table = EpochCsv(path)
    for record in rows:
        table(record)
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "epochs.csv")


@pytest.fixture
def whole(path):
    return effective_rows(path)


SAME = {
    "a byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "semicolons": lambda content: content.replace(b",", b";"),
    "tabs": lambda content: content.replace(b",", b"\t"),
    "lines of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "quoted cells": lambda content: b'"' + content.rstrip().replace(b",", b'","').replace(
        b"\n", b'"\n"') + b'"\n',
    "a mark and semicolons and lines of Windows": lambda content: b"\xef\xbb\xbf"
    + content.replace(b",", b";").replace(b"\n", b"\r\n"),
    "an empty last line": lambda content: content + b"\n",
    "a row cut short": lambda content: content + b"4,12,0.",
}  # fmt: skip


@pytest.mark.parametrize("change", SAME)
def test_the_same_values_are_read_and_gone_on_with(path, whole, change):
    path.write_bytes(SAME[change](path.read_bytes()))
    assert effective_rows(path) == whole
    fourth = dataclasses.replace(ROWS[0], epoch=4)
    write(path, [*ROWS, fourth])
    found = effective_rows(path)
    assert read_header(path)[0] == EPOCH_FIELDS
    assert found[:3] == whole
    assert [(r["epoch"], r["lr"]) for r in found[3:]] == [("4", str(1 / 3))]


OTHER = {
    "other columns": (lambda c: c.replace(b"mean_epe_12", b"mean_epe"), "line 1: expected names"),
    "columns of somebody else": (lambda c: b"a,b\n1,2\n", "line 1: expected names of columns, "),
    "a column twice": (lambda c: c.replace(b"std_epe", b"mean_epe", 1), "line 1: expected each"),
    "no epoch": (lambda c: b"lr,segment\n0.5,main\n", "line 1: expected each column once, and epo"),
    "a text": (lambda c: b"no table at all", "line 1: is no header of an epoch log"),
    "a comma as the decimal point": (
        lambda c: c.replace(b",", b";").replace(b"0.3", b"0,3"),
        "line 2: lr: expected a finite number with a decimal point, found '0,3",
    ),
    "UTF-16": (lambda c: c.decode().encode("utf-16"), "line 1: holds a NUL byte"),
    "Latin-1": (lambda c: c.replace(b"\n2,", b"\n2\xe9,"), "line 3: is no text in UTF-8"),
    "a NUL": (lambda c: c.replace(b"\n3,", b"\n3\0,"), "line 4: holds a NUL byte"),
    "half a row": (lambda c: c.replace(b"\n2,", b"\n2\n2,"), "line 3: expected 31 cells, found 1"),
    "two rows in one": (lambda c: c.replace(b"\n3,", b"3,"), "line 3: expected 31 cells, found 61"),
    "an epoch that is no number": (lambda c: c.replace(b"\n2,", b"\n,"), "line 3: epoch: expected"),
    "an epoch of other digits": (
        lambda c: c.replace(b"\n2,", "\n\N{ARABIC-INDIC DIGIT TWO},".encode()), "line 3: epoch: exp"
    ),
    "a number with a line": (lambda c: c.replace(b"\n2,", b"\n2_0,"), "line 3: epoch: expected"),
    "infinity": (lambda c: c.replace(b"0.3333", b"1e999", 1), "line 2: lr: expected a finite"),
    "nan": (lambda c: c.replace(b"0.3333333333333333", b"nan", 1), "line 2: lr: expected a finite"),
    "400 digits": (lambda c: c.replace(b"\n2,", b"\n" + b"2" * 400 + b","), "line 3: epoch: expec"),
    "a quote that does not end": (lambda c: c.replace(b"\n2,", b'\n"2,'), "line 3: is no row"),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHER)
def test_what_may_be_another_value_is_refused_by_its_line(path, change):
    changed, message = OTHER[change]
    path.write_bytes(changed(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        EpochCsv(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: {message}")
    assert text.isprintable()
    assert path.read_bytes() == before


def test_a_row_that_says_something_else_than_the_ledger_is_told(path, whole):
    assert list(told_otherwise(whole, ROWS, ROWS)) == []
    path.write_bytes(path.read_bytes().replace(b"0.3333333333333333", b"0.3333", 1))
    assert list(told_otherwise(each_row(path), ROWS, ROWS)) == [
        "epoch 1, lr: says '0.3333', the ledger '0.3333333333333333'"
    ]


def test_a_row_that_is_missing_is_told_but_for_the_last(whole):
    assert list(told_otherwise(whole[:2], ROWS, ROWS)) == []
    assert list(told_otherwise(whole[::2], ROWS, ROWS)) == ["epoch 2 has no row"]
    assert list(told_otherwise((), ROWS, ROWS)) == ["epoch 1 has no row", "epoch 2 has no row"]
    assert list(told_otherwise((), (), ())) == []


def test_a_row_of_an_epoch_that_was_never_recorded_is_told_where_there_is_a_ledger(whole):
    assert list(told_otherwise(whole, ROWS[:2], ROWS[:2])) == ["epoch 3 is none of the ledger's"]
    assert list(told_otherwise(whole, (), ())) == []


def test_a_row_of_a_record_that_a_later_attempt_made_void_is_no_other(whole):
    again = dataclasses.replace(ROWS[2], lr=0.25, checkpoint_digest="e" * 32)
    assert list(told_otherwise(whole, [*ROWS, again], [*ROWS[:2], again])) == []
