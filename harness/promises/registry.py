"""Every promise of the gate, by subject and by id."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType

from harness.digest import digest_strings
from harness.promises import (
    augmentation,
    augmented_labels,
    batch_mates,
    cache,
    checkpoint,
    clip_checks,
    configured,
    consumed,
    drawn_together,
    draws,
    edge_steps,
    elsewhere,
    epoch_log,
    epochs_csv,
    eval_seconds,
    evaluations_due,
    every_step,
    far_updates,
    kept,
    kept_share,
    kills,
    knobs,
    loaded,
    loader_threads,
    logged_archs,
    logged_zero_flow,
    loss,
    metric,
    micro_batches,
    micro_statistics,
    offline,
    own_draws,
    own_labels,
    partial_batches,
    plans,
    purity,
    ranking,
    recalibration,
    refusals,
    response,
    resume,
    score_arithmetic,
    score_means,
    scores,
    served,
    split_sizes,
    step_arithmetic,
    training,
    unrun_options,
    update,
    weight_slopes,
    whole_passes,
    windows,
)
from harness.promises.kept_run import announced, scripted_ledger
from harness.promises.ledger.opening import LEDGER_OPENING_FOLLOWS
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.promises.ledger.steps import LEDGER_LEARNING_RATE, LEDGER_STEPS_PLANNED
from harness.promises.ledger.stopping import LEDGER_BEST_CHECKPOINT, LEDGER_PATIENCE_KEPT
from harness.promises.promise import TIERS, Promise, Tier
from harness.promises.recorded_run import ledger, ledger_of_rates, ledger_of_steps
from harness.promises.roots import AREAS as _AREAS
from harness.promises.roots import Area

__all__ = ["AREA_OF", "PROMISES", "SUBJECTS", "declarations_digest", "in_order", "of_tier"]

_SUBJECTS: tuple[ModuleType, ...] = (
    metric, response, unrun_options, score_means, scores, offline, batch_mates, split_sizes,
    purity,
    recalibration, served, draws,
    own_draws, drawn_together, augmentation, augmented_labels, partial_batches, consumed,
    loader_threads, whole_passes, configured,
    loss, weight_slopes, update, every_step, edge_steps, far_updates, logged_archs,
    own_labels,
    micro_batches, micro_statistics, kept_share, clip_checks, training,
    epoch_log, epochs_csv, eval_seconds, evaluations_due, logged_zero_flow, ranking,
    checkpoint, kept, plans, resume, kills, elsewhere, refusals, loaded, cache,
    windows, step_arithmetic, score_arithmetic, knobs,
)  # fmt: skip
"""What tells the most comes first."""


def _declared(module: ModuleType) -> Iterable[Promise]:
    """Return the promises that a module declares, alone or as tuples, in the order of its text."""
    for value in vars(module).values():
        several = value if isinstance(value, tuple) else (value,)
        yield from (promise for promise in several if isinstance(promise, Promise))


_LEDGERS = {
    LEDGER_OPENING_FOLLOWS.id: announced,
    LEDGER_BEST_CHECKPOINT.id: scripted_ledger,
    LEDGER_PATIENCE_KEPT.id: scripted_ledger,
    LEDGER_LEARNING_RATE.id: ledger_of_rates,
    LEDGER_STEPS_PLANNED.id: ledger_of_steps,
}
"""Promises of a ledger that two epochs of training would leave untried, or that need none, and
what tries them."""

_BY_SUBJECT = {
    **{module.__name__.rsplit(".", 1)[-1]: tuple(_declared(module)) for module in _SUBJECTS},
    # Declared without a driver, because an audit must run without TensorFlow (decision 0013).
    "ledger": tuple(
        dataclasses.replace(promise, evidence=_LEDGERS.get(name, ledger))
        for name, promise in LEDGER_PROMISES.items()
    ),
}

SUBJECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {subject: tuple(promise.id for promise in found) for subject, found in _BY_SUBJECT.items()}
)
"""Ids by subject, the name of the module that declares them; a fault touches subjects."""

PROMISES: Mapping[str, Promise] = MappingProxyType(
    {promise.id: promise for found in _BY_SUBJECT.values() for promise in found}
)
"""By id."""


_MEASUREMENT, _RESUMING, _TRAINING, _ROBUSTNESS, _LOG = _AREAS
_BY_AREA: Mapping[Area, tuple[str, ...]] = {
    _MEASUREMENT: (
        "score_means", "scores", "metric", "recalibration", "response", "batch_mates",
        "offline", "split_sizes", "unrun_options", "served", "partial_batches", "consumed",
        "configured", "ranking", "cache", "score_arithmetic",
    ),
    _RESUMING: ("resume", "checkpoint", "kept", "plans", "kills"),
    _TRAINING: (
        "elsewhere", "purity", "draws", "own_draws", "drawn_together", "augmentation",
        "augmented_labels", "loader_threads", "windows", "loss", "weight_slopes", "update",
        "every_step", "edge_steps", "far_updates", "logged_archs", "own_labels", "micro_batches",
        "micro_statistics", "kept_share", "whole_passes", "training", "clip_checks",
        "step_arithmetic", "knobs",
    ),
    _ROBUSTNESS: ("refusals", "loaded"),
    _LOG: (
        "epoch_log", "epochs_csv", "eval_seconds", "evaluations_due", "logged_zero_flow", "ledger",
    ),
}  # fmt: skip
_OF_ANOTHER_AREA: Mapping[str, Area] = {
    "trained-as-served": _TRAINING,
    "fair-archs": _TRAINING,
    "unrun-statistics-still": _TRAINING,
    "pool-as-declared": _MEASUREMENT,
    "clip-arithmetic-micro-step": _LOG,
    "clip-arithmetic-update": _LOG,
}
"""Promises that make void something else than the others of their subject."""

AREA_OF: Mapping[str, Area] = MappingProxyType(
    {
        promise: _OF_ANOTHER_AREA.get(promise, area)
        for area, subjects in _BY_AREA.items()
        for subject in subjects
        for promise in SUBJECTS[subject]
    }
)
"""What a breach of each promise makes void; of equal roots, the first here comes first."""


def declarations_digest() -> str:
    """Return the digest of what is promised: a gate of other promises says something else."""
    return digest_strings(
        text for p in PROMISES.values() for text in (p.id, p.sentence, p.tier, str(p.varied))
    )


def of_tier(tier: Tier) -> tuple[Promise, ...]:
    """Return the promises that a tier checks, those of the tiers before it included."""
    most = TIERS.index(tier)
    return tuple(p for p in PROMISES.values() if TIERS.index(p.tier) <= most)


def in_order(only: Iterable[str] | None = None) -> tuple[Promise, ...]:
    """Return all promises or those named, those of cheaper tiers first.

    Raises
    ------
    ValueError
        If one of the names is none.
    """
    names = PROMISES if only is None else tuple(only)
    unknown = [name for name in names if name not in PROMISES]
    if unknown:
        msg = f"no promise {unknown[0]!r}; `harness promises` lists them"
        raise ValueError(msg)
    chosen = [promise for promise in PROMISES.values() if promise.id in names]
    return tuple(sorted(chosen, key=lambda promise: TIERS.index(promise.tier)))
