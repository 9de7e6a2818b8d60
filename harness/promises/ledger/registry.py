"""Every promise that a ledger can prove or break: for the gate and for ``harness audit``."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.promises.ledger import (
    attempts,
    draws,
    epoch_figures,
    opening,
    rows,
    scores,
    steps,
    stopping,
    tau,
)
from harness.promises.promise import Promise

__all__ = ["LEDGER_PROMISES"]

_ALL = (
    opening.LEDGER_OPENING_FOLLOWS,
    steps.LEDGER_STEPS_PLANNED,
    epoch_figures.LEDGER_CLIP_FIGURES,
    steps.LEDGER_LEARNING_RATE,
    epoch_figures.LEDGER_LOSS_AVERAGE,
    draws.LEDGER_FAIRNESS,
    draws.LEDGER_DRAWS_NEW,
    scores.LEDGER_EVAL_BATCHES_FIXED,
    scores.LEDGER_METRIC_ALIVE,
    tau.LEDGER_TAU,
    rows.LEDGER_SCORES_ADD_UP,
    rows.LEDGER_FINITE,
    attempts.LEDGER_ATTEMPTS_AGREE,
    rows.LEDGER_BEST_TRACKED,
    stopping.LEDGER_BEST_CHECKPOINT,
    stopping.LEDGER_PATIENCE_KEPT,
)

LEDGER_PROMISES: Mapping[str, Promise] = MappingProxyType({promise.id: promise for promise in _ALL})
"""By id; their evidence is a run's records (:class:`harness.records.run.RunEvidence`)."""
