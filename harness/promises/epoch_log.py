"""The epoch log follows from the steps, and every option is trained equally often."""

import math
import statistics
from dataclasses import dataclass, field, fields

from harness.archs import Space
from harness.errors import NotApplicableError
from harness.promises.arch_codes import cycle_orders, options_per_block
from harness.promises.bench import Bench
from harness.promises.candidates import instead, scores_instead
from harness.promises.clip_checks import not_logged_text
from harness.promises.ledger.plan import (
    epoch_loss,
    is_logged,
    planned_rate,
    require_fair_space,
    unfair_blocks,
)
from harness.promises.logged_settings import LoggedSettings, logged_settings
from harness.promises.promise import (
    COINCIDENCE,
    Outcome,
    Promise,
    Violation,
    needs,
    outcome,
    require_seen,
)
from harness.promises.recorded_run import beside_plan, both_epochs, schedule_of, with_epoch_log
from harness.promises.schedule_candidates import schedule_instead
from harness.promises.scores import repeat_again
from harness.promises.states import CUT
from harness.promises.step_candidates import by_step, mean_instead
from harness.records.records import NOT_LOGGED
from harness.schedules import COSINE, Schedule
from harness.systems.protocol import Evaluation, Training
from harness.wording import counted

__all__ = [
    "EPOCH_ROWS_ADD_UP", "FAIR_ARCHS", "LOGGED_SETTINGS_USED", "CodedTraining", "EpochRows",
    "archs_are_fair", "epoch_rows", "epoch_rows_add_up", "logged_settings_are_used", "whole_run",
]  # fmt: skip


@dataclass(frozen=True)
class EpochRows:
    """An epoch row beside what it sums up: the training, and the evaluation repeated.

    ``again`` is that evaluation once more: where the two differ, the log's scores cannot be
    told from others. ``eval_every`` is after how many epochs an evaluation is due; ``schedule``
    that of the learning rates.
    """

    training: Training
    evaluation: Evaluation
    base_lr: float
    total_steps: int
    again: Evaluation | None = None
    eval_every: int = 1
    schedule: Schedule = COSINE
    earlier: Evaluation | None = None


@needs("train", "evaluate", "save", "restore", says=("Training.epochs",))
def epoch_rows(bench: Bench) -> EpochRows:
    """Take the training's records and evaluate what they end with once more."""
    config, about = bench.config, bench.trained.description
    train = config["train"]
    training = with_epoch_log(beside_plan(config, bench.trained.description, both_epochs(bench)))
    steps = len(training.planned_sizes) * train["num_epochs"]
    every, twice = int(config["eval"].get("eval_every_epoch", 1)), bench.evidence(repeat_again)
    earlier = None
    if every == 1:
        with bench.at(CUT) as system:
            earlier = system.evaluate()
    return EpochRows(
        training, twice.first, train["lr"], steps, twice.again, every, schedule_of(about), earlier
    )


def epoch_rows_add_up(evidence: EpochRows) -> Outcome:
    """Require the last epoch row to follow from its steps, and scores from evaluations repeated."""
    training, scores = evidence.training, evidence.evaluation
    row = training.epochs[-1] if training.epochs else None
    steps = [step for step in training.steps if row is not None and step.epoch == row.epoch]
    if row is None or not steps or not scores.per_arch_epe:
        return outcome([], 0, "", unseen="no epoch with its steps, its row and its scores")
    # EdgeFlowNAS (8f83824) scored other samples each time: a finding of its own, beside which the
    # log's rate and loss are judged all the same.
    repeats = evidence.again is None or evidence.again.per_sample == scores.per_sample
    due = row.epoch % evidence.eval_every == 0
    expected = {
        **(_scores(scores) if repeats and due else {}),
        "lr": steps[-1].lr,
        "global_step": float(len(training.steps)),
    }
    loss = epoch_loss(steps, training.planned_sizes, training.micro_batch)
    if loss is not None:
        expected["train_loss_epoch_avg"] = loss
    violations = [
        Violation(f"epoch {row.epoch}, {name}", repr(value),
                  f"{getattr(row, name)!r}{_instead(evidence, name, getattr(row, name))}",
                  "other scores" if name in _SCORES else "log")
        for name, value in expected.items()
        if row.reasons.get(name) != NOT_LOGGED
        and not math.isclose(getattr(row, name) or 0.0, value, rel_tol=1e-9, abs_tol=1e-12)
    ]  # fmt: skip
    violations += _first_scores(evidence) if repeats else []
    wrong = []
    schedule = evidence.schedule
    for step in training.steps if schedule.known else ():
        lr = planned_rate(
            step, len(training.planned_sizes), base=evidence.base_lr, total=evidence.total_steps,
            schedule=schedule,
        )  # fmt: skip
        if lr is not None and not schedule.fits(step.lr, evidence.base_lr, lr):
            wrong.append((step, lr))
    what = _schedule_instead(evidence) if wrong else ""
    violations += [
        Violation(f"learning rate of epoch {step.epoch}, step {step.step}", repr(lr),
                  f"{step.lr!r}{what}", "step")
        for step, lr in wrong
    ]  # fmt: skip
    rates = f"{counted(len(training.steps), 'learning rate')} recomputed"
    if not schedule.known:
        rates = f"no learning rate of schedule {schedule.text!r}"
    figures = f"{counted(len(expected), 'column')} and {rates}"
    figures += not_logged_text(training, *expected)
    figures += "" if repeats else "; no scores, which differ when evaluated again"
    return outcome(violations[:6], len(training.steps), figures)


_SCORES = (
    "mean_epe_12", "std_epe_12", "per_arch_epe_min", "per_arch_epe_median", "per_arch_epe_max",
    "zero_flow_epe",
)  # fmt: skip


def _first_scores(evidence: EpochRows) -> list[Violation]:
    """Return how the first epoch's row differs from its evaluation repeated."""
    rows, earlier = evidence.training.epochs, evidence.earlier
    # A system that scores other samples after a restore is told of it by the last row.
    if len(rows) < 2 or earlier is None or not earlier.per_arch_epe:
        return []
    return [
        Violation(f"epoch {rows[0].epoch}, {name}", repr(value), repr(getattr(rows[0], name)),
                  "other scores")
        for name, value in _scores(earlier).items()
        if rows[0].reasons.get(name) != NOT_LOGGED
        and not math.isclose(getattr(rows[0], name) or 0.0, value, rel_tol=1e-9, abs_tol=1e-12)
    ]  # fmt: skip


def _scores(found: Evaluation) -> dict[str, float]:
    """Return the log's columns that follow from an evaluation."""
    epe = found.per_arch_epe
    return {
        "mean_epe_12": math.fsum(epe) / len(epe),
        "std_epe_12": statistics.pstdev(epe),
        "per_arch_epe_min": min(epe),
        "per_arch_epe_median": statistics.median(epe),
        "per_arch_epe_max": max(epe),
        "zero_flow_epe": found.zero_flow_epe,
    }


def _instead(evidence: EpochRows, name: str, found: float | None) -> str:
    """Return what a column of the last row is instead, if that can be told."""
    training, epe = evidence.training, evidence.evaluation.per_arch_epe
    row, rows = training.epochs[-1], training.epochs
    before = getattr(rows[-2], name) if rows[1:] else None
    made = [step for step in training.steps if step.epoch == row.epoch]
    if name == "train_loss_epoch_avg":
        micro, archs = max(training.micro_batch, 1), len(made[0].archs)
        counts = [archs * math.ceil(size / micro) for size in training.planned_sizes]
        epochs = by_step(training.losses, counts * len(rows))
        now, earlier = epochs[-len(counts) :], epochs[-2 * len(counts) : -len(counts)]
        return mean_instead(found, now, earlier, archs=archs)
    if name == "lr":
        planned, schedule = len(training.planned_sizes), evidence.schedule
        done, total = (row.epoch - 1) * planned + made[-1].step, evidence.total_steps
        after = schedule.rate(evidence.base_lr, done, total, planned) if schedule.known else None
        return instead(
            found,
            {"its first step's": made[0].lr, "the base rate": evidence.base_lr,
             # EdgeFlowNAS logs the rate that the next step would have.
             "the rate of the step after": after},
        )  # fmt: skip
    if name == "global_step":
        archs = len(made) * len(made[0].archs)
        return instead(
            found,
            {"the steps of this epoch alone": len(made), "each arch of this epoch counted": archs,
             "each arch of each step counted": archs * len(rows),
             "every micro-batch counted": len(training.losses)},
        )  # fmt: skip
    if name == "zero_flow_epe":
        return instead(found, {"that of the epoch before": before})
    return instead(found, scores_instead(name, epe, before))


def _schedule_instead(evidence: EpochRows) -> str:
    training = evidence.training
    rates = [(step.epoch, step.step, step.lr) for step in training.steps]
    planned = len(training.planned_sizes)
    return schedule_instead(
        rates, evidence.base_lr, planned, evidence.total_steps, evidence.schedule
    )


EPOCH_ROWS_ADD_UP = Promise(
    id="epoch-rows-add-up",
    sentence="the epoch log follows from the steps and from the evaluation repeated",
    evidence=epoch_rows,
    check=epoch_rows_add_up,
    hint="A column of the log is stale, fabricated, or of another evaluation.",
    explained_by=("update-is-adam",),
    varied=True,
)


def logged_settings_are_used(evidence: LoggedSettings) -> Outcome:
    """Require the logged numbers of batches and archs to be those that an evaluation uses.

    Raises
    ------
    NotApplicableError
        If no row has such a number, or the system does not tell what it uses.
    """
    violations, seen = list[Violation](), set[str]()
    for row in evidence.rows:
        for name, used, told in _settings(evidence):
            logged = getattr(row, name)
            if logged is None or used is None:
                continue
            seen.add(name)
            # The last batch of a split may end it: more were then asked for than there are.
            asked_for_more = name == "eval_batches_per_arch" and evidence.whole_split
            if logged != used and not (asked_for_more and logged > used):
                violations.append(
                    Violation(f"epoch {row.epoch}, {name}", f"{used}: {told}", str(logged), name)
                )
    if evidence.rows and not seen:
        msg = "no setting is both logged and seen to be used"
        raise NotApplicableError(msg)
    figures = f"{', '.join(sorted(seen))} as used, in {len(evidence.rows)} rows"
    return outcome(violations[:6], len(evidence.rows), figures)


def _settings(evidence: LoggedSettings) -> tuple[tuple[str, int | None, str], ...]:
    """Return column, number used and what that means."""
    recal, scored = evidence.recal_batches, evidence.eval_batches
    recalibrated = f"the evaluation recalibrated on {recal}" if recal else _NO_RECALIBRATION
    return (
        ("bn_recal_batches", recal, recalibrated),
        ("eval_batches_per_arch", scored, f"each arch was scored on {scored} batches"),
        ("eval_pool_size", evidence.pool, f"{evidence.pool} archs were scored"),
    )


_NO_RECALIBRATION = "the evaluation recalibrated nothing"


LOGGED_SETTINGS_USED = Promise(
    id="logged-settings-used",
    sentence="the settings that the epoch log names were used",
    evidence=logged_settings,
    check=logged_settings_are_used,
    hint=(
        "A setting is read and logged, and nothing uses it: whoever tunes it tunes nothing, and "
        "scores of runs that differ in it compare though the log says that they do not."
    ),
    explained_by=("batch-mates-unseen",),
)


@needs("train", says=("arch codes",))
def whole_run(bench: Bench) -> Training:
    """Return both epochs of the trained system, whose archs are codes of options."""
    run, about = both_epochs(bench), bench.trained.description
    told = any(step.archs for step in run.steps) or not run.steps
    require_seen(told, "steps do not tell the archs that they train (Training.steps)")
    space = options_per_block(about.options)
    require_fair_space(space, (arch for step in run.steps for arch in step.archs), about.space)
    if about.space is None:
        return run
    return CodedTraining(**{f.name: getattr(run, f.name) for f in fields(run)}, space=about.space)


@dataclass(frozen=True)
class CodedTraining(Training):
    """A training whose archs are codes of a space that the system declares."""

    space: Space = field(default_factory=Space)


def archs_are_fair(evidence: Training) -> Outcome:
    """Require each step's three archs to cover every option of every block once."""
    violations: list[Violation] = []
    counts: dict[tuple[int, str | int], int] = {}
    declared = evidence.space if isinstance(evidence, CodedTraining) else None
    for step in evidence.steps:
        if declared is not None:
            violations += unfair_blocks(step, declared)
            for place in (p for a in step.archs for p in enumerate(declared.read(a) or ())):
                counts[place] = counts.get(place, 0) + 1
            continue
        if len({len(arch) for arch in step.archs}) > 1:
            where = f"epoch {step.epoch}, step {step.step}, archs"
            violations.append(Violation(where, "codes of one length", str(step.archs)))
            continue
        for block, options in enumerate(zip(*step.archs, strict=True)):
            if sorted(options) != ["0", "1", "2"]:
                where = f"epoch {step.epoch}, step {step.step}, block {block}"
                violations.append(Violation(where, "options 0, 1, 2 once each", str(options)))
            for option in options:
                counts[block, option] = counts.get((block, option), 0) + 1
    gap = max(counts.values()) - min(counts.values()) if counts else 0
    violations += [
        Violation(
            f"epoch {row.epoch}, fairness_gap", "0", f"{row.fairness_gap} reported, {gap} counted"
        )
        for row in evidence.epochs
        if (row.fairness_gap != 0 and is_logged(row, "fairness_gap")) or gap != 0
    ]
    by_epoch: dict[int, list[tuple[str, ...]]] = {}
    for step in evidence.steps:
        by_epoch.setdefault(step.epoch, []).append(step.archs)
    blocks = max((block for block, _ in counts), default=-1) + 1
    orders = cycle_orders((3,) * blocks if declared is None else declared)
    repeated = [
        e for e in by_epoch
        if by_epoch.get(e - 1) == by_epoch[e] and orders ** len(by_epoch[e]) >= COINCIDENCE
    ]  # fmt: skip
    violations += [
        Violation(f"fair cycles of epoch {e}", f"others than in epoch {e - 1}", "the same")
        for e in repeated
    ]
    cycles = {step.archs for step in evidence.steps}
    if len(cycles) == 1 and orders ** (len(evidence.steps) - 1) >= COINCIDENCE:
        violations.append(Violation("fair cycles", "different from step to step", "all the same"))
    different = counted(len(cycles), "different cycle")
    figures = f"{counted(len(evidence.steps), 'step')}, {different}, gap {gap}"
    nothing = "no training step was recorded (Training.steps)"
    return outcome(violations[:6], len(evidence.steps), figures, without=nothing)


FAIR_ARCHS = Promise(
    id="fair-archs",
    sentence="every step trains each option of each block once; fairness gap 0",
    evidence=whole_run,
    check=archs_are_fair,
    hint="Strict fairness is broken: some options are trained more than others.",
    varied=True,
)
