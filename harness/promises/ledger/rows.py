"""Promises of a ledger about the epoch log: scores, gaps, finite numbers, the best so far."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from types import NoneType
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.candidates import instead, scores_instead
from harness.promises.ledger.plan import (
    MOST,
    evaluations,
    finished_epochs,
    first_violations,
    is_complete,
    is_logged,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.records import EPOCH_FIELDS, RECORDS, EpochRecord, EvalRecord, Record
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = ["best_is_tracked", "not_finite", "numbers_are_finite", "scores_add_up"]

_REQUIRED = tuple(f.name for f in fields(EpochRecord) if f.default is MISSING and
                  f.default_factory is MISSING)  # fmt: skip
"""Columns that every row has; the others came later or need a checkpoint."""


def scores_add_up(run: RunEvidence) -> Outcome:
    """Require the log's scores as recomputed from the evaluation of the same epoch."""
    rows = finished_epochs(run)
    if not run.evals and not (is_complete(run) and any(r.mean_epe_12 is not None for r in rows)):
        # For what it raises; a complete ledger without the
        # evaluations of its scores is judged below.
        evaluations(run)
    scored = {record.epoch: record for record in run.evals}
    violations = first_violations(v for record in run.evals for v in _record_adds_up(run, record))
    if len(scored) != len(run.evals):
        text = f"{counted(len(run.evals), 'record')} for {counted(len(scored), 'epoch')}"
        violations.append(Violation("evaluations", "one an epoch", text))
    violations += first_violations(_other_scores(run, rows, scored))
    evaluated = counted(len(scored), "evaluation")
    figures = f"{evaluated} and {counted(len(rows), 'row')} recomputed"
    unseen = "" if run.evals else "no evaluation is recorded, of which the log has scores"
    return outcome(violations[:MOST], len(rows) + len(scored), figures, unseen=unseen)


LEDGER_SCORES_ADD_UP = Promise(
    id="ledger-scores-add-up",
    further=("Training.records",),
    sentence="the log's scores follow from the evaluation of the same epoch",
    check=scores_add_up,
    hint="A column of the log is stale, fabricated, or of another evaluation.",
    explained_by=("epoch-rows-add-up",),
)


def _other_scores(
    run: RunEvidence, rows: Sequence[EpochRecord], scored: Mapping[int, EvalRecord]
) -> Iterator[Violation]:
    for row in rows:
        record = scored.get(row.epoch)
        if record is not None:
            yield from _row_adds_up(run, row, record)
        elif row.mean_epe_12 is not None and run.evals:
            where = f"epoch {row.epoch}, mean_epe_12 in the log"
            what = f"{row.mean_epe_12!r}"
            yield Violation(where, "null: the epoch has no evaluation", what)


def _row_adds_up(run: RunEvidence, row: EpochRecord, record: EvalRecord) -> list[Violation]:
    epe = record.per_arch_epe
    expected = {
        "mean_epe_12": math.fsum(epe) / len(epe), "std_epe_12": _deviation(epe, row.std_epe_12),
        "per_arch_epe_min": min(epe), "per_arch_epe_median": statistics.median(epe),
        "per_arch_epe_max": max(epe), "eval_batches_per_arch": record.batches,
        "bn_recal_batches": record.recal_batches, "eval_seconds": record.eval_seconds,
        "bn_recal_seconds": record.bn_recal_seconds,
    }  # fmt: skip
    if row.eval_pool_size is not None:
        expected["eval_pool_size"] = len(epe)
    return [
        Violation(f"epoch {row.epoch}, {name} in the log", repr(value),
                  f"{getattr(row, name)!r}{_instead(run, row, record, name)}")
        for name, value in expected.items()
        if is_logged(row, name) and not _close(getattr(row, name), value)
    ]  # fmt: skip


def _instead(run: RunEvidence, row: EpochRecord, record: EvalRecord, name: str) -> str:
    """Return what a score of the log is instead, in words."""
    found = getattr(row, name)
    if "epe" not in name or not record.per_arch_epe:
        return ""
    earlier = next((one for one in reversed(run.epochs) if one.epoch < row.epoch), None)
    before = None if earlier is None else getattr(earlier, name)
    best = {"the best so far": row.best_epe} if name == "mean_epe_12" else {}
    return instead(found, {**scores_instead(name, record.per_arch_epe, before), **best})


def _record_adds_up(run: RunEvidence, record: EvalRecord) -> list[Violation]:
    epe, where = record.per_arch_epe, f"evaluation of epoch {record.epoch}"
    if len(epe) != len(record.archs) or not epe:
        text = f"{len(epe)} for {counted(len(record.archs), 'arch')}"
        return [Violation(f"{where}, scores", "one an arch", text)]
    found = [
        Violation(f"{where}, {name}", repr(value), f"{getattr(record, name)!r}"
                  f"{instead(getattr(record, name), scores_instead(name, epe))}")
        for name, value in (
            ("mean_epe", math.fsum(epe) / len(epe)), ("std_epe", _deviation(epe, record.std_epe))
        )
        if not _close(getattr(record, name), value)
    ]  # fmt: skip
    evaluation, asked = run.config["eval"], record.batches_asked
    size = evaluation.get("batch_size") or run.config["train"]["batch_size"]
    most = record.batches * size
    # A frozen artifact brings batches of its own size.
    if not evaluation.get("frozen") and not most - size < record.samples <= most:
        text = f"{most - size + 1} to {most} in {counted(record.batches, 'batch')} of {size}"
        found.append(Violation(f"{where}, samples", text, str(record.samples)))
    if not isinstance(asked, str) and record.batches > asked:
        found.append(Violation(f"{where}, batches", f"at most {asked}", str(record.batches)))
    return found


def _deviation(epe: Sequence[float], found: Any) -> float:
    """Return the standard deviation over the pool, or what was found where it is that to 1e-10.

    Exactly as :mod:`statistics` computes it, it takes half of an audit.
    """
    mean = math.fsum(epe) / len(epe)
    quick = math.sqrt(sum((value - mean) * (value - mean) for value in epe) / len(epe))
    # A smaller one may be the rounding of the mean.
    if quick > 1e-8 * abs(mean) and isinstance(found, float) and math.isfinite(found):
        if math.isclose(found, quick, rel_tol=1e-10):
            return found
    elif all(value == epe[0] for value in epe):
        return 0.0
    return statistics.pstdev(epe)


def _close(found: Any, expected: float) -> bool:
    return found is not None and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)


_BLOCK = 1024
"""Records that are looked at together: unpacked, the numbers of a long run take their room."""

_NAMES = {kind: tuple(item.name for item in fields(kind)) for kind in RECORDS.values()}


def not_finite(record: Record) -> list[Violation]:
    """Return the first number of a record that is not finite."""
    for name in _NAMES[type(record)]:
        value = getattr(record, name)
        if isinstance(value, float) and math.isfinite(value):
            continue
        for place, number in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(number, float) and not math.isfinite(number):
                step = getattr(record, "step", None)
                where = f"epoch {getattr(record, 'epoch', 0)}" + (f", step {step}" if step else "")
                what = f"{name}[{place}]" if isinstance(value, tuple) else name
                return [Violation(f"{where}, {what}", "a finite number", str(number))]
    return []


def _suspects(records: Sequence[Record]) -> Iterator[Record]:
    """Yield those blocks of records of one kind that may hold a number that is not finite.

    Field by field; record by record it takes a seventh of an audit.
    """
    names = _NAMES[type(records[0])] if records else ()
    for start in range(0, len(records), _BLOCK):
        block = records[start : start + _BLOCK]
        if not all(_is_finite([getattr(record, name) for record in block]) for name in names):
            yield from block


def _is_finite(values: Sequence[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds == {tuple}:
        return all(map(_is_finite, values))
    if (
        float not in kinds
    ):  # of any other type, such as one that is derived from it, nothing is known
        return kinds <= {int, str, bool, dict, NoneType}
    return kinds <= {float, NoneType} and all(map(math.isfinite, filter(None, values)))


def numbers_are_finite(run: RunEvidence) -> Outcome:
    """Require finite numbers, due scores that are there, and a reason for each gap."""
    rows = finished_epochs(run)
    kinds: tuple[Sequence[Record], ...] = (run.steps, run.norms, run.evals, rows)
    records = sum(map(len, kinds))
    suspects = chain.from_iterable(map(_suspects, kinds))
    violations = first_violations(v for record in suspects for v in not_finite(record))
    violations += first_violations(v for row in rows for v in _gaps(row))
    scored = [row.epoch for row in rows if row.mean_epe_12 is not None]
    every = int(run.config["eval"].get("eval_every_epoch", 1))
    if scored:
        violations += first_violations(
            Violation(f"epoch {row.epoch}, mean_epe_12", f"a score: eval_every_epoch is {every}",
                      f"null: {row.reasons.get('mean_epe_12')}")
            for row in rows
            if row.epoch % every == 0 and row.mean_epe_12 is None
        )  # fmt: skip
    saved = {record.epoch for record in run.checkpoints if record.step == 0}
    violations += first_violations(
        Violation(f"epoch {row.epoch}, checkpoint_digest", "its checkpoint's digest", "null")
        for row in rows
        if row.epoch in saved
        and row.checkpoint_digest is None
        and is_logged(row, "checkpoint_digest")
    )
    warning = () if scored or len(rows) < every else ("no evaluation in the whole run",)
    epochs = counted(len(rows), "epoch")
    figures = f"{counted(records, 'record')}, scores in {len(scored)} of {epochs}"
    return outcome(violations[:MOST], records, figures, warning)


LEDGER_FINITE = Promise(
    id="ledger-finite",
    sentence="all numbers are finite, due scores are there, and gaps have reasons",
    check=numbers_are_finite,
    hint="Find the first record with the value: whatever came after it is void.",
    explained_by=("all-finite", "epoch-rows-add-up"),
)


def _gaps(row: EpochRecord) -> Iterator[Violation]:
    for name in _REQUIRED:
        if getattr(row, name) is None and not row.reasons.get(name):
            yield Violation(f"epoch {row.epoch}, {name}", "a value or a reason", "null")
    for name, reason in row.reasons.items():
        if name in EPOCH_FIELDS and getattr(row, name) is not None:
            both = f"{getattr(row, name)} and {reason!r}"
            yield Violation(f"epoch {row.epoch}, {name}", "a value or a reason", both)


def best_is_tracked(run: RunEvidence) -> Outcome:
    """Require the lowest mean EPE so far in every row, never rising.

    A resume with ``reset_early_stop_on_resume`` starts it again.
    """
    rows = finished_epochs(run)
    silent = [row.best_epe is None and _unsaid(row) for row in rows]
    if rows and all(silent):
        msg = "not enough evidence: no row says what the best EPE was"
        raise NotApplicableError(msg)
    reset = bool(run.config.get("checkpoint", {}).get("reset_early_stop_on_resume"))
    # The run's first attempt resumes nothing.
    resumes = run.attempts - (1 if run.before is None else 0)
    restarts = resumes if reset else 0
    violations = first_violations(_other_bests(run, rows, restarts))
    best = rows[-1].best_epe if rows else run.best_before
    figures = f"{counted(len(rows), 'row')}, best EPE {best if best is None else f'{best:.6g}'} px"
    return outcome(violations[:MOST], len(rows), figures, without="no epoch was recorded")


def _other_bests(
    run: RunEvidence, rows: Sequence[EpochRecord], restarts: int
) -> Iterator[Violation]:
    best = run.best_before
    # What came before is not recorded, where a ledger was lost or a checkpoint imported.
    given = run.before is None and run.start != (0, 0)
    for row in rows:
        score = [] if row.mean_epe_12 is None else [row.mean_epe_12]
        kept = min([*score, *([] if best is None else [best])], default=None)
        if row.best_epe != kept:
            again = min(score, default=None)
            if restarts and row.best_epe == again:
                restarts -= 1
            elif not (given and row is rows[0] and _may_be_earlier(row.best_epe, kept)):
                text = "null" if kept is None else f"{kept!r}, the lowest so far"
                yield Violation(f"epoch {row.epoch}, best_epe", text, repr(row.best_epe))
        best = row.best_epe


def _may_be_earlier(best: float | None, kept: float | None) -> bool:
    """Return whether a best EPE may be of an evaluation that is not recorded, before a lowest."""
    return best is not None and (kept is None or best < kept)


def _unsaid(row: EpochRecord) -> bool:
    """Return whether a log does not have the best EPE, that of an earlier version or another's."""
    return "best_epe" not in row.reasons or not is_logged(row, "best_epe")


LEDGER_BEST_TRACKED = Promise(
    id="ledger-best-tracked",
    sentence="the best EPE is the lowest so far",
    check=best_is_tracked,
    hint="The best checkpoint, and early stopping, follow another number than the log's.",
    explained_by=("epoch-rows-add-up",),
)
