"""Where the curves of a report end, and which are not drawn together."""

import json
from dataclasses import replace

import pytest

from harness.records.records import EpochRecord, ResumeRecord
from harness.reporting.borders import borders
from harness.reporting.curves import PANELS, drawing, polylines, view
from harness.reporting.pool_space import pool_space
from tests.report_runs import (
    ELSEWHERE,
    MORE,
    SEGMENTS,
    SERIES,
    SLOWER,
    attempt,
    course,
    read,
    report,
    write,
)
from tests.synthetic_run import make_records

EPE, TAU, _CLIP, NORMS, LOSS, _LR, TIMES = PANELS
FIRST, LATER = [1, 2, 3], [4, 5, 6, 7, 8]


def lines(history, panel, *, across, number=0):
    shown = view("a", history, across=across)
    attempts = shown.metric if panel.metric else shown.training
    found = polylines(attempts, panel.quantities[number].value, metric=panel.metric)
    return [[epoch for epoch, _ in points] for points in found]


@pytest.mark.parametrize(
    ("records", "kind", "training", "metric"),
    [
        (SEGMENTS, "segment", [FIRST, LATER], [FIRST, LATER]),
        (SERIES, "series", [FIRST + LATER], [FIRST, LATER]),
        (ELSEWHERE, "environment", [FIRST + LATER], [FIRST + LATER]),
    ],
    ids=["segment", "metric series", "environment"],
)
def test_curves_end_at_the_borders_that_part_them(records, kind, training, metric, tmp_path):
    history = read(tmp_path, records)
    assert [(b.x, b.kinds) for b in borders(history.attempts)] == [(3.5, (kind,))]
    for panel in (LOSS, NORMS):
        assert lines(history, panel, across=True) == training
    for panel in (EPE, TIMES):
        assert lines(history, panel, across=True) == metric
    assert lines(history, TAU, across=True)[0][0] == 2, "tau has no value in the first epoch"
    assert lines(history, TAU, across=True)[1:] == metric[1:]
    drawn = drawing(EPE, [view("a", history, across=True)])
    assert [curve.points[0][0] for curve in drawn.curves if curve.role == "band"] == [
        points[0] for points in metric
    ]
    assert [mark.x for _, mark in drawn.borders] == [3.5]


def test_dynamics_changed_under_one_name_are_a_border_all_the_same(tmp_path):
    wrong = course(attempt(2, 3, identity="2e", sections=SLOWER))
    assert lines(read(tmp_path / "wrong", wrong), LOSS, across=True) == [FIRST, LATER]
    other_version = course(attempt(2, 3, identity="2e"))
    assert lines(read(tmp_path / "same", other_version), LOSS, across=True) == [FIRST + LATER]


def test_a_field_that_only_one_version_records_is_no_border(tmp_path):
    more = {"threads": 2, "cpu": "recorded since", "variables": {"XLA_FLAGS": "--a"}}
    newer = course(attempt(2, 3, environment=more), attempt(3, 6, environment={"threads": 2}))
    history = read(tmp_path, newer)
    assert borders(history.attempts) == ()
    assert lines(history, EPE, across=True) == [FIRST + LATER]


def test_borders_at_one_place_are_one_border_that_says_all(tmp_path):
    records = course(attempt(2, 3, segment="slower", sections=SLOWER))
    place = next(i for i, r in enumerate(records) if isinstance(r, ResumeRecord)) + 2
    assert (records[place - 1].epoch, records[place - 1].step) == (4, 1)
    again = attempt(
        3, 3, segment="slower", protocol="bbbb", environment={"threads": 4},
        sections={**SLOWER, **MORE},
    )  # fmt: skip
    within = [again[0], replace(again[1], step=1, global_step=10)]
    history = read(tmp_path, [*records[:place], *within, *records[place:]])
    (mark,) = borders(history.attempts)
    assert mark.kinds == ("segment", "series", "environment")
    assert mark.label == "segment slower, metric series bbbb, other environment"
    assert mark.changes == (
        "train.lr: 0.001 -> 0.0005", "eval.bn_recal_batches: 2 -> 3",
        "environment threads: 2 -> 4",
    )  # fmt: skip
    assert lines(history, EPE, across=True) == [FIRST, LATER]


def test_an_undefined_tau_and_a_missing_row_are_gaps_and_a_rare_evaluation_is_none(tmp_path):
    def undefined(record):
        if isinstance(record, EpochRecord) and record.epoch == 5:
            return replace(record, kendall_tau_prev=None, reasons={"kendall_tau_prev": "constant"})
        return record

    history = read(tmp_path / "tau", course(change=undefined))
    assert lines(history, TAU, across=False) == [[2, 3, 4], [6, 7, 8]]
    records = [r for r in course() if not (isinstance(r, EpochRecord) and r.epoch == 5)]
    assert lines(read(tmp_path / "row", records), LOSS, across=False) == [[1, 2, 3, 4], [6, 7, 8]]
    rare = make_records(epochs=8, eval={"eval_every_epoch": 3})
    assert lines(read(tmp_path / "rare", rare), EPE, across=False) == [[3, 6]]


def test_a_row_that_the_next_attempt_repairs_stays_on_its_side(tmp_path):
    row = next(r for r in SEGMENTS if isinstance(r, EpochRecord) and r.epoch == 3)
    records = [r for r in SEGMENTS if r is not row]
    place = next(i for i, r in enumerate(records) if isinstance(r, ResumeRecord))
    history = read(tmp_path, [*records[: place + 1], row, *records[place + 1 :]])
    assert lines(history, LOSS, across=True) == [FIRST, LATER]


def test_by_default_the_newest_segment_is_shown_and_the_rest_is_said(tmp_path, capsys):
    history = read(tmp_path / "a", SEGMENTS)
    assert lines(history, LOSS, across=False) == [LATER]
    text, said = report(capsys, tmp_path, tmp_path / "a")
    left_out = "segment main (epochs 1 to 3)"
    assert f"Left out of a: {left_out}. <code>--across-segments</code> shows it" in text
    assert f"a: left out: {left_out} (--across-segments shows it)" in said
    assert "train.lr: 0.001 -&gt; 0.0005" in text
    text, said = report(capsys, tmp_path, tmp_path / "a", "--across-segments")
    assert "eft out" not in text + said
    assert "exists and is overwritten" in said


def test_by_default_the_newest_metric_series_is_shown_and_the_rest_is_said(tmp_path, capsys):
    history = read(tmp_path / "a", SERIES)
    assert lines(history, LOSS, across=False) == [FIRST + LATER]
    assert lines(history, EPE, across=False) == [LATER]
    text, _ = report(capsys, tmp_path, tmp_path / "a")
    assert "metric series aaaa (epochs 1 to 3)" in text
    text, _ = report(capsys, tmp_path, tmp_path / "a", "--across-segments")
    assert "do not compare EPE or tau across a dashed line" in text


def test_rankings_of_two_metric_series_are_not_held_against_each_other(tmp_path):
    # On the same batches: they recalibrate on others.
    history = read(tmp_path / "a", SERIES)
    for across in (False, True):
        found = pool_space(view("a", history, across=across))
        assert found.epochs == (4, 5, 6, 7, 8)
        assert [len(row) for row in found.taus] == [5] * 5


def test_a_segment_that_has_only_begun_is_said(tmp_path, capsys):
    records = [*course(epochs=3), *attempt(2, 3, segment="slower", sections=SLOWER)]
    folder, file = write(tmp_path / "a", records), tmp_path / "report.json"
    text, _ = report(capsys, tmp_path, folder, "--json", file)
    assert "segment slower has begun, but has no finished epoch yet" in text
    assert "epoch 3: EPE" in text
    (run,) = json.loads(file.read_text())["runs"]
    assert [(s["name"], s["epochs"], s["shown"]) for s in run["segments"]] == [
        ("main", "epochs 1 to 3", True), ("slower", "no finished epoch", False),
    ]  # fmt: skip


def test_runs_of_other_protocols_are_refused_by_key_unless_asked_for(tmp_path, capsys):
    a = write(tmp_path / "a", course())
    b = write(tmp_path / "b", [attempt(1, 0, protocol="bbbb", sections=MORE)[0], *course()[1:]])
    error, _ = report(capsys, tmp_path, a, b, code=2)
    assert len(error.splitlines()) == 1
    assert "a and b are of different metric series (aaaa and bbbb)" in error
    assert "eval.bn_recal_batches: 2 -> 3" in error
    assert "--across-segments" in error
    assert not (tmp_path / "report.html").exists()
    text, said = report(capsys, tmp_path, a, b, "--across-segments")
    assert '<p class="warning">Warning: scores that do not compare are overlaid: a and b' in text
    assert "warning: scores that do not compare are overlaid" in said


def test_runs_of_one_protocol_are_overlaid_and_their_dynamics_compared(tmp_path, capsys):
    a = write(tmp_path / "a", course())
    other = [attempt(1, 0, identity="2e", sections=SLOWER)[0], *course()[1:]]
    text, _ = report(capsys, tmp_path, a, write(tmp_path / "b", other))
    assert "Against the first run: train.lr: 0.001 -&gt; 0.0005" in text
    histories = [read(tmp_path / "x", course()), read(tmp_path / "y", other)]
    drawn = drawing(LOSS, [view("a", history, across=False) for history in histories])
    assert [curve.run for curve in drawn.curves] == [0, 1]
