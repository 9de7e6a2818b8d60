"""Promises that a ledger alone can prove or break: for the gate and for ``harness audit``."""

from collections.abc import Callable
from typing import Any

from harness.relations import (
    ledger_attempts,
    ledger_draws,
    ledger_metric,
    ledger_rows,
    ledger_steps,
)
from harness.relations.base import Outcome, Relation

__all__ = ["OFFLINE"]


def _offline(
    name: str, promise: str, hint: str, check: Callable[[Any], Outcome], *sees: str
) -> Relation:
    return Relation(
        f"ledger-{name}", promise, "ledger", ("train",), hint, check, sees, offline=True
    )


OFFLINE: tuple[Relation, ...] = (
    _offline(
        "steps-planned", "every planned step ran once, in order, with the planned clip checks",
        "The run made other steps or other micro-batches than its first lines announced: compare "
        "batch and micro-batch size, and look for a resume that lost or repeated steps.",
        ledger_steps.steps_are_planned, "clip", "log", "schedule",
    ),
    _offline(
        "clip-figures", "clip counts, rates and quantiles follow from the recorded norms",
        "The clip figures of the log are of other checks than those that were made.",
        ledger_steps.clip_figures_follow, "clip", "log",
    ),
    _offline(
        "learning-rate", "each step's learning rate lies on the planned cosine",
        "The schedule restarted, or counts other steps than the plan: look at what a resume keeps.",
        ledger_steps.learning_rate_follows, "schedule", "config",
    ),
    _offline(
        "loss-average", "the epoch's loss is the mean over all of its micro-batches",
        "The mean weighs a partial batch as a whole one, or sums steps of another epoch.",
        ledger_steps.loss_average_follows, "log", "step",
    ),
    _offline(
        "fairness", "every step trained each option once, in cycles that do not repeat",
        "Strict fairness is broken, or its random stream does not depend on epoch and step.",
        ledger_draws.fairness_is_kept, "fairness", "determinism",
    ),
    _offline(
        "draws-new", "every epoch trained on other batches",
        "The shuffle or the crop is seeded alike in every epoch: the model sees less data than "
        "there is.",
        ledger_draws.draws_are_new, "data", "determinism",
    ),
    _offline(
        "eval-batches-fixed", "all evaluations used one pool and the same batches",
        "Scores on different batches do not compare: the EPE moved because its data did, by an "
        "unfixed order or crop, or because a resume changed the protocol.",
        ledger_metric.eval_batches_are_fixed, "data", "evaluation", "recalibration", "log",
    ),
    _offline(
        "metric-alive", "scores and statistics change when, and only when, the weights do",
        "A metric that does not move when the model moves is dead, one that moves alone is noise: "
        "mend it before tuning anything.",
        ledger_metric.metric_is_alive, "metric", "evaluation", "recalibration", "step",
    ),
    _offline(
        "tau", "Kendall's tau follows from two evaluations of the same pool and batches",
        "A constant ranking has no tau: 1.0 there hides a dead metric behind perfect stability.",
        ledger_metric.tau_follows, "log", "evaluation",
    ),
    _offline(
        "scores-add-up", "the log's scores follow from the evaluation of the same epoch",
        "A column of the log is stale, fabricated, or of another evaluation.",
        ledger_rows.scores_add_up, "log", "evaluation", "metric",
    ),
    _offline(
        "finite", "all numbers are finite, due scores are there, and gaps have reasons",
        "Find the first record with the value: whatever came after it is void.",
        ledger_rows.numbers_are_finite, "finite", "log",
    ),
    _offline(
        "attempts-agree", "attempts share dynamics and protocol, and continue a saved checkpoint",
        "Rows of other attempts or other futures are mixed into one curve: a resume that should "
        "have been refused, or that went on from elsewhere.",
        ledger_attempts.attempts_agree, "log",
    ),
    _offline(
        "best-tracked", "the best EPE is the lowest so far",
        "The best checkpoint, and early stopping, follow another number than the log's.",
        ledger_rows.best_is_tracked, "log",
    ),
)  # fmt: skip
"""Their evidence is a run's records (:class:`harness.records.run.RunEvidence`)."""
