"""What promises of a ledger share: the plan, finished epochs, evaluations, missing evidence.

A run may have been killed: its last epoch is then partial, which breaks no promise. It may
evaluate every n-th epoch, or never.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice, permutations
from typing import Any

from harness.archs import Space
from harness.errors import NotApplicableError
from harness.promises.arch_codes import require_codes
from harness.promises.promise import Violation
from harness.records.records import NOT_LOGGED, EpochRecord, EvalRecord, RunRecord, StepRecord
from harness.records.run import RunEvidence
from harness.schedules import COSINE, Schedule
from harness.wording import counted

__all__ = [
    "ARCHS_PER_STEP", "MOST", "NEGLIGIBLE", "clip_text", "epoch_loss",
    "evaluations", "finished_epochs", "first_violations", "is_complete", "is_logged",
    "micro_batch_counts", "no_clip_checks", "planned_checks", "planned_rate", "position",
    "require_fair_space",
    "run_sizes", "steps_by_epoch", "unfair_blocks", "weighed_losses",
]  # fmt: skip

ARCHS_PER_STEP = 3
MOST = 6
"""Violations that one promise shows."""

_FAIR = frozenset(permutations("012"))
"""What three fair archs have in one block."""

NEGLIGIBLE = 1e-3
"""Chance of a coincidence below which two equal draws are no coincidence."""


def first_violations(found: Iterable[Violation]) -> list[Violation]:
    """Return as many violations as are shown.

    The rest is never put into words: where every step of a long run is wrong, that would take
    more time and memory than the whole audit.
    """
    return list(islice(found, MOST))


def position(config: Any) -> str:
    """Return where a configuration clips: ``micro_step`` or ``update``."""
    return str(config["train"].get("clip_position", "micro_step"))


def micro_batch_counts(config: Any, sizes: Iterable[int]) -> tuple[int, ...]:
    """Return ceil(b / micro-batch) of each planned batch size b."""
    train = config["train"]
    micro = train.get("micro_batch_size") or train["batch_size"]
    return tuple(math.ceil(size / micro) for size in sizes)


def planned_checks(
    config: Any, sizes: Iterable[int], *, archs: int = ARCHS_PER_STEP
) -> tuple[int, ...]:
    """Return the planned clip checks of each step of an epoch, from the plan alone.

    Parameters
    ----------
    archs : int, default 3
        How many a step trains.
    """
    counts = micro_batch_counts(config, sizes)
    per_update = position(config) == "update"
    return tuple(1 if per_update else archs * count for count in counts)


def planned_rate(
    step: StepRecord, planned: int, *, base: float, total: int, schedule: Schedule = COSINE
) -> float | None:
    """Return the learning rate of a step on its schedule; None beyond the planned steps.

    By place in the plan and not by steps done: a segment with another plan takes its place in
    the new cosine (decision 0009).

    Parameters
    ----------
    planned, total : int
        Steps of an epoch, and of the whole run.
    base : float
        The configured rate.
    schedule : Schedule, optional
        One of which rates are known. Default: half a cosine.
    """
    done = (step.epoch - 1) * planned + step.step - 1
    return None if done >= total else schedule.rate(base, done, total, planned)


def epoch_loss(steps: Iterable[StepRecord], sizes: Sequence[int], micro_batch: int) -> float | None:
    """Return the mean loss over all micro-batches of an epoch's steps; None without a step.

    A step's loss is a mean over archs and micro-batches, so that a step weighs by its number
    of them.
    """
    losses, weights = weighed_losses(steps, sizes, micro_batch)
    if not losses:
        return None
    weighted = (loss * weight for loss, weight in zip(losses, weights, strict=True))
    return math.fsum(weighted) / sum(weights)


def weighed_losses(
    steps: Iterable[StepRecord], sizes: Sequence[int], micro_batch: int
) -> tuple[list[float], list[int]]:
    """Return the losses of an epoch's planned steps, and an arch's micro-batches of each."""
    made = [step for step in steps if 0 < step.step <= len(sizes)]
    return [s.loss for s in made], [math.ceil(sizes[s.step - 1] / micro_batch) for s in made]


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


def is_logged(row: EpochRecord, name: str) -> bool:
    """Return whether a log has a column; a foreign system's may lack some."""
    return row.reasons.get(name) != NOT_LOGGED


def no_clip_checks(run: RunEvidence) -> bool:
    """Return whether a foreign system shows none of its clip checks, if it makes any."""
    silent = [not is_logged(row, "clip_checks") for row in run.epochs]
    made = any(step.checks for step in run.steps) or bool(run.norms)
    return bool(silent) and all(silent) and not made


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


def unfair_blocks(step: StepRecord, space: Space | None = None) -> list[Violation]:
    """Return a violation for each block of which a step does not train every option once.

    Parameters
    ----------
    space : Space, optional
        As the system declares it. Default: codes of digits, three options of each block.
    """
    where = f"epoch {step.epoch}, step {step.step}"
    if space is not None:
        return _unfair_in(where, step.archs, space)
    if len(step.archs) != ARCHS_PER_STEP or len({len(arch) for arch in step.archs}) != 1:
        return [Violation(f"{where}, archs", "three codes of one length", str(step.archs))]
    return [
        Violation(f"{where}, block {block}", "options 0, 1, 2 once each", str(options))
        for block, options in enumerate(zip(*step.archs, strict=True))
        if options not in _FAIR
    ]


def _unfair_in(where: str, archs: Sequence[str], space: Space) -> list[Violation]:
    """Return a step's unfair blocks, in a space of blocks with equally many options."""
    count, choices = space.counts[0], [space.read(arch) for arch in archs]
    if len(choices) != count or None in choices:
        expected = f"{count} codes of the declared space, such as {_any_code(space)}"
        return [Violation(f"{where}, archs", expected, str(archs))]
    taken = zip(*(choice for choice in choices if choice is not None), strict=True)
    return [
        Violation(
            f"{where}, block {block}", f"options {', '.join(names)} once each",
            str(tuple(names[option] for option in options)),
        )
        for block, (names, options) in enumerate(zip(space.names, taken, strict=True))
        if len(set(options)) < count
    ]  # fmt: skip


def _any_code(space: Space) -> str | None:
    return next(iter(space.codes), None) or space.write([0] * len(space.names))


def require_fair_space(
    space: Sequence[int], archs: Iterable[str], declared: Space | None = None
) -> None:
    """Require archs that are codes of blocks of three options: a step trains three archs.

    Parameters
    ----------
    declared : Space, optional
        What the system declares, whose blocks may have another number of options, each the same.

    Raises
    ------
    NotApplicableError
        If they are named otherwise, if a block has more options or fewer, or if the system
        declares that it draws its archs otherwise.
    """
    if declared is not None:
        if declared.sampling != "fair":
            msg = f"the system declares {declared.sampling!r} sampling of archs (space.sampling)"
            raise NotApplicableError(msg)
        require_codes(archs, declared, what="the system trains")
        if len(set(declared.counts)) != 1:
            msg = f"blocks of {sorted(set(declared.counts))} options cannot be trained once each"
            raise NotApplicableError(msg)
        return
    require_codes(archs, space, what="the system trains")
    if set(space) != {ARCHS_PER_STEP}:
        msg = f"the system's blocks have {sorted(set(space))} options; fair is told of 3 each"
        raise NotApplicableError(msg)
