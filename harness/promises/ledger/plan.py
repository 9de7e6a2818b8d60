"""What promises of a ledger share: the plan, finished epochs, evaluations, missing evidence.

A run may have been killed: its last epoch is then partial, which breaks no promise. It may
evaluate every n-th epoch, or never.
"""

import math
from collections.abc import Iterable
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.promise import Violation
from harness.records.records import EpochRecord, EvalRecord, RunRecord, StepRecord
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = [
    "ARCHS_PER_STEP", "MOST", "NEGLIGIBLE", "clip_text", "evaluations", "finished_epochs",
    "is_complete", "micro_batch_counts", "planned_checks", "position", "run_sizes",
    "steps_by_epoch", "unfair_blocks",
]  # fmt: skip

ARCHS_PER_STEP = 3
MOST = 6
"""Violations that one promise shows."""

NEGLIGIBLE = 1e-3
"""Chance of a coincidence below which two equal draws are no coincidence."""


def position(config: Any) -> str:
    """Return where a configuration clips: ``micro_step`` or ``update``."""
    return str(config["train"].get("clip_position", "micro_step"))


def micro_batch_counts(config: Any, sizes: Iterable[int]) -> tuple[int, ...]:
    """Return ceil(b / micro-batch) of each planned batch size b."""
    train = config["train"]
    micro = train.get("micro_batch_size") or train["batch_size"]
    return tuple(math.ceil(size / micro) for size in sizes)


def planned_checks(config: Any, sizes: Iterable[int]) -> tuple[int, ...]:
    """Return the planned clip checks of each step of an epoch, from the plan alone."""
    counts = micro_batch_counts(config, sizes)
    per_update = position(config) == "update"
    return tuple(1 if per_update else ARCHS_PER_STEP * count for count in counts)


def run_sizes(record: RunRecord) -> tuple[int, ...]:
    """Return the planned batch size of each step of an epoch."""
    return tuple(size for size, count in record.planned_sizes for _ in range(count))


def clip_text(config: Any, checks: int | None, steps: int) -> str:
    """Return a count of clip checks and what it implies."""
    if checks is None:
        return "none"
    train = config["train"]
    if position(config) == "update":
        return f"{checks}, which is {checks / max(steps, 1):.2f} checks an update"
    micro = train.get("micro_batch_size") or train["batch_size"]
    implied = checks / (ARCHS_PER_STEP * max(steps, 1))
    return (
        f"{checks}, which implies ceil(batch / micro-batch) = {implied:.2f} "
        f"for batch {train['batch_size']}, micro-batch {micro}"
    )


def steps_by_epoch(run: RunEvidence) -> dict[int, list[StepRecord]]:
    """Return the steps of each epoch, in file order."""
    found: dict[int, list[StepRecord]] = {}
    for step in run.steps:
        found.setdefault(step.epoch, []).append(step)
    return found


def finished_epochs(run: RunEvidence) -> tuple[EpochRecord, ...]:
    """Return the rows of finished epochs.

    Raises
    ------
    NotApplicableError
        If steps ran but no epoch has ended yet.
    """
    if run.steps and not run.epochs:
        msg = f"not enough evidence: no epoch is finished after {counted(len(run.steps), 'step')}"
        raise NotApplicableError(msg)
    return run.epochs


def is_complete(run: RunEvidence) -> bool:
    """Return whether the run keeps norms, evaluations or checkpoints, as a ledger does.

    A foreign system may hand over steps and rows alone, which breaks no promise.
    """
    return bool(run.norms or run.evals or run.checkpoints)


def evaluations(run: RunEvidence, *, least: int = 1) -> tuple[EvalRecord, ...]:
    """Return the run's evaluations.

    Raises
    ------
    NotApplicableError
        If there are fewer than `least`.
    """
    if len(run.evals) < least:
        found = counted(len(run.evals), "evaluation")
        needed = counted(least, "is needed", "are needed")
        msg = f"not enough evidence: {found}, at least {needed}"
        raise NotApplicableError(msg)
    return run.evals


def unfair_blocks(step: StepRecord) -> list[Violation]:
    """Return a violation for each block of which a step does not train every option once."""
    where = f"epoch {step.epoch}, step {step.step}"
    if len(step.archs) != ARCHS_PER_STEP or len({len(arch) for arch in step.archs}) != 1:
        return [Violation(f"{where}, archs", "three codes of one length", str(step.archs))]
    return [
        Violation(f"{where}, block {block}", "options 0, 1, 2 once each", str(options))
        for block, options in enumerate(zip(*step.archs, strict=True))
        if sorted(options) != ["0", "1", "2"]
    ]
