"""What the trained system reported of itself, beside the plan that it was asked for."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.arch_codes import archs_per_step, options_per_block
from harness.promises.bench import Bench
from harness.promises.promise import needs
from harness.promises.samples import listed_samples
from harness.records.records import RunRecord, StepRecord
from harness.records.run import RunEvidence, run_evidence
from harness.schedules import Schedule, named
from harness.systems.protocol import Description, Training

__all__ = [
    "beside_plan", "both_epochs", "joined", "ledger", "ledger_of_rates", "ledger_of_steps",
    "planned_sizes", "rate_in_plan", "recorded", "schedule_of", "training_samples",
    "with_epoch_log",
]  # fmt: skip


@needs("train", says=("run log",))
def ledger(bench: Bench) -> RunEvidence:
    """Sort what the trained system recorded, as a ledger would hold it."""
    about = bench.trained.description
    return recorded(bench.config, about, joined(bench.trained.first, bench.trained.second))


@needs("train", says=("declared steps",))
def ledger_of_steps(bench: Bench) -> RunEvidence:
    """Return the ledger; without one, steps alone, of which the system declares what they are."""
    about = bench.trained.description
    return _log_or_steps(bench, declared=about.drop_last or about.schedule is not None)


@needs("train", says=("declared rates",))
def ledger_of_rates(bench: Bench) -> RunEvidence:
    """Return the ledger; without one, steps alone, of which the system declares the rates."""
    return _log_or_steps(bench, declared=bench.trained.description.schedule is not None)


def _log_or_steps(bench: Bench, *, declared: bool) -> RunEvidence:
    about, run = bench.trained.description, both_epochs(bench)
    alone = declared and bool(run.steps) and not (run.records or run.epochs)
    return recorded(bench.config, about, run, alone=True) if alone else bench.evidence(ledger)


def recorded(
    config: Mapping[str, Any], description: Description, training: Training, *, alone: bool = False
) -> RunEvidence:
    """Sort what a system recorded by kind, behind a first record that says what was planned.

    Parameters
    ----------
    alone : bool, default False
        Whether the steps of finished epochs are enough.
    """
    run = beside_plan(config, description, training)
    if run.steps and not run.records and not run.epochs and not alone:
        msg = "the system keeps no ledger (Training.records)"
        raise NotApplicableError(msg)
    records = run.records or (*run.steps, *run.epochs)
    plan = {**config, "train": _train_section(config, description)}
    found = run_evidence([_opening(plan, run), *records])
    space = options_per_block(description.options)
    return dataclasses.replace(
        found, space=space, codes=description.space, devices=description.devices,
        schedule=description.schedule, steps_alone=alone,
    )  # fmt: skip


def _opening(config: Mapping[str, Any], run: Training) -> RunRecord:
    """Return the record that opens a ledger, from the plan and not from what ran."""
    # Written from the plan and not taken from the trainer's code, which it is held against.
    per_update, sizes = run.position == "update", run.planned_sizes
    per_arch = sum(math.ceil(size / run.micro_batch) for size in sizes)
    return RunRecord(
        attempt=1, config=dict(config), environment={},
        train_samples=training_samples(config), val_samples=0,
        batch_size=run.batch_size, micro_batch_size=run.micro_batch,
        planned_sizes=tuple((size, 1) for size in sizes),
        expected_clip_checks=len(sizes) if per_update else archs_per_step(run.steps) * per_arch,
        identity="",
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
        consumed=first.consumed + second.consumed,
        samples=first.samples + second.samples,
        modes=first.modes + second.modes,
    )


def training_samples(config: Mapping[str, Any]) -> int:
    """Return how many samples the training split of a configuration has."""
    data = config["data"]
    return len(listed_samples(Path(data["base_path"], data["train_dir"])))


def planned_sizes(config: Mapping[str, Any], description: Description) -> tuple[int, ...]:
    """Return the batch sizes of one epoch that follow from the plan and the data alone.

    Every promise expects these, and none asks the system for them: a plan of its own would
    vouch for itself. Of the description counts whether and how a last batch that the split does
    not fill is served, and what the system cannot vary.
    """
    train = _train_section(config, description)
    size = int(train["batch_size"])
    if train.get("epoch_mode") != "full_pass":
        return (size,) * int(train["steps_per_epoch"])
    whole, rest = divmod(training_samples(config), size)
    last = (size if description.whole_batches else rest,) * (rest > 0 and not description.drop_last)
    return (size,) * whole + last


def _train_section(config: Mapping[str, Any], description: Description) -> dict[str, Any]:
    fixed = {
        key.split(".", 1)[1]: value
        for key, value in description.settings.items()
        if key.startswith("train.")
    }
    return {**config["train"], **fixed}


def schedule_of(description: Description) -> Schedule:
    """Return the schedule that a system declares, or names: half a cosine where it does neither."""
    if description.schedule is not None:
        return description.schedule
    return named(description.settings.get("train.lr_schedule"))


def rate_in_plan(bench: Bench, record: StepRecord, *, planned: int, epochs: int) -> float:
    """Return a step's learning rate: as planned on a known schedule, else as the system says.

    Parameters
    ----------
    planned, epochs : int
        Steps of an epoch, and epochs, that are asked for.
    """
    about = bench.describe()
    schedule, fixed = schedule_of(about), about.settings
    if not schedule.known:
        return record.lr
    base: float = fixed.get("train.lr", bench.config["train"]["lr"])
    done = (record.epoch - 1) * planned + record.step - 1
    total = planned * int(fixed.get("train.num_epochs", epochs))
    return schedule.rate(base, done, total, planned)


def beside_plan(
    config: Mapping[str, Any], description: Description, training: Training
) -> Training:
    """Return the training beside the plan that was asked for, whatever the system says."""
    train = _train_section(config, description)
    return dataclasses.replace(
        training,
        planned_sizes=planned_sizes(config, description),
        batch_size=train["batch_size"],
        micro_batch=train.get("micro_batch_size") or train["batch_size"],
        position=train.get("clip_position", "micro_step"),
        threshold=train["grad_clip_global_norm"],
    )


def with_epoch_log(run: Training) -> Training:
    """Return a run that has an epoch log."""
    if run.steps and not run.epochs:
        msg = "the system keeps no epoch log (Training.epochs)"
        raise NotApplicableError(msg)
    return run
