"""Runs of several attempts, by their records, and the report that a command makes of them."""

from dataclasses import replace

from harness.cli import main
from harness.records.ledger import Ledger, read_ledger
from harness.records.records import ResumeRecord, RunRecord
from harness.records.run import read_history
from tests.synthetic_run import make_records, opening, tree


def attempt(number, start, *, environment=None, sections=None, **fields):
    """Return what opens a later attempt, which resumes after epoch `start`."""
    record = opening(tree(**(sections or {})), attempt=number, environment=environment)
    named = {"segment": "main", "identity": "1d", "protocol": "aaaa", **fields}
    return [replace(record, **named), ResumeRecord(number, start, 0, 3 * start, "c")]


def course(*borders_, epochs=8, change=lambda record: record):
    """Return a run's records with an attempt's first records put in after some epochs."""
    first, *records = map(change, make_records(epochs=epochs))
    found = [replace(first, protocol="aaaa")]
    for record in records:
        if borders_ and record.epoch > borders_[0][1].epoch:
            found += borders_[0]
            borders_ = borders_[1:]
        found.append(record)
    return found


SLOWER = {"train": {"lr": 5e-4}}
MORE = {"eval": {"bn_recal_batches": 3}}
SEGMENTS = course(attempt(2, 3, segment="slower", identity="2e", sections=SLOWER))
SERIES = course(attempt(2, 3, protocol="bbbb", sections=MORE))
ELSEWHERE = course(attempt(2, 3, environment={"threads": 4}))


def write(folder, records):
    path = folder / "ledger.jsonl"
    ledger = Ledger(path)
    for record in records:
        if isinstance(record, RunRecord):
            ledger.close()
            ledger = Ledger(path, attempt=record.attempt)
        ledger(record)
    ledger.close()
    return folder


def read(folder, records):
    return read_history(read_ledger(write(folder, records) / "ledger.jsonl"))


def report(capsys, tmp_path, *words, code=0):
    out = tmp_path / "report.html"
    assert main(["report", *map(str, words), "--out", str(out)]) == code
    found = capsys.readouterr()
    return (found.err, found.out) if code else (out.read_text(), found.out)
