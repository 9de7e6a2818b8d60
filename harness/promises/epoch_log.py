"""The epoch log follows from the steps, and every option is trained equally often."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import NotApplicableError
from harness.promises.bench import Bench
from harness.promises.candidates import instead, scores_instead
from harness.promises.clip_checks import not_logged_text
from harness.promises.fair_archs import archs_are_fair, whole_run
from harness.promises.ledger.plan import epoch_loss, planned_rate
from harness.promises.logged_settings import LoggedSettings, logged_settings
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.promises.recorded_run import beside_plan, both_epochs, schedule_of, with_epoch_log
from harness.promises.schedule_candidates import schedule_instead
from harness.promises.scores import repeat_again
from harness.promises.states import CUT
from harness.promises.step_candidates import by_step, mean_instead
from harness.records.records import NOT_LOGGED, EpochRecord, StepRecord
from harness.schedules import COSINE, Schedule
from harness.systems.protocol import Evaluation, Training
from harness.wording import counted

__all__ = [
    "EPOCH_ROWS_ADD_UP", "FAIR_ARCHS", "LOGGED_SETTINGS_USED", "EpochRows", "archs_are_fair",
    "epoch_rows", "epoch_rows_add_up", "logged_settings_are_used",
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
    training, scores, schedule = evidence.training, evidence.evaluation, evidence.schedule
    row = training.epochs[-1] if training.epochs else None
    steps = [step for step in training.steps if row is not None and step.epoch == row.epoch]
    if row is None or not steps or not scores.per_arch_epe:
        return outcome([], 0, "", unseen="no epoch with its steps, its row and its scores")
    # EdgeFlowNAS (8f83824) scored other samples each time: a finding of its own, beside which the
    # log's rate and loss are judged all the same.
    repeats = evidence.again is None or evidence.again.per_sample == scores.per_sample
    expected = _columns(evidence, row, steps, scored=repeats)
    violations = [
        Violation(f"epoch {row.epoch}, {name}", repr(value),
                  f"{getattr(row, name)!r}{_instead(evidence, name, getattr(row, name))}",
                  "other scores" if name in _SCORES else "log")
        for name, value in _differing(row, expected)
    ]  # fmt: skip
    violations += _first_scores(evidence) if repeats else []
    violations += _other_rates(evidence) if schedule.known else []
    rates = f"{counted(len(training.steps), 'learning rate')} recomputed"
    if not schedule.known:
        rates = f"no learning rate of schedule {schedule.text!r}"
    figures = f"{counted(len(expected), 'column')} and {rates}"
    figures += not_logged_text(training, *expected)
    figures += "" if repeats else "; no scores, which differ when evaluated again"
    return outcome(violations[:6], len(training.steps), figures)


def _columns(
    evidence: EpochRows, row: EpochRecord, steps: Sequence[StepRecord], *, scored: bool
) -> dict[str, float]:
    """Return what the last row's columns must be; of scores only where they are `scored` alike."""
    training, due = evidence.training, row.epoch % evidence.eval_every == 0
    expected = {
        **(_scores(evidence.evaluation) if scored and due else {}),
        "lr": steps[-1].lr,
        "global_step": float(len(training.steps)),
    }
    loss = epoch_loss(steps, training.planned_sizes, training.micro_batch)
    return expected if loss is None else {**expected, "train_loss_epoch_avg": loss}


def _differing(row: EpochRecord, expected: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the columns that a row logs and that are not as expected, and what they should be."""
    for name, value in expected.items():
        logged = getattr(row, name) or 0.0
        if row.reasons.get(name) != NOT_LOGGED and not math.isclose(
            logged, value, rel_tol=1e-9, abs_tol=1e-12
        ):
            yield name, value


def _other_rates(evidence: EpochRows) -> list[Violation]:
    """Return the steps whose learning rate is not that of the schedule."""
    training, schedule, base = evidence.training, evidence.schedule, evidence.base_lr
    planned, wrong = len(training.planned_sizes), []
    for step in training.steps:
        lr = planned_rate(step, planned, base=base, total=evidence.total_steps, schedule=schedule)
        if lr is not None and not schedule.fits(step.lr, base, lr):
            wrong.append((step, lr))
    what = _schedule_instead(evidence) if wrong else ""
    return [
        Violation(f"learning rate of epoch {step.epoch}, step {step.step}", repr(lr),
                  f"{step.lr!r}{what}", "step")
        for step, lr in wrong
    ]  # fmt: skip


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
        for name, value in _differing(rows[0], _scores(earlier))
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
    training, rows = evidence.training, evidence.training.epochs
    before = getattr(rows[-2], name) if rows[1:] else None
    made = [step for step in training.steps if step.epoch == rows[-1].epoch]
    if name == "train_loss_epoch_avg":
        return _loss_instead(training, found, archs=len(made[0].archs))
    if name == "lr":
        return _rate_instead(evidence, found, made)
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
    return instead(found, scores_instead(name, evidence.evaluation.per_arch_epe, before))


def _loss_instead(training: Training, found: float | None, *, archs: int) -> str:
    micro = max(training.micro_batch, 1)
    counts = [archs * math.ceil(size / micro) for size in training.planned_sizes]
    epochs = by_step(training.losses, counts * len(training.epochs))
    now, earlier = epochs[-len(counts) :], epochs[-2 * len(counts) : -len(counts)]
    return mean_instead(found, now, earlier, archs=archs)


def _rate_instead(evidence: EpochRows, found: float | None, made: Sequence[StepRecord]) -> str:
    planned, schedule = len(evidence.training.planned_sizes), evidence.schedule
    done, total = (made[-1].epoch - 1) * planned + made[-1].step, evidence.total_steps
    after = schedule.rate(evidence.base_lr, done, total, planned) if schedule.known else None
    return instead(
        found,
        {"its first step's": made[0].lr, "the base rate": evidence.base_lr,
         # EdgeFlowNAS logs the rate that the next step would have.
         "the rate of the step after": after},
    )  # fmt: skip


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


FAIR_ARCHS = Promise(
    id="fair-archs",
    sentence="every step trains each option of each block once; fairness gap 0",
    evidence=whole_run,
    check=archs_are_fair,
    hint="Strict fairness is broken: some options are trained more than others.",
    varied=True,
)
