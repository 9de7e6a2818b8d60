"""Every promise of the gate, by subject and by id."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType, ModuleType

from harness.promises import (
    batch_mates,
    cache,
    checkpoint,
    clip_checks,
    configured,
    draws,
    elsewhere,
    epoch_log,
    every_step,
    kills,
    knobs,
    loaded,
    loss,
    metric,
    micro_batches,
    micro_statistics,
    own_labels,
    plans,
    purity,
    ranking,
    recalibration,
    refusals,
    response,
    resume,
    score_arithmetic,
    scores,
    served,
    step_arithmetic,
    training,
    unrun_options,
    update,
    windows,
)
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.promises.promise import Promise
from harness.promises.recorded_run import ledger
from harness.promises.roots import AREAS as _AREAS
from harness.promises.roots import Area

__all__ = ["AREA_OF", "PROMISES", "SUBJECTS"]

_SUBJECTS: tuple[ModuleType, ...] = (
    metric, response, unrun_options, scores, batch_mates, purity, recalibration, served, draws,
    configured,
    loss, update, every_step, own_labels, micro_batches, micro_statistics, clip_checks, training,
    epoch_log, ranking,
    checkpoint, plans, resume, kills, elsewhere, refusals, loaded, cache,
    windows, step_arithmetic, score_arithmetic, knobs,
)  # fmt: skip
"""What tells the most comes first."""


def _declared(module: ModuleType) -> Iterable[Promise]:
    """Return the promises that a module declares, alone or as tuples, in the order of its text."""
    for value in vars(module).values():
        several = value if isinstance(value, tuple) else (value,)
        yield from (promise for promise in several if isinstance(promise, Promise))


_BY_SUBJECT = {
    **{module.__name__.rsplit(".", 1)[-1]: tuple(_declared(module)) for module in _SUBJECTS},
    # Declared without a driver, because an audit must run without TensorFlow (decision 0013).
    "ledger": tuple(
        dataclasses.replace(promise, evidence=ledger) for promise in LEDGER_PROMISES.values()
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
        "scores", "metric", "recalibration", "response", "batch_mates", "unrun_options", "served",
        "configured", "ranking", "cache", "score_arithmetic",
    ),
    _RESUMING: ("resume", "checkpoint", "plans", "kills"),
    _TRAINING: (
        "elsewhere", "purity", "draws", "windows", "loss", "update", "every_step", "own_labels",
        "micro_batches", "micro_statistics", "training", "clip_checks", "step_arithmetic", "knobs",
    ),
    _ROBUSTNESS: ("refusals", "loaded"),
    _LOG: ("epoch_log", "ledger"),
}  # fmt: skip
_OF_ANOTHER_AREA: Mapping[str, Area] = {
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
