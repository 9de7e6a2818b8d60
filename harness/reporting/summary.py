"""What a report says of a run in words and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from harness.promises.ledger.scores import at_zero_flow
from harness.records.records import EpochRecord, EvalRecord, NoteRecord
from harness.records.run import Attempt
from harness.reporting.borders import record_changes, run_segments, short_digest
from harness.reporting.curves import View, clip_threshold, epochs_text

__all__ = ["LAST_EPOCHS", "RunSummary", "series_differences", "summary"]

LAST_EPOCHS = 10
"""Rows of the table of the last epochs."""

_UNNAMED = "nothing that the ledgers record"
_Row = dict[str, Any]


@dataclass(frozen=True)
class RunSummary:
    """Words and tables of one run; table rows by column name, ready for JSON.

    Attributes
    ----------
    name, headline : str
        The run, and where it stands.
    warnings : tuple of str
        What to look at before believing a curve.
    left_out : tuple of str
        What ``--across-segments`` would show.
    against_first : tuple of str or None
        ``key: old -> new`` of the training dynamics against the first run; None for that run.
    segments, borders, epochs, notes, broken_lines : tuple of dict
        Tables.
    facts : tuple of dict
        Verdicts, code and environment, by ``name``: ``text``, and whether it is ``good`` (None:
        neither).
    """

    name: str
    headline: str
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    against_first: tuple[str, ...] | None
    segments: tuple[_Row, ...]
    borders: tuple[_Row, ...]
    epochs: tuple[_Row, ...]
    notes: tuple[_Row, ...]
    broken_lines: tuple[_Row, ...]
    facts: tuple[_Row, ...] = ()


def summary(view: View, first: View | None = None) -> RunSummary:
    """Return what there is to say of a run; `first` is another one to set it against."""
    history = view.history
    shown = {attempt.segment for attempt in view.training}
    against: tuple[str, ...] | None = None
    if first is not None:
        against = record_changes("segment", _opening(first), _opening(view))
    return RunSummary(
        view.name, _headline(view), tuple(_warnings(view)), view.left_out, against,
        segments=tuple(_segment_rows(view)),
        borders=tuple(
            # A border lies half an epoch after the last one before it.
            {"after_epoch": int(b.x - 0.5), "kinds": b.kinds, "label": b.label,
             "changes": b.changes}
            for b in view.borders
        ),
        epochs=tuple(_epoch_rows(view)),
        notes=tuple(
            {"epoch": note.epoch, "segment": attempt.segment, "text": note.text}
            for attempt in history.attempts
            if attempt.segment in shown
            for note in attempt.of(NoteRecord)
        ),
        broken_lines=tuple(
            {"line": line.number, "reason": line.reason, "tail": line.tail, "text": str(line)}
            for line in history.broken
        ),
    )  # fmt: skip


def _opening(view: View) -> Any:
    return (view.newest or view.training[-1]).opening


def _last_scored(view: View) -> EpochRecord | None:
    rows = [row for s in view.metric for row in s.rows if row.mean_epe_12 is not None]
    return rows[-1] if rows else None


def _headline(view: View) -> str:
    newest = view.newest
    if newest is None:
        return "no finished epoch yet"
    last = newest.rows[-1].epoch
    place = f"segment {newest.segment}, metric series {short_digest(newest.opening.protocol)}"
    row = _last_scored(view)
    if row is None or row.mean_epe_12 is None:
        return f"epoch {last}: no evaluation yet ({place})"
    spread = "" if row.std_epe_12 is None else f" ± {row.std_epe_12:.4f}"
    text = f"epoch {row.epoch}: EPE {row.mean_epe_12:.4f}{spread} px"
    if row.zero_flow_epe:
        ratio = row.mean_epe_12 / row.zero_flow_epe
        text += f", {ratio:.2f} of an all-zero flow's {row.zero_flow_epe:.4f} px"
    later = f"; trained to epoch {last}" if last != row.epoch else ""
    return f"{text}{later} ({place})"


def _warnings(view: View) -> list[str]:
    return [*_zero_flow_warnings(view), *_clip_warnings(view), *_begun_warnings(view)]


def _zero_flow_warnings(view: View) -> list[str]:
    evals = [record for attempt in view.metric for record in attempt.of(EvalRecord)]
    # From the newest back: a plateau that training has left is no warning.
    count = len(list(takewhile(at_zero_flow, reversed(evals))))
    if count:
        last = evals[-1]
        times = "the last evaluation" if count == 1 else f"the last {count} evaluations"
        return [
            f"at the zero flow's level: in {times} the pool scored {last.mean_epe:.4f} ± "
            f"{last.std_epe:.4f} px, an all-zero flow scores {last.zero_flow_epe:.4f} px. This is "
            "what a dead metric looks like: gate the metric before tuning anything"
        ]
    row = _last_scored(view)
    if row is None or row.mean_epe_12 is None or row.zero_flow_epe is None:
        return []
    if row.mean_epe_12 < row.zero_flow_epe:
        return []
    return [
        f"worse than no flow at all: EPE {row.mean_epe_12:.4f} px in epoch {row.epoch}, an "
        f"all-zero flow scores {row.zero_flow_epe:.4f} px"
    ]


def _clip_warnings(view: View) -> list[str]:
    rows = [(attempt, row) for attempt in view.training for row in attempt.rows]
    full = [(a, row) for a, row in rows if row.clip_checks and row.clip_count == row.clip_checks]
    found = []
    if full:
        row = full[-1][1]
        found_limits = (clip_threshold(attempt) for attempt, _ in full)
        limits = dict.fromkeys(f"{limit:g}" for limit in found_limits if limit is not None)
        limit = " and ".join(limits) or "the threshold"
        found.append(
            f"saturated clipping: every check clipped at {limit} in {len(full)} of {len(rows)} "
            f"epochs, last in epoch {row.epoch}: the step length is the threshold's, not the "
            "gradient's"
        )
    wrong = [row for _, row in rows if row.clip_checks != row.expected_clip_checks]
    if wrong:
        last = wrong[-1]
        found.append(
            f"clip checks not as planned in {len(wrong)} of {len(rows)} epochs: "
            f"{last.clip_checks} in epoch {last.epoch}, {last.expected_clip_checks} planned"
        )
    return found


def _begun_warnings(view: View) -> list[str]:
    """Say what has begun but has no finished epoch to show."""
    newest, last = view.newest, view.history.attempts[-1]
    if newest is None or last is newest:
        return []
    found = []
    if last.segment != newest.segment:
        found.append(f"segment {last.segment} has begun, but has no finished epoch yet")
    if last.series != newest.series:
        series = short_digest(last.opening.protocol)
        found.append(f"metric series {series} has begun, but has no finished epoch yet")
    return found


def _segment_rows(view: View) -> list[_Row]:
    rows = []
    for part in run_segments(view.history):
        epochs = [row for attempt in part.attempts for row in attempt.rows]
        openings = [attempt.opening for attempt in part.attempts]
        rows.append(
            {
                "name": part.name,
                "epochs": epochs_text(epochs),
                "identity": openings[-1].identity,
                "protocols": tuple(dict.fromkeys(opening.protocol for opening in openings)),
                "changes": part.changes,
                "attempts": part.begun,
                "shown": part.attempts[-1] in view.training,
            }
        )
    return rows


def _epoch_rows(view: View) -> list[_Row]:
    rows = [(attempt, row) for attempt in view.training for row in attempt.rows]
    return [
        _epoch_row(attempt, row, attempt in view.metric) for attempt, row in rows[-LAST_EPOCHS:]
    ]


def _epoch_row(attempt: Attempt, row: EpochRecord, compared: bool) -> _Row:
    """Return a row of the table; scores of a metric series that is left out stay out."""
    scores = {
        "mean_epe": row.mean_epe_12, "std_epe": row.std_epe_12, "min_epe": row.per_arch_epe_min,
        "max_epe": row.per_arch_epe_max, "zero_flow_epe": row.zero_flow_epe,
        "kendall_tau_prev": row.kendall_tau_prev,
    }  # fmt: skip
    reason = str(row.reasons.get("kendall_tau_prev", ""))
    if not compared:
        scores, reason = dict.fromkeys(scores), "another metric series, left out"
    return {
        "epoch": row.epoch, "segment": attempt.segment, "protocol": attempt.opening.protocol,
        **scores, "tau_reason": reason, "clip_rate": row.clip_rate,
        "grad_norm_p50": row.grad_norm_p50, "grad_norm_p90": row.grad_norm_p90,
        "grad_norm_p99": row.grad_norm_p99, "threshold": clip_threshold(attempt),
    }  # fmt: skip


def series_differences(views: Sequence[View]) -> list[str]:
    """Return why scores of the runs' shown metric series do not compare.

    One line for each run whose newest series is another than the first run's, with the keys
    that differ.
    """
    shown = [(view, view.newest) for view in views]
    known = [(view, newest) for view, newest in shown if newest is not None]
    lines = []
    for view, newest in known[1:]:
        first, base = known[0]
        if newest.series != base.series:
            what = "; ".join(record_changes("series", base.opening, newest.opening)) or _UNNAMED
            series = [short_digest(one.opening.protocol) for one in (base, newest)]
            lines.append(
                f"{first.name} and {view.name} are of different metric series "
                f"({' and '.join(series)}): {what}"
            )
    return lines
