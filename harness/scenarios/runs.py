"""Scenarios around training and checkpoints."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.digest import state_digests
from harness.evidence.bundles import (
    CheckpointPair,
    ConstantRanking,
    EpochRows,
    FiniteEvidence,
    Moves,
    PlantedNan,
    Purity,
    Repeat,
    TwoWays,
)
from harness.evidence.observations import Arrays, Training
from harness.records.records import NOT_LOGGED, RunRecord
from harness.records.run import RunEvidence, run_evidence
from harness.relations.base import NotApplicableError
from harness.scenarios.book import Book, a_kernel, changed
from harness.scenarios.files import listed_samples
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import System, digests_of

__all__ = [
    "checkpoint_pair",
    "constant_ranking",
    "drawn",
    "epoch_rows",
    "finite",
    "ledger",
    "moves",
    "planted_nan",
    "purity",
    "repeat_bilinear",
    "repeat_decoupled",
    "repeat_full",
    "shaken",
    "training_micro_step",
    "training_micro_step_other_mode",
    "training_update",
    "training_update_other_mode",
    "whole_run",
    "with_and_without",
]


def training_micro_step(book: Book) -> Training:
    """Return both epochs of the trained system, which clips as configured or per micro-step."""
    if book.config["train"].get("clip_position", "micro_step") == "micro_step":
        return _clipped(_planned(book.config, _both(book)))
    return _other_position(book, "micro_step")


def training_update(book: Book) -> Training:
    """Return an epoch that clips once per update."""
    if book.config["train"].get("clip_position", "micro_step") == "update":
        return _clipped(_planned(book.config, _both(book)))
    return _other_position(book, "update")


def _other_position(book: Book, position: str) -> Training:
    """Train with the other clip position and the other epoch mode, without evaluation."""
    return _trained_with(book, position, full=book.config["train"]["epoch_mode"] != "full_pass")


def training_micro_step_other_mode(book: Book) -> Training:
    """Return an epoch of the other epoch mode that clips per micro-step."""
    return _trained_with(book, "micro_step", full=not _full_pass(book["training_micro_step"]))


def training_update_other_mode(book: Book) -> Training:
    """Return an epoch of the other epoch mode that clips once per update."""
    return _trained_with(book, "update", full=not _full_pass(book["training_update"]))


def _full_pass(training: Training) -> bool:
    return len(set(training.planned_sizes)) > 1


def _trained_with(book: Book, position: str, *, full: bool) -> Training:
    mode: dict[str, Any] = {"epoch_mode": "full_pass"}
    if not full:
        mode = {"epoch_mode": "fixed_steps", "steps_per_epoch": 3}
    asked = {"clip_position": position, "train_sampling_mode": None, **mode}
    system = book.open(train=asked)
    try:
        run = system.train(1, evaluate=False)
        return _clipped(_planned(changed(book.config, train=asked), run))
    finally:
        system.close()


def _clipped(run: Training) -> Training:
    """Return a run that says what it clipped."""
    if not run.checks and not run.epochs:
        msg = "the system records no clip checks (Training.checks)"
        raise NotApplicableError(msg)
    return run


def _logged(run: Training) -> Training:
    """Return a run that has an epoch log."""
    if run.steps and not run.epochs:
        msg = "the system keeps no epoch log (Training.epochs)"
        raise NotApplicableError(msg)
    return run


def whole_run(book: Book) -> Training:
    """Return both epochs of the trained system, whose archs are codes of options."""
    run = _both(book)
    archs = [arch for step in run.steps for arch in step.archs]
    if archs and not any(arch.isdigit() for arch in archs):
        msg = f"the system trains no arch codes of options, but {', '.join(sorted(set(archs)))}"
        raise NotApplicableError(msg)
    return run


def _both(book: Book) -> Training:
    return _joined(book.trained.first, book.trained.second)


def _planned(config: Mapping[str, Any], training: Training) -> Training:
    """Return the training beside the plan that was asked for, whatever the system says."""
    train = config["train"]
    size, full = train["batch_size"], train.get("epoch_mode") == "full_pass"
    count = len(listed_samples(Path(config["data"]["base_path"], config["data"]["train_dir"])))
    sizes = [size] * (count // size) + [count % size] * (count % size > 0)
    return dataclasses.replace(
        training,
        planned_sizes=tuple(sizes if full else [size] * train["steps_per_epoch"]),
        batch_size=size, micro_batch=train.get("micro_batch_size") or size,
        position=train.get("clip_position", "micro_step"),
        threshold=train["grad_clip_global_norm"],
    )  # fmt: skip


def repeat_bilinear(book: Book) -> Repeat:
    """Train and evaluate the bilinear skeleton twice over."""
    return _repeat_skeleton(book, "bilinear")


def repeat_decoupled(book: Book) -> Repeat:
    """Train and evaluate the decoupled skeleton twice over."""
    return _repeat_skeleton(book, "decoupled")


def repeat_full(book: Book) -> Repeat:
    """Train and evaluate the full skeleton twice over."""
    return _repeat_skeleton(book, "full")


def _repeat_skeleton(book: Book, skeleton: str) -> Repeat:
    if "skeletons" not in book.describe().supports:
        msg = "the system does not say that it builds every skeleton (supports: skeletons)"
        raise NotApplicableError(msg)
    found = []
    for _ in range(2):
        system = book.open(model={"skeleton": skeleton})
        system.train(1, evaluate=False)
        found.append(system.evaluate())
        system.close()
    return Repeat(found[0], found[1], f"skeleton {skeleton}, trained and evaluated again")


def _joined(first: Training, second: Training) -> Training:
    """Return two consecutive stretches of training as one."""
    return dataclasses.replace(
        first,
        steps=first.steps + second.steps,
        epochs=first.epochs + second.epochs,
        checks=first.checks + second.checks,
        losses=first.losses + second.losses,
        records=first.records + second.records,
    )


def ledger(book: Book) -> RunEvidence:
    """Sort what the trained system recorded, as a ledger would hold it."""
    return _evidence(book.config, _joined(book.trained.first, book.trained.second))


def shaken(book: Book) -> RunEvidence:
    """Train so fast that the ranking of a larger pool turns over from epoch to epoch."""
    changes: dict[str, dict[str, Any]] = {
        "train": {"lr": 0.03},
        "eval": {"eval_pool_size": 9, "eval_every_epoch": 1},
    }
    system = book.open(**changes)
    run = system.train(2)
    system.close()
    return _evidence(changed(book.config, **changes), run)


def _evidence(config: Mapping[str, Any], training: Training) -> RunEvidence:
    run = _planned(config, training)
    if run.steps and not run.records and not run.epochs:
        msg = "the system keeps no ledger (Training.records)"
        raise NotApplicableError(msg)
    records = run.records or (*run.steps, *run.epochs)
    return run_evidence([_opening(config, run), *records])


def _opening(config: Mapping[str, Any], run: Training) -> RunRecord:
    """Return the record that opens a ledger, from the plan and not from what ran."""
    per_update, sizes = run.position == "update", run.planned_sizes
    per_arch = sum(math.ceil(size / run.micro_batch) for size in sizes)
    return RunRecord(
        attempt=1, config=dict(config), environment={}, train_samples=sum(sizes), val_samples=0,
        batch_size=run.batch_size, micro_batch_size=run.micro_batch,
        planned_sizes=tuple((size, 1) for size in sizes),
        expected_clip_checks=len(sizes) if per_update else 3 * per_arch, identity="",
    )  # fmt: skip


def moves(book: Book) -> Moves:
    """Hold the state after training against the state before."""
    return Moves(book.trained.start_state, book.trained.end_state)


def epoch_rows(book: Book) -> EpochRows:
    """Take the training's records and evaluate what they end with once more."""
    training, train = _logged(_both(book)), book.config["train"]
    steps = len(training.planned_sizes) * train["num_epochs"]
    return EpochRows(training, book["base_evaluation"], train["lr"], steps)


def drawn(book: Book) -> TwoWays:
    """Hold the batches that training drew against those that are served when asked for."""
    trained = book.trained
    steps = (*trained.first.steps, *trained.second.steps)
    asked = [b.digest for epoch in (1, 2) for b in trained.system.batches("train", epoch=epoch)]
    used = {f"batch {i}": step.batch for i, step in enumerate(steps)}
    served = {f"batch {i}": digest for i, digest in enumerate(asked)}
    run = _joined(trained.first, trained.second)
    return TwoWays(
        "asked for", "trained on", (served, used), (run, dataclasses.replace(run, steps=()))
    )


def constant_ranking(book: Book) -> ConstantRanking:
    """Train two epochs in which no arch's flow differs from zero."""
    system = book.open(train={"lr": 1e-30})
    state, heads = system.state(), system.describe().heads
    names = [name for kernels in heads.values() for name in kernels]
    if not names:
        msg = "the system names no output head (describe().heads)"
        raise NotApplicableError(msg)
    system.state({name: np.zeros_like(state[name]) for name in names})
    rows = _logged(system.train(2)).epochs
    scores = system.evaluate()
    system.close()
    if any(row.reasons.get("kendall_tau_prev") == NOT_LOGGED for row in rows):
        msg = "the system's log has no kendall_tau_prev"
        raise NotApplicableError(msg)
    return ConstantRanking(scores.per_arch_epe, tuple(row.kendall_tau_prev for row in rows))


def purity(book: Book) -> Purity:
    """Take the complete state and the next epoch's draws around an evaluation.

    Before any training: what an evaluation leaves behind then is not yet there already.
    """
    system = book.measured
    if book.trainable:
        system.restore(book.trained.start)
    before = digests_of(system)
    draws_before = tuple(batch.digest for batch in system.batches("train", epoch=3))
    system.evaluate()
    draws_after = tuple(batch.digest for batch in system.batches("train", epoch=3))
    after = digests_of(system)
    if book.trainable:
        system.restore(book.trained.end)
    return Purity(before, after, draws_before, draws_after)


def with_and_without(book: Book) -> TwoWays:
    """Train again from the start, without evaluation and without observers."""
    trained, system = book.trained, book.trained.system
    system.restore(trained.start)
    bare = system.train(2, evaluate=False, observe=False)
    state = _weights(digests_of(system))
    system.restore(trained.end)
    return TwoWays(
        "with evaluation and diagnostics", "without", (_weights(trained.end_state), state),
        (_joined(trained.first, trained.second), bare),
    )  # fmt: skip


def _weights(state: Mapping[str, str]) -> dict[str, str]:
    """Leave out the counters: without evaluation there is no best metric."""
    return {name: digest for name, digest in state.items() if not name.startswith("progress/")}


def checkpoint_pair(book: Book) -> CheckpointPair:
    """Poison every float array, restore the checkpoint, and compare with what was saved."""
    trained, system = book.trained, book.trained.system
    poison = {
        name: np.full_like(array, 0.123)
        for name, array in system.state().items()
        if np.asarray(array).dtype.kind == "f"
    }
    disturbed = state_digests(system.state(poison))
    system.restore(trained.end)
    return CheckpointPair(trained.end_state, disturbed, digests_of(system))


def finite(book: Book) -> FiniteEvidence:
    """Collect every number that training, recalibration and evaluation left behind."""
    trained, system = book.trained, book.trained.system
    run = _joined(trained.first, trained.second)
    scores = system.evaluate()
    recal = _statistics(system, scores.archs[-1])
    stats: Arrays = {
        f"{unit}/{name}": values[i]
        for unit, values in recal.items()
        for i, name in enumerate(("mean", "variance"))
    }
    norms = np.asarray([[check.before, check.after] for check in run.checks])
    return FiniteEvidence(
        {
            "state": system.state(),
            "gradient norms": {"checks": norms},
            "losses": {"micro-batches": np.asarray(run.losses)},
            "statistics": stats,
            "scores": {arch: np.asarray(epe) for arch, epe in scores.per_sample.items()},
        }
    )


def _statistics(system: System, arch: str) -> Mapping[str, Any]:
    """Return an arch's recalibrated statistics; none of a system that does not recalibrate."""
    if "recalibrate" not in system.describe().can:
        return {}
    try:
        return system.recalibrate(arch).stats
    except NotApplicableError:
        return {}


def planted_nan(book: Book) -> PlantedNan:
    """Plant a NaN in one kernel and try to train on."""
    trained, system = book.trained, book.trained.system
    system.restore(trained.cut)
    state = system.state()
    name = a_kernel(state)
    poisoned = np.array(state[name])
    poisoned.flat[poisoned.size // 2] = np.nan
    system.state({name: poisoned})
    error: str | None = None
    message = "training went on"
    try:
        system.train(2, evaluate=False)
    except (AnswerError, NotApplicableError, WorkerError):
        raise  # not the system's refusal
    except Exception as caught:  # noqa: BLE001 -- whatever a system raises is the evidence
        error, message = type(caught).__name__, str(caught)
    system.restore(trained.end)
    return PlantedNan(name, error, message)
