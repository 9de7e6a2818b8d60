"""What the trained system reported of itself, beside the plan that it was asked for."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.promise import needs
from harness.promises.samples import listed_samples
from harness.records.records import RunRecord
from harness.records.run import RunEvidence, run_evidence
from harness.systems.protocol import Training

__all__ = ["beside_plan", "both_epochs", "joined", "ledger", "recorded", "with_epoch_log"]


@needs("train")
def ledger(bench: Bench) -> RunEvidence:
    """Sort what the trained system recorded, as a ledger would hold it."""
    return recorded(bench.config, joined(bench.trained.first, bench.trained.second))


def recorded(config: Mapping[str, Any], training: Training) -> RunEvidence:
    """Sort what a system recorded by kind, behind a first record that says what was planned."""
    run = beside_plan(config, training)
    if run.steps and not run.records and not run.epochs:
        msg = "the system keeps no ledger (Training.records)"
        raise NotApplicableError(msg)
    records = run.records or (*run.steps, *run.epochs)
    return run_evidence([_opening(config, run), *records])


def _opening(config: Mapping[str, Any], run: Training) -> RunRecord:
    """Return the record that opens a ledger, from the plan and not from what ran."""
    # Written from the plan and not taken from the trainer's code, which it is held against.
    per_update, sizes = run.position == "update", run.planned_sizes
    per_arch = sum(math.ceil(size / run.micro_batch) for size in sizes)
    return RunRecord(
        attempt=1, config=dict(config), environment={}, train_samples=sum(sizes), val_samples=0,
        batch_size=run.batch_size, micro_batch_size=run.micro_batch,
        planned_sizes=tuple((size, 1) for size in sizes),
        expected_clip_checks=len(sizes) if per_update else 3 * per_arch, identity="",
    )  # fmt: skip


def both_epochs(bench: Bench) -> Training:
    """Return what the trained system did in its two epochs."""
    return joined(bench.trained.first, bench.trained.second)


def joined(first: Training, second: Training) -> Training:
    """Return two consecutive stretches of training as one."""
    return dataclasses.replace(
        first,
        steps=first.steps + second.steps,
        epochs=first.epochs + second.epochs,
        checks=first.checks + second.checks,
        losses=first.losses + second.losses,
        records=first.records + second.records,
    )


def beside_plan(config: Mapping[str, Any], training: Training) -> Training:
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


def with_epoch_log(run: Training) -> Training:
    """Return a run that has an epoch log."""
    if run.steps and not run.epochs:
        msg = "the system keeps no epoch log (Training.epochs)"
        raise NotApplicableError(msg)
    return run
