"""Promises of a ledger about evaluations: fixed batches, a metric that lives, Kendall's tau.

What compares two evaluations, or judges one, is shared with the watch.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from harness.promises.ledger.plan import MOST, NEGLIGIBLE, evaluations, first_violations
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.records import EvalRecord
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = [
    "PLATEAU", "at_zero_flow", "changed_batches", "dead_metric", "eval_batches_are_fixed",
    "metric_is_alive", "plateau_text", "recal_is_fixed",
]  # fmt: skip


PLATEAU = 3
"""Evaluations in a row at the zero flow's level that make a warning."""

_NEAR, _FLAT = 0.01, 0.001
"""Relative distance to the zero flow's EPE, and relative spread of the pool, of a plateau."""


def recal_is_fixed(config: object) -> bool:
    """Return whether every epoch recalibrates on the same batches."""
    evaluation = config["eval"]  # type: ignore[index]
    return bool(evaluation.get("frozen")) or evaluation.get("recal_mode", "fixed") == "fixed"


def changed_batches(first: EvalRecord, now: EvalRecord, *, recal: bool) -> list[Violation]:
    """Return what an evaluation measured on differently than the first one.

    Parameters
    ----------
    recal : bool
        Whether recalibration batches are the same every time, too.
    """
    names = ["archs", "eval_batch_hash", "zero_flow_epe", "samples", "batches", "flow_clip"]
    names += ["bn_recal_batch_hash", "recal_batches"] if recal else []
    return [
        Violation(
            f"epoch {now.epoch}, {name}",
            f"{getattr(first, name)!r} as in epoch {first.epoch}",
            f"{getattr(now, name)!r}{_CHANGED.get(name, '')}",
        )
        for name in names
        if getattr(first, name) != getattr(now, name)
    ]  # fmt: skip


_LOGGED = ("eval_batch_hash", "bn_recal_batch_hash", "zero_flow_epe")
_CHANGED = {
    "archs": ": another pool was scored",
    "eval_batch_hash": ": other batches were scored",
    "zero_flow_epe": ": other labels were scored",
    "bn_recal_batch_hash": ": other batches were recalibrated on",
}


def eval_batches_are_fixed(run: RunEvidence) -> Outcome:
    """Require one pool, one set of evaluation batches and the configured recalibration batches."""
    evals, fixed = evaluations(run, least=2), recal_is_fixed(run.config)
    violations = first_violations(
        v for now in evals[1:] for v in changed_batches(evals[0], now, recal=fixed)
    )
    violations += first_violations(
        Violation(f"{kind} of epoch {record.epoch}", "a digest", repr(getattr(record, kind)))
        for record in evals
        for kind in ("eval_batch_hash", "bn_recal_batch_hash")
        if not getattr(record, kind) and (kind == "eval_batch_hash" or record.recal_batches)
    )
    mode = "the same"
    if not fixed:
        judged = _can_tell_recal_draws(run, evals)
        violations += _recal_repeats(evals) if judged else []
        mode = "drawn anew" if judged else "random, from too few samples to tell"
    violations += first_violations(_otherwise_logged(run, evals))
    figures = (
        f"{counted(len(evals), 'evaluation')} on {evals[0].eval_batch_hash}, recalibration {mode}"
    )
    return outcome(violations[:MOST], len(evals), figures)


def _otherwise_logged(run: RunEvidence, evals: Sequence[EvalRecord]) -> Iterator[Violation]:
    scored = {record.epoch: record for record in evals}
    for row in run.epochs:
        record = scored.get(row.epoch)
        for name in () if record is None else _LOGGED:
            found, scored_on = getattr(row, name), getattr(record, name)
            if found is not None and found != scored_on:
                where = f"epoch {row.epoch}, {name} in the log"
                yield Violation(where, repr(scored_on), repr(found))


LEDGER_EVAL_BATCHES_FIXED = Promise(
    id="ledger-eval-batches-fixed",
    further=("Training.records",),
    sentence="all evaluations used one pool and the same batches",
    check=eval_batches_are_fixed,
    hint=(
        "Scores on different batches do not compare: the EPE moved because its data did, by an "
        "unfixed order or crop, or because a resume changed the protocol."
    ),
    explained_by=("eval-order-fixed", "eval-crop-centred", "recal-batches-fixed"),
)


def _can_tell_recal_draws(run: RunEvidence, evals: Sequence[EvalRecord]) -> bool:
    """Return whether equal random recalibration batches cannot be a coincidence."""
    size = int(run.config["eval"].get("batch_size") or run.config["train"]["batch_size"])
    drawn = min(record.recal_batches for record in evals) * size
    # Where the first lines do not tell the split's size, it has at least what the batches
    # needed, the last of which may be partial.
    samples = run.train_samples or max(drawn - size + 1, 1)
    orders = math.lgamma(samples + 1) - math.lgamma(max(samples - drawn, 0) + 1)
    return orders > math.log(len(evals) ** 2 / 2 / NEGLIGIBLE)


def _recal_repeats(evals: Sequence[EvalRecord]) -> list[Violation]:
    seen: dict[str, int] = {}
    found = []
    for record in evals:
        digest = record.bn_recal_batch_hash
        if not digest:  # nothing was drawn
            continue
        if digest in seen:
            where = f"epoch {record.epoch}, bn_recal_batch_hash (recal_mode is random)"
            what = f"another than in epoch {seen[digest]}"
            found.append(Violation(where, what, f"{digest}, the same"))
        seen.setdefault(digest, record.epoch)
    return found


def dead_metric(previous: EvalRecord | None, now: EvalRecord) -> list[Violation]:
    """Return the signs that the scores do not follow the model.

    All archs score alike; scores or recalibrated statistics stay though the weights moved; or
    the scores moved though weights and batches stayed.
    """
    where, found = f"epoch {now.epoch}", []
    if len(now.archs) > 1 and len(set(now.per_arch_epe)) == 1:
        what = f"{now.per_arch_epe[0]!r} px for all {len(now.archs)}"
        found.append(Violation(f"{where}, EPE of the pool", "a difference between archs", what))
    if previous is None or previous.archs != now.archs or not now.weights_digest:
        return found  # without a digest of the weights nobody knows whether they changed
    since = f"than in epoch {previous.epoch}, the weights have changed"
    same_scores = now.per_arch_epe == previous.per_arch_epe
    same_batches = (now.eval_batch_hash, now.bn_recal_batch_hash) == (
        previous.eval_batch_hash, previous.bn_recal_batch_hash,
    )  # fmt: skip
    if now.weights_digest != previous.weights_digest:
        if same_scores:
            text = f"the same for all {len(now.archs)} archs: a dead metric"
            found.append(Violation(f"{where}, per-arch EPE", f"others {since}", text))
        # So it was in EdgeFlowNAS, whose update ops never ran.
        if now.stats_digest and now.stats_digest == previous.stats_digest:
            text = f"the same {now.stats_digest}: recalibration computes nothing"
            found.append(Violation(f"{where}, stats_digest", f"another {since}", text))
    elif same_batches and not same_scores:
        pairs = zip(now.archs, previous.per_arch_epe, now.per_arch_epe, strict=True)
        arch, old, new = next(pair for pair in pairs if pair[1] != pair[2])
        expected = f"{old!r} as in epoch {previous.epoch}, with the same weights and batches"
        found.append(Violation(f"{where}, EPE of arch {arch}", expected, repr(new)))
    return found


def at_zero_flow(record: EvalRecord) -> bool:
    """Return whether a pool scores, without spread, what an all-zero flow scores or worse."""
    zero = record.zero_flow_epe
    return record.mean_epe >= zero * (1 - _NEAR) and record.std_epe < zero * _FLAT


def plateau_text(record: EvalRecord, count: int) -> str:
    """Return what a plateau at the zero flow's level means."""
    return (
        f"mean EPE {record.mean_epe:.4f} +- {record.std_epe:.4f} px in epoch {record.epoch}, an "
        f"all-zero flow scores {record.zero_flow_epe:.4f} px, and so in the last {count} "
        "evaluations: this is what a dead metric looks like (EdgeFlowNAS scored its last residual "
        "scale alone and stayed there for hundreds of epochs); gate the metric before tuning"
    )


def metric_is_alive(run: RunEvidence) -> Outcome:
    """Require scores that change when, and only when, the weights do."""
    evals = evaluations(run)
    violations = first_violations(_not_alive(run, evals))
    if not violations:
        # For what it raises: one evaluation may show a dead metric, but no living one.
        evaluations(run, least=2)
    last = evals[-PLATEAU:]
    plateau: tuple[str, ...] = ()
    if len(last) == PLATEAU and all(map(at_zero_flow, last)):
        plateau = (plateau_text(last[-1], PLATEAU),)
    moved = len({record.weights_digest for record in evals})
    spread = max(record.std_epe for record in evals)
    figures = (
        f"{counted(len(evals), 'evaluation')} of {moved} weights, spread up to {spread:.4g} px"
    )
    return outcome(violations[:MOST], len(evals), figures, plateau)


LEDGER_METRIC_ALIVE = Promise(
    id="ledger-metric-alive",
    further=("Training.records",),
    sentence="scores and statistics change when, and only when, the weights do",
    check=metric_is_alive,
    hint=(
        "A metric that does not move when the model moves is dead, one that moves alone is noise: "
        "fix it before tuning anything."
    ),
    explained_by=("metric-alive", "same-scores-again:other each time", "recal-effective:no effect"),
)


def _not_alive(run: RunEvidence, evals: Sequence[EvalRecord]) -> Iterator[Violation]:
    stepped = sorted(step.epoch for step in run.steps)
    for previous, now in zip((None, *evals), evals, strict=False):
        yield from dead_metric(previous, now)
        if previous is not None and now.weights_digest == previous.weights_digest != "":
            until, since = (bisect_right(stepped, one.epoch) for one in (now, previous))
            if until > since:
                steps = counted(until - since, "step")
                expected = f"others than in epoch {previous.epoch} after {steps}"
                yield Violation(f"epoch {now.epoch}, weights_digest", expected, "the same")
