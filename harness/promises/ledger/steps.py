"""Promises of a ledger about steps: plan, clipping, learning rate, loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.errors import NotApplicableError
from harness.promises.arch_codes import archs_per_step
from harness.promises.ledger.plan import (
    MOST,
    clip_text,
    first_violations,
    is_logged,
    no_clip_checks,
    planned_checks,
    planned_rate,
    position,
    steps_by_epoch,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.schedule_candidates import schedule_instead
from harness.promises.several_devices import MICRO_BATCHES, several_devices
from harness.records.records import EpochRecord, StepRecord
from harness.records.run import RunEvidence
from harness.schedules import Schedule, named
from harness.wording import counted

__all__ = ["learning_rate_follows", "steps_are_planned"]


def steps_are_planned(run: RunEvidence) -> Outcome:
    """Require every planned step once and in order, and the planned clip checks of each."""
    steps, rows = steps_by_epoch(run), {row.epoch: row for row in run.epochs}
    checks = planned_checks(run.config, run.planned_sizes, archs=archs_per_step(run.steps))
    # Of micro-steps each device makes as many as its share of a batch takes.
    shared = several_devices(run.devices, MICRO_BATCHES) if _per_micro_step(run) else ""
    clips = not (no_clip_checks(run) or shared or run.steps_alone)
    violations = [
        *_out_of_order(run, steps),
        *first_violations(_other_steps(run, steps, rows, checks if clips else None)),
        *first_violations(_other_counts(run, steps, sum(checks) if clips else None)),
    ]
    figures = f"{counted(len(run.steps), 'step')} of {counted(len(steps), 'epoch')}, " + (
        f"{counted(sum(checks), 'clip check')} an epoch, clip per {position(run.config)}"
        if clips
        else f"clip checks not held against the plan: {shared}"
        if shared
        else "no log that has clip checks"
        if run.steps_alone
        else "no clip checks recorded"
    )
    return outcome(violations[:MOST], len(run.steps), figures, without="no step was recorded")


def _per_micro_step(run: RunEvidence) -> bool:
    return position(run.config) == "micro_step"


LEDGER_STEPS_PLANNED = Promise(
    id="ledger-steps-planned",
    sentence="every planned step ran once, in order, with the planned clip checks",
    check=steps_are_planned,
    hint=(
        "The run made other steps or other micro-batches than its first lines announced: compare "
        "batch and micro-batch size, and look for a resume that lost or repeated steps."
    ),
    explained_by=("clip-checks-planned-micro-step", "clip-checks-planned-update"),
)


def _other_steps(
    run: RunEvidence, steps: Mapping[int, list[StepRecord]], rows: Mapping[int, EpochRecord],
    checks: Sequence[int] | None,
) -> Iterator[Violation]:  # fmt: skip
    """Yield epochs of more or fewer steps, and the first step of each with other clip checks.

    Parameters
    ----------
    checks : sequence of int or None
        Planned of each step; None: none are shown.
    """
    planned = len(run.planned_sizes)
    for epoch, made in steps.items():
        if (run.steps_alone or epoch in rows) and len(made) != planned:
            yield Violation(f"epoch {epoch}, steps", str(planned), str(len(made)))
        if checks is None:
            continue
        for step in made:
            due = checks[step.step - 1] if 0 < step.step <= planned else 0
            if step.checks != due:
                where = f"epoch {epoch}, step {step.step}, clip checks"
                yield Violation(where, str(due), clip_text(run.config, step.checks, 1))
                break


def _other_counts(
    run: RunEvidence, steps: Mapping[int, list[StepRecord]], plan: int | None
) -> Iterator[Violation]:
    """Yield what rows count otherwise than their steps; `plan`: clip checks of an epoch."""
    executed = run.start[1]
    for row in run.epochs:
        made = steps.get(row.epoch, [])
        executed += len(made)
        if plan is not None:
            yield from _row_counts(run, row, made, plan)
        if row.global_step != executed and is_logged(row, "global_step"):
            where = f"epoch {row.epoch}, global_step"
            yield Violation(where, f"{executed} steps executed", str(row.global_step))


def _out_of_order(run: RunEvidence, steps: Mapping[int, list[StepRecord]]) -> list[Violation]:
    """Return the first step and the first row that do not follow the one before."""
    found: list[Violation] = []
    first = run.start[0] + 1
    for number, epoch in enumerate(steps, start=first):
        if epoch != number:
            found.append(Violation("epochs of steps", f"epoch {number}", f"epoch {epoch}"))
            break
    for epoch, made in steps.items():
        place = next((i for i, step in enumerate(made, start=1) if step.step != i), None)
        if place is not None:
            where = f"epoch {epoch}, number of its step {place}"
            found.append(Violation(where, str(place), str(made[place - 1].step)))
            break
    for number, row in enumerate(run.epochs, start=first):
        if row.epoch != number:
            nth = f"row {number - first + 1} of the log"
            found.append(Violation(nth, f"epoch {number}", str(row.epoch)))
            break
    finished = {row.epoch for row in run.epochs}
    lacking = [epoch for epoch in steps if epoch not in finished]
    if lacking and min(lacking) < max(steps) and not run.steps_alone:
        found.append(Violation(f"epoch {lacking[0]}", "a row in the log", "none"))
    return found


def _row_counts(
    run: RunEvidence, row: EpochRecord, made: Sequence[StepRecord], plan: int
) -> list[Violation]:
    return [
        Violation(f"epoch {row.epoch}, {name}", f"{plan}", clip_text(run.config, count, len(made)))
        for name, count in (
            ("announced clip checks", run.expected_clip_checks),
            ("expected_clip_checks", row.expected_clip_checks),
            ("clip_checks", row.clip_checks),
            ("sum of its steps' checks", sum(step.checks for step in made)),
        )
        if count != plan and is_logged(row, name)
    ]


def learning_rate_follows(run: RunEvidence) -> Outcome:
    """Require each step's learning rate on its schedule: half a cosine over the planned steps."""
    planned, train = len(run.planned_sizes), run.config["train"]
    schedule = run.schedule or named(train.get("lr_schedule"))
    if not schedule.known:
        where = "train.lr_schedule" if run.schedule is None else "describe()['schedule']"
        msg = f"the rates of schedule {schedule.text!r} ({where}) are not known"
        raise NotApplicableError(msg)
    base, total = float(train["lr"]), planned * int(train["num_epochs"])
    wrong = first_violations(_other_rates(run, planned, base, total, schedule))
    what = ""
    if wrong:
        rates = [(step.epoch, step.step, step.lr) for step in run.steps]
        what = schedule_instead(rates, base, planned, total, schedule)
    violations = [replace(one, found=f"{one.found}{what}") for one in wrong]
    last = {step.epoch: step.lr for step in run.steps}
    violations += first_violations(
        Violation(f"epoch {row.epoch}, lr", f"{last[row.epoch]!r}, its last step's", repr(row.lr))
        for row in run.epochs
        if row.epoch in last and row.lr != last[row.epoch] and is_logged(row, "lr")
    )
    rates_text = counted(len(run.steps), "learning rate")
    figures = f"{rates_text} of {counted(total, 'planned step')} recomputed"
    due = {planned_rate(s, planned, base=base, total=total, schedule=schedule) for s in run.steps}
    if schedule.name == "step" and len(due) == 1:
        figures += ", of which none lies behind a milestone"
    return outcome(violations[:MOST], len(run.steps), figures, without="no step was recorded")


def _other_rates(
    run: RunEvidence, planned: int, base: float, total: int, schedule: Schedule
) -> Iterator[Violation]:
    for step in run.steps:
        lr = planned_rate(step, planned, base=base, total=total, schedule=schedule)
        if lr is not None and schedule.fits(step.lr, base, lr):
            continue
        done = (step.epoch - 1) * planned + step.step - 1
        where = f"learning rate of epoch {step.epoch}, step {step.step}"
        if lr is None:
            planned_text = f"none: {counted(total, 'step is', 'steps are')} planned"
            yield Violation(where, planned_text, f"step {done + 1}")
        else:
            yield Violation(where, f"{lr!r}, step {done} of {total}", repr(step.lr))


LEDGER_LEARNING_RATE = Promise(
    id="ledger-learning-rate",
    sentence="each step's learning rate lies on the planned cosine, or is the declared one",
    check=learning_rate_follows,
    hint=(
        "The schedule restarted, or counts other steps than the plan: look at what a resume keeps."
    ),
    explained_by=("epoch-rows-add-up", "update-is-adam"),
)
