"""Promises of a ledger about Kendall's tau of two rankings."""

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.candidates import Named, instead
from harness.promises.ledger.plan import (
    MOST,
    evaluations,
    finished_epochs,
    first_violations,
    is_logged,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.records import EpochRecord, EvalRecord
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = ["tau_follows", "tau_of_changed_ranking"]

_AT_ONCE = 64
"""Archs whose pairs are counted in one call; those of more would take too much memory."""


def tau_follows(run: RunEvidence) -> Outcome:
    """Require Kendall's tau-b as recomputed by counting pairs, and none where undefined."""
    rows, evals = finished_epochs(run), evaluations(run, least=1 if run.before else 2)
    # A metric series may go on from the segment before.
    chain = evals if run.previous_eval is None else (run.previous_eval, *evals)
    before = {now.epoch: old for old, now in itertools.pairwise(chain)}
    scored = {record.epoch: record for record in evals}
    looked_at = [row for row in rows if row.epoch in scored and is_logged(row, "kendall_tau_prev")]
    violations = first_violations(
        violation
        for row in looked_at
        for violation in _tau_violation(row, scored[row.epoch], before.get(row.epoch))
    )
    defined = sum(row.kendall_tau_prev is not None for row in looked_at)
    values = counted(defined, "value")
    figures = f"{values} recomputed, {len(rows) - defined} undefined with a reason"
    logged = sum(is_logged(row, "kendall_tau_prev") for row in rows)
    unseen = "the log has no kendall_tau_prev" if rows and not logged else ""
    return outcome(violations[:MOST], logged, figures, unseen=unseen)


LEDGER_TAU = Promise(
    id="ledger-tau",
    further=("Training.records",),
    sentence="Kendall's tau follows from two evaluations of the same pool and batches",
    check=tau_follows,
    hint="A constant ranking has no tau: 1.0 there hides a dead metric behind perfect stability.",
    explained_by=("constant-ranking", "tau-of-changed-ranking"),
)


def tau_of_changed_ranking(run: RunEvidence) -> Outcome:
    """Require tau recomputed where a ranking differs from the one before.

    Raises
    ------
    NotApplicableError
        If no ranking differs: tau is then 1 whatever it is computed from.
    """
    changed = [
        now
        for old, now in itertools.pairwise(run.evals)
        if not _why_undefined(now, old) and _tau_b(old.per_arch_epe, now.per_arch_epe) != 1.0
    ]
    if not changed:
        msg = f"no ranking of {counted(len(run.evals), 'evaluation')} differs from the one before"
        raise NotApplicableError(msg)
    return tau_follows(run)


def _tau_violation(row: EpochRecord, now: EvalRecord, old: EvalRecord | None) -> list[Violation]:
    where, found = f"epoch {row.epoch}, kendall_tau_prev", row.kendall_tau_prev
    undefined = _why_undefined(now, old)
    if undefined or old is None:
        if found is not None:
            return [Violation(where, f"null: {undefined}", repr(found))]
        if not row.reasons.get("kendall_tau_prev"):
            return [Violation(where, "null with a reason", "null without one")]
        return []
    tau = _tau_b(now.per_arch_epe, old.per_arch_epe)
    if found is None:
        reason = row.reasons.get("kendall_tau_prev")
        return [Violation(where, f"{tau!r} by counting pairs", f"null: {reason}")]
    if not math.isclose(found, tau, rel_tol=1e-9, abs_tol=1e-9):
        what = f"{found!r}{instead(found, _taus_instead(now, old, tau))}"
        return [Violation(where, f"{tau!r} by counting pairs", what)]
    return []


def _taus_instead(now: EvalRecord, old: EvalRecord, tau: float) -> Named:
    """Return what a tau may be instead."""
    x, y = np.asarray(now.per_arch_epe), np.asarray(old.per_arch_epe)
    pairs = [np.sign(a[i] - a[j]) for a in (x, y) for i in range(len(a)) for j in range(i)]
    signs = np.asarray(pairs[: len(pairs) // 2]) * np.asarray(pairs[len(pairs) // 2 :])
    return {
        "that of a ranking with itself": 1.0,
        "with the other sign": -tau,
        "tau-a, ties not counted out": float(signs.mean()),
        "the share of pairs that agree": float((signs > 0).mean()),
    }


def _why_undefined(now: EvalRecord, old: EvalRecord | None) -> str:
    if old is None:
        return "there is no evaluation before"
    if old.archs != now.archs:
        return f"epoch {old.epoch} scored another pool"
    if old.eval_batch_hash != now.eval_batch_hash:
        return f"epoch {old.epoch} scored other batches"
    constant = [r.epoch for r in (now, old) if len(set(r.per_arch_epe)) < 2]
    return f"the ranking of epoch {constant[0]} is constant" if constant else ""


@functools.cache
def _pairs(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    first, second = np.triu_indices(count, 1)
    return first, second


def _tau_b(one: Sequence[float], other: Sequence[float]) -> float:
    """Return (concordant - discordant) / sqrt(pairs untied in one * pairs untied in other)."""
    x, y = np.asarray(one), np.asarray(other)
    balance = untied_x = untied_y = 0.0
    if len(x) == len(y) <= _AT_ONCE:
        first, second = _pairs(len(x))
        dx, dy = np.sign(x[second] - x[first]), np.sign(y[second] - y[first])
        untied = float(np.count_nonzero(dx)) * float(np.count_nonzero(dy))
        return float(dx @ dy) / math.sqrt(untied)
    for i in range(len(x) - 1):
        dx, dy = np.sign(x[i + 1 :] - x[i]), np.sign(y[i + 1 :] - y[i])
        balance += float((dx * dy).sum())
        untied_x += float(np.count_nonzero(dx))
        untied_y += float(np.count_nonzero(dy))
    return balance / math.sqrt(untied_x * untied_y)
