"""Checks of another trainer's files against each other: log, table, counts, checkpoints, plan."""

import math
from collections.abc import Sequence
from typing import Any

from harness.errors import NotApplicableError
from harness.foreign.judging import Check, Measured, Subject
from harness.foreign.run import Epoch
from harness.wording import counted, quoted

__all__ = ["CHECKPOINT_METRIC_LOGGED", "LOG_COMPLETE", "OPTIONS_FAIR", "PLAN_AS_CONFIGURED"]

_FOLLOWS_DATA = ("train.steps_per_epoch",)
"""Keys that mean nothing where an epoch is a full pass."""


def plan_is_as_configured(subject: Subject) -> Measured:
    """Hold what the run says of itself against the configuration."""
    run, configured = subject.run.plan, subject.configured
    full_pass = configured.values.get("train.epoch_mode") == "full_pass"
    keys = [key for key in run.values if key in configured.values]
    keys = [key for key in keys if not (full_pass and key in _FOLLOWS_DATA)]
    if not keys:
        msg = "no configuration is known to hold the run against (--config FILE)"
        raise NotApplicableError(msg)
    wrong = [key for key in keys if run.values[key] != _meant(configured.values, key)]
    if not wrong:
        text = f"{counted(len(keys), 'key')} as configured"
        return Measured(text, False, {"keys": keys, "differ": []})
    first = wrong[0]
    text = f"{run.told(first)}, but configured is {configured.told(first)}"
    if len(wrong) > 1:
        text += f"; and {', '.join(wrong[1:])}"
    return Measured(text, True, {"keys": keys, "differ": wrong})


def _meant(values: Any, key: str) -> Any:
    """Return a configured value as the run would say it: no micro-batch exceeds the batch."""
    value, batch = values[key], values.get("train.batch_size")
    if key != "train.micro_batch_size" or not isinstance(value, int | float):
        return value
    return min(value, batch) if isinstance(batch, int | float) and value > 0 else value


PLAN_AS_CONFIGURED = Check(
    id="plan-as-configured",
    sentence="the run was made as configured",
    check=plan_is_as_configured,
    meaning=(
        "Another file, an option of the command line or a default was in force: curves of this run "
        "are not those of the configuration that is kept with it."
    ),
)


def log_is_complete(subject: Subject) -> Measured:
    """Hold the table of evaluations against the log, and look for epochs that are missing."""
    run = subject.run
    # A table has those epochs alone that were evaluated.
    numbers = [epoch.number for epoch in run.log or ()]
    gaps = []
    if numbers and numbers[-1] - numbers[0] < _MOST_EPOCHS:
        gaps = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    wrong = [f"{run.kind}'s log has no epoch {gaps[0]}"] if gaps else []
    if run.table is None and run.log is not None:
        if run.finished:
            wrong.append("there is no table of evaluations, though the log came to its end")
    elif run.table is not None and run.log is not None:
        wrong += _contradictions(run.log, run.table)
    if (run.table is None or run.log is None) and not wrong:
        msg = f"there is one record of {counted(len(run.epochs), 'epoch')}, and no second one"
        raise NotApplicableError(msg)
    text = "; ".join(wrong) or (
        f"log and table tell the same of {counted(len(run.table or ()), 'evaluation')}"
    )
    return Measured(text, bool(wrong), {"missing": gaps[:20], "contradictions": wrong})


_MOST_EPOCHS = 10**6


def _contradictions(log: Sequence[Epoch], table: Sequence[Epoch]) -> list[str]:
    found = []
    rows, said = {row.number: row for row in table}, {e.number: e for e in log}
    lost = [e.number for e in log if e.epe is not None and e.number not in rows]
    if lost:
        found.append(
            f"the table lacks {counted(len(lost), 'evaluation')} of the log, the first of epoch "
            f"{lost[0]}"
        )
    strange = [number for number in rows if number not in said]
    if strange:
        found.append(f"the table has epoch {strange[0]}, which the log does not have")
    for number, row in rows.items():
        other = said.get(number)
        if other is None:
            continue
        # As the log rounds them.
        for name, digits in (("epe", 6), ("epe_std", 6), ("loss", 6), ("norm_mean", 4)):
            one, two = getattr(row, name), getattr(other, name)
            if one is not None and two is not None and _differ(one, two, digits):
                found.append(f"epoch {number}, {name}: {one!r} in the table, {two!r} in the log")
                return found
    return found


def _differ(one: float, two: float, digits: int) -> bool:
    if not (math.isfinite(one) and math.isfinite(two)):
        return repr(one) != repr(two)
    return abs(one - two) > 0.6 * 0.1**digits + 1e-12 * abs(one)


LOG_COMPLETE = Check(
    id="log-complete",
    sentence="log and table tell the same of every epoch",
    check=log_is_complete,
    meaning=(
        "A resume rewrote the table with its own rows alone, or the run was not made by the "
        "process that wrote the log: take curves from the log."
    ),
)


def options_are_fair(subject: Subject) -> Measured:
    """Compare how often the options of each block were trained."""
    run = subject.run
    if not run.counts:
        gaps = [e.fairness_gap for e in run.epochs if e.fairness_gap is not None]
        if not gaps:
            msg = "no counts of trained options are there"
            raise NotApplicableError(msg)
        return _judged_gap(subject, max(gaps), "by the log", {})
    gap = max(max(options) - min(options) for options in run.counts.values())
    values: dict[str, Any] = {"blocks": len(run.counts)}
    text = f"{counted(len(run.counts), 'block')}"
    last = next((one for one in run.kept if "last" in one.name), None)
    if run.strict and last is not None:
        off = [b for b, options in run.counts.items() if set(options) != {last.global_step}]
        values["off"] = off
        if off:
            found = f"block {quoted(off[0], 20)} has {list(run.counts[off[0]])}, expected "
            found += f"{last.global_step} of each after as many steps"
            return Measured(found, True, {**values, "gap": gap})
    return _judged_gap(subject, gap, text, values)


def _judged_gap(subject: Subject, gap: float, of: str, values: dict[str, Any]) -> Measured:
    # Where a block has fewer options than a step has archs, one of them is trained once more.
    most = 0 if subject.run.strict else 1
    text = f"{of}: the largest gap between options of a block is {gap:g}, at most {most} is due"
    return Measured(text, not gap <= most, {**values, "gap": gap})


OPTIONS_FAIR = Check(
    id="options-fair",
    sentence="options of a block are trained equally often",
    check=options_are_fair,
    meaning=(
        "Strict fairness is broken: counts were not restored by a resume, or a step was cut short. "
        "Shared weights of the options that are trained more score better for that alone."
    ),
)


def checkpoint_metric_is_logged(subject: Subject) -> Measured:
    """Hold the metric beside each checkpoint against the row of its epoch."""
    run = subject.run
    if not run.kept:
        msg = "there is no checkpoint with a metric"
        raise NotApplicableError(msg)
    rows = {epoch.number: epoch for epoch in run.epochs}
    wrong, held = [], []
    for one in run.kept:
        row = rows.get(one.epoch)
        if row is None:
            # It is saved before its line is logged, and a table has no epoch without a score.
            unsaid = not run.finished and one.epoch == run.epochs[-1].number + 1
            if not unsaid and (run.log is not None or one.row_epe is not None):
                wrong.append(f"{one.name} is of epoch {one.epoch}, which no log has")
        elif one.row_epe is not None and row.epe is not None:
            held.append(one.name)
            if _differ(one.row_epe, row.epe, 6) or _differ(one.metric, row.epe, 6):
                wrong.append(f"{one.name}: metric {one.metric!r}, EPE of its epoch {row.epe!r}")
    best = [one for one in run.kept if "best" in one.name]
    scores = [e.epe for e in run.scored if e.epe is not None and math.isfinite(e.epe)]
    delta = subject.configured.number("eval.early_stop_min_delta")
    room = _MIN_DELTA if delta is None else delta
    if best and scores and best[0].metric > min(scores) + room + 1e-6:
        wrong.append(f"{best[0].name}: metric {best[0].metric!r}, the best is {min(scores)!r}")
    if not held and not wrong:
        msg = "no checkpoint is of an epoch with an evaluation"
        raise NotApplicableError(msg)
    text = "; ".join(wrong) or f"{', '.join(held)}: as logged"
    return Measured(text, bool(wrong), {"held": held, "wrong": wrong})


_MIN_DELTA = 0.002
"""px: what is no improvement, the default of its ``eval.early_stop_min_delta``."""

CHECKPOINT_METRIC_LOGGED = Check(
    id="checkpoint-metric-logged",
    sentence="the metric beside a checkpoint is the one that was logged",
    check=checkpoint_metric_is_logged,
    meaning=(
        "Checkpoint and log are of different attempts, or `best` is not the best: score it again "
        "before it is used (`harness import-checkpoint`, `harness eval`)."
    ),
)
