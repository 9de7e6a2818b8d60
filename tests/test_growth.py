"""What grows with a run: time and memory of an audit, of a row, of what is read again."""

import csv
import functools
import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.collector import collector_paused
from harness.promises.judge import judge_evidence
from harness.promises.ledger import epoch_figures, rows, stopping
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.promises.ledger.tau import _tau_b
from harness.records.ledger import effective
from harness.records.records import (
    EpochRecord,
    NormsRecord,
    ResumeRecord,
    StepRecord,
)
from harness.records.run import run_evidence
from harness.training.epochlog import EpochCsv, effective_rows
from tests.ledger_runs import RUN
from tests.long_ledger import write_long_ledger, write_unchained
from tests.synthetic_run import make_records

MIB = 2**20


def lines_run(function):
    """Count lines of Python that a function runs: time that no other process can change."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)
    return count


@functools.cache
def evidence(epochs):
    patient = {"early_stop_patience": 10 * epochs}
    return run_evidence(make_records(epochs=epochs, train={"num_epochs": epochs}, eval=patient))


@pytest.mark.parametrize("promise", LEDGER_PROMISES.values(), ids=list(LEDGER_PROMISES))
def test_a_promise_of_a_ledger_takes_lines_in_proportion_to_its_epochs(promise):
    few, many = evidence(40), evidence(160)
    for run in (few, many):
        judge_evidence(promise, lambda run=run: run)  # what is imported or cached once
    counts = [
        lines_run(lambda run=run: judge_evidence(promise, lambda: run)) for run in (few, many)
    ]
    assert counts[1] < 4.4 * counts[0] + 200, counts


def each_wrong(run, kind, **changes):
    return replace(run, **{kind: tuple(replace(r, **changes) for r in getattr(run, kind))})


@pytest.mark.parametrize(
    ("promise", "kind", "changes"),
    [
        ("ledger-learning-rate", "steps", {"lr": 0.7}),
        ("ledger-steps-planned", "steps", {"checks": 1}),
        ("ledger-clip-figures", "epochs", {"clip_count": 1000}),
        ("ledger-loss-average", "epochs", {"train_loss_epoch_avg": 900.0}),
        ("ledger-fairness", "steps", {"archs": ("000000000",) * 3}),
        ("ledger-scores-add-up", "epochs", {"std_epe_12": 77.0}),
        ("ledger-finite", "epochs", {"checkpoint_digest": None}),
        ("ledger-metric-alive", "evals", {"weights_digest": "w"}),
        ("ledger-best-checkpoint", "checkpoints", {"best": "epoch-9999-step-00000-attempt-1"}),
        ("ledger-best-tracked", "epochs", {"best_epe": 99.0}),
        ("ledger-tau", "epochs", {"kendall_tau_prev": 0.123}),
    ],
)
def test_where_everything_is_wrong_as_many_violations_are_made_as_are_shown(promise, kind, changes):
    few, many = (each_wrong(evidence(epochs), kind, **changes) for epochs in (40, 160))
    found = judge_evidence(LEDGER_PROMISES[promise], lambda: many)
    assert found.verdict == "BROKEN"
    assert len(found.violations) <= 6
    counts = [
        lines_run(lambda run=run: judge_evidence(LEDGER_PROMISES[promise], lambda: run))
        for run in (few, many)
    ]
    assert counts[1] < 4.4 * counts[0] + 1000, counts


# Not ru_maxrss, which begins with what the process had that started this one.
AUDIT = (
    "import re, sys, time\nfrom harness.cli import main\n"
    "code = main(['audit', sys.argv[1]])\nstatus = open('/proc/self/status').read()\n"
    "print(code, time.process_time(), re.search(r'VmHWM:\\s*(\\d+) kB', status)[1])"
)


def audited(folder):
    """Return exit code, seconds of a processor and KiB of an audit in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, str(folder)], capture_output=True, text=True, check=True
    )
    code, seconds, kib = done.stdout.splitlines()[-1].split()
    return int(code), float(seconds), int(kib)


@pytest.mark.nightly
@pytest.mark.parametrize("write", [write_long_ledger, write_unchained])
def test_an_audit_of_ten_times_the_epochs_takes_ten_times_the_memory(tmp_path, write):
    none, few, many = (
        audited(write(tmp_path / str(count), count)) for count in (10, 1_000, 10_000)
    )
    assert [found[0] for found in (none, few, many)] == [0, 0, 0]
    # Seconds are those of benchmarks/test_growth.py.
    assert many[2] - none[2] < 60 * 1024, (none, few, many)  # 500 MiB at ten times as many


@pytest.mark.nightly
def test_an_audit_of_a_hundred_thousand_epochs_takes_20_s_and_500_mib(tmp_path):
    code, seconds, kib = audited(write_long_ledger(tmp_path, 100_000))
    assert code == 0
    assert kib < 500 * 1024
    assert seconds < 20


@pytest.mark.parametrize("was", [True, False])
def test_no_circle_is_looked_for_while_records_are_kept_and_then_as_before(was):
    enabled = gc.isenabled()
    try:
        (gc.enable if was else gc.disable)()
        with collector_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is was
    finally:
        (gc.enable if enabled else gc.disable)()


def appended(path, epoch):
    """Return how many lines of Python a row takes in a file that has all rows before it."""
    table, row = EpochCsv(path), replace(RUN.epochs[0], epoch=epoch)
    return lines_run(lambda: table(row))


def log_of(path, epochs):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f for f in EpochRecord.__dataclass_fields__ if f != "reasons"]
        writer.writerow(names)
        row = RUN.epochs[0]
        for epoch in range(1, epochs + 1):
            values = (epoch if name == "epoch" else getattr(row, name) for name in names)
            writer.writerow(["" if value is None else value for value in values])
    return path


def test_a_row_costs_the_same_after_ten_epochs_and_after_thousands(tmp_path):
    few, many = (appended(log_of(tmp_path / f"{n}.csv", n), n + 1) for n in (10, 5_000))
    assert many == few


def test_the_same_rows_again_are_looked_up_at_the_cost_of_one_look(tmp_path):
    path = log_of(tmp_path / "epochs.csv", 400)
    before, table = path.read_bytes(), EpochCsv(path)
    again = [replace(RUN.epochs[0], epoch=epoch) for epoch in range(1, 401)]
    first = lines_run(lambda: table(again[0]))
    rest = lines_run(lambda: [table(row) for row in again[1:]])
    assert path.read_bytes() == before
    assert rest < 10 * first
    table(replace(again[5], checkpoint_digest="other"))
    assert [int(row["epoch"]) for row in effective_rows(path)] == [1, 2, 3, 4, 5, 6]


def test_what_another_hand_has_written_since_is_looked_at(tmp_path):
    path = tmp_path / "epochs.csv"
    first, second = EpochCsv(path), EpochCsv(path)
    rows_ = [replace(RUN.epochs[0], epoch=epoch) for epoch in (1, 2, 3)]
    first(rows_[0])
    for row in rows_:
        second(row)
    first(rows_[1])
    assert [int(row["epoch"]) for row in effective_rows(path)] == [1, 2, 3]


def test_a_torn_row_longer_than_what_is_read_at_once_is_cut_off(tmp_path):
    path = log_of(tmp_path / "epochs.csv", 3)
    whole = path.read_bytes()
    path.write_bytes(whole + b"4," + b"9" * 200_000)
    EpochCsv(path)
    assert path.read_bytes() == whole


@given(
    epe=st.lists(st.floats(0, 1e3), min_size=1, max_size=12).map(tuple),
    change=st.sampled_from([0.0, 1e-12, 3e-10, 3e-9, 1e-6]),
)
def test_a_deviation_is_judged_as_by_the_exact_one(epe, change):
    import statistics

    exact = statistics.pstdev(epe)
    found = exact * (1 + change) + change * 1e-3
    assert rows._close(found, rows._deviation(epe, found)) == rows._close(found, exact)


@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
    )
)
def test_tau_of_all_pairs_at_once_is_that_of_one_after_another(pair):
    one, other = ([float(value) for value in ranking] for ranking in pair)
    if len(set(one)) == 1 or len(set(other)) == 1:
        return
    at_once = _tau_b(one, other)
    both = (*one, *[9.0] * 70), (*other, *[9.0] * 70)
    signs = [
        ((a > b) - (a < b), (c > d) - (c < d))
        for i, (a, c) in enumerate(zip(one, other, strict=True))
        for b, d in list(zip(one, other, strict=True))[:i]
    ]
    untied = [sum(pair[k] != 0 for pair in signs) for k in (0, 1)]
    assert at_once == sum(a * b for a, b in signs) / (untied[0] * untied[1]) ** 0.5
    assert -1 <= _tau_b(*both) <= 1


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), min_size=1, max_size=6))
def test_quantiles_of_many_epochs_at_once_have_the_bits_of_each_alone(epochs):
    import numpy as np

    arrays = [np.asarray(values) for values in epochs]
    each = [np.quantile(own, [0.5, 0.9, 0.99]).tolist() for own in arrays]
    assert epoch_figures._quantiles(arrays) == each


def test_standings_are_found_as_by_a_look_at_all_of_them():
    standings = [stopping.Standing(epoch=epoch, bad=place) for place, epoch in
                 enumerate((0, 2, 5, 3, 3, 8))]  # fmt: skip
    course = stopping._Course(standings, *stopping._by_epoch(standings), [])
    for epoch in range(10):
        first = standings[0]
        before = [one for one in standings if one.epoch < epoch or one is first][-1]
        until = [one for one in standings if one.epoch <= epoch or one is first][-1]
        assert (course.before(epoch), course.until(epoch)) == (before, until)


RECORDS = make_records(epochs=6)[1:]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 6), st.integers(0, 3)), max_size=5))
def test_what_resumes_make_void_is_what_a_look_at_all_records_says(resumes):
    records = list(RECORDS)
    for attempt, (place, epoch, step) in enumerate(sorted(resumes, reverse=True), start=2):
        records.insert(place % len(records), ResumeRecord(attempt, epoch, step, 0, ""))

    def position(record):
        if isinstance(record, StepRecord):
            return record.epoch - 1, record.step
        if isinstance(record, (EpochRecord, NormsRecord)):
            return record.epoch, 0
        return record.epoch, getattr(record, "step", 0)

    kept = []
    for record in records:
        if isinstance(record, ResumeRecord):
            kept = [old for old in kept if position(old) <= (record.epoch, record.step)]
        kept.append(record)
    assert effective(records) == kept


def test_a_thousand_resumes_do_not_look_at_everything_each_time():
    records = make_records(epochs=40)[1:]
    few, many = (
        [*records, *(ResumeRecord(n, 40, 0, 120, "") for n in range(2, 2 + count))]
        for count in (10, 300)
    )
    assert lines_run(lambda: effective(many)) < 4 * lines_run(lambda: effective(few))


SOAK = Path(__file__).parent / "soak.py"


def soaked(tmp_path, epochs):
    """Train tiny epochs with evaluation in a process of its own; return what each one left."""
    out = tmp_path / "soak.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(SOAK.parents[1])}
    command = [sys.executable, str(SOAK), str(epochs), str(out), str(tmp_path / "work")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.nightly
def test_tiny_epochs_leave_no_thread_file_or_circle_of_tensors(tmp_path):
    epochs = soaked(tmp_path, 60)
    early, late = epochs[20], epochs[-1]
    assert late["threads"] <= early["threads"]
    assert late["files"] <= early["files"]
    assert {epoch["in_circles"] for epoch in epochs[20:]} == {0}


def kept_by_tensorboard(folder, imports, each):
    """Return the bytes that 300 of 400 epochs have added, in a process of its own."""
    code = (
        "import sys\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from harness.reporting.tensorboard import TensorBoardObserver\n"
        f"from tests.ledger_runs import RUN\nfrom tests.soak import private_bytes\n{imports}\n"
        "board, found = TensorBoardObserver(Path(sys.argv[1])), []\n"
        f"for epoch in range(1, 401):\n    {each}\n    found.append(private_bytes())\n"
        "print(found[-1] - found[100])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=True, text=True, capture_output=True,
        cwd=SOAK.parents[1],
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1])


@pytest.mark.nightly
def test_tensorboard_keeps_nothing_of_the_numbers_that_it_was_given(tmp_path):
    each = "board(replace(RUN.epochs[2], epoch=epoch, lr=1 / epoch, best_epe=2 / epoch))"
    assert kept_by_tensorboard(tmp_path, "", each) < MIB


@pytest.mark.nightly
def test_tensorboard_keeps_nothing_of_the_images_that_it_was_given(tmp_path):
    imports = "from tests.picture_runs import pictures_of"
    each = "board.pictured(pictures_of(replace(RUN.evals[0], epoch=epoch))); board(RUN.steps[0])"
    assert kept_by_tensorboard(tmp_path, imports, each) < MIB


@pytest.mark.nightly
def test_two_thousand_tiny_epochs_end_where_they_were_after_two_hundred(tmp_path):
    epochs = soaked(tmp_path, 2_000)
    early, late = epochs[199], epochs[-1]
    assert late["threads"] <= early["threads"]
    assert late["files"] <= early["files"]
    assert late["private_bytes"] - early["private_bytes"] < 2 * MIB


def test_a_long_curve_is_drawn_with_its_ends_and_extremes_and_so_many_points():
    from harness.reporting.plots import _MOST_POINTS, _extremes

    points = [(float(x), float((x * 7919) % 10_007)) for x in range(50_001)]
    found = _extremes(points)
    assert found == sorted(found)
    assert len(found) <= _MOST_POINTS + 2
    assert {points[0], points[-1]} < set(found) < set(points)
    for bound in (min, max):
        assert bound(y for _, y in found) == bound(y for _, y in points)
    assert _extremes(points[:50]) == points[:50]
