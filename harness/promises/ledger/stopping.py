"""Promises of a ledger about what follows from the scores: the best checkpoint, and early stopping.

Both are computed again from the evaluations alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import NotApplicableError
from harness.promises.ledger.plan import MOST, evaluations
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.records import STOPPED_EARLY, CheckpointRecord, EvalRecord
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = ["Standing", "best_checkpoint_is_best", "patience_is_kept"]


@dataclass(frozen=True)
class Standing:
    """What the evaluations so far come to.

    Attributes
    ----------
    reference : float or None
        Mean EPE of the last improvement by ``early_stop_min_delta``, px.
    bad : int or None
        Evaluations since; None where what came before is not recorded.
    best : EvalRecord or None
        The evaluation of the lowest mean EPE.
    epoch : int
        Of the last evaluation that counts.
    """

    reference: float | None = None
    bad: int | None = 0
    best: EvalRecord | None = None
    epoch: int = 0


def _standings(run: RunEvidence) -> list[Standing]:
    """Return the standing at the start of a segment and after each of its evaluations."""
    delta = float(run.config["eval"].get("early_stop_min_delta", 0.0))
    resets = _resets(run)
    found = [_at_start(run)]
    for record in run.evals:
        now = found[-1]
        if any(now.epoch <= epoch < record.epoch for epoch in resets):
            now = Standing()
        found.append(_after(now, record, delta))
    return found


def _resets(run: RunEvidence) -> list[int]:
    """Return the epochs after which a resume forgot the best score and the patience."""
    forgets = run.config.get("checkpoint", {}).get("reset_early_stop_on_resume")
    return [resume.epoch for resume in run.resumes] if forgets else []


def _at_start(run: RunEvidence) -> Standing:
    if run.before is None:
        return Standing() if run.start == (0, 0) else Standing(bad=None, epoch=run.start[0])
    if run.before.protocol != run.protocol:  # another metric series
        return Standing(epoch=run.start[0])
    return [one for one in _standings(run.before) if one.epoch <= run.start[0]][-1]


def _after(now: Standing, record: EvalRecord, delta: float) -> Standing:
    metric = record.mean_epe
    best = record if now.best is None or metric < now.best.mean_epe else now.best
    if now.bad is None:
        return Standing(None, None, best, record.epoch)
    if now.reference is None or metric < now.reference - delta:
        return Standing(metric, 0, best, record.epoch)
    return Standing(now.reference, now.bad + 1, best, record.epoch)


def patience_is_kept(run: RunEvidence) -> Outcome:
    """Require a run to stop when its patience is used up, and no run to stop early before."""
    patience = run.config["eval"].get("early_stop_patience")
    if patience is None:
        msg = "the configuration says nothing of eval.early_stop_patience"
        raise NotApplicableError(msg)
    evaluations(run)
    standings = _standings(run)
    if all(one.bad is None for one in standings):
        msg = "the run goes on from what is not recorded: nothing says how much patience was left"
        raise NotApplicableError(msg)
    violations = [*_went_on(run, standings, patience), *_stopped(run, standings, patience)]
    last = standings[-1]
    figures = (
        f"{counted(len(run.evals), 'evaluation')}, {last.bad} of {patience} at the end without "
        f"an improvement by more than {run.config['eval'].get('early_stop_min_delta', 0.0):g} px"
    )
    return outcome(violations[:MOST], len(run.evals), figures)


LEDGER_PATIENCE_KEPT = Promise(
    id="ledger-patience-kept",
    sentence="a run stops early when its patience is used up, neither before nor after",
    check=patience_is_kept,
    hint=(
        "Early stopping counts other evaluations than the log has, or compares otherwise than by "
        "early_stop_min_delta with the last improvement: the run is shorter or longer than asked."
    ),
    explained_by=("resume-exact",),
)


def _before_epoch(run: RunEvidence, standings: list[Standing], epoch: int) -> Standing:
    """Return the standing that an epoch began with."""
    now = [one for one in standings if one.epoch < epoch or one is standings[0]][-1]
    forgotten = any(now.epoch <= reset < epoch for reset in _resets(run))
    return Standing(epoch=now.epoch) if forgotten else now


def _went_on(run: RunEvidence, standings: list[Standing], patience: int) -> Iterator[Violation]:
    steps: dict[int, int] = {}
    for step in run.steps:
        steps[step.epoch] = steps.get(step.epoch, 0) + 1
    for epoch, count in steps.items():
        now = _before_epoch(run, standings, epoch)
        if now.bad is not None and now.bad >= patience:
            expected = f"none: after epoch {now.epoch}, {_bad_text(now.bad)}, of {patience}"
            yield Violation(f"steps of epoch {epoch}", expected, str(count))
            return


def _stopped(run: RunEvidence, standings: list[Standing], patience: int) -> Iterator[Violation]:
    for note in run.notes:
        if note.text != STOPPED_EARLY:
            continue
        now = [one for one in standings if one.epoch <= note.epoch or one is standings[0]][-1]
        # A resume at the same place that forgets the patience comes after the stop.
        forgotten = any(now.epoch <= reset < note.epoch for reset in _resets(run))
        bad = 0 if forgotten else now.bad
        if bad is not None and bad < patience:
            where = f"early stop after epoch {note.epoch}"
            yield Violation(where, f"{patience} evaluations without an improvement", str(bad))


def _bad_text(bad: int) -> str:
    return f"{counted(bad, 'evaluation has', 'evaluations have')} brought no improvement"


def best_checkpoint_is_best(run: RunEvidence) -> Outcome:
    """Require that ``best`` names the checkpoint of the lowest mean EPE after every save."""
    told = [record for record in run.checkpoints if record.best is not None]
    if not told:
        msg = "not enough evidence: no record of a checkpoint says which one is the best"
        raise NotApplicableError(msg)
    standings, epochs = _standings(run), _epochs(run)
    violations = [
        violation for record in told
        for violation in _named_best(run, record, standings, epochs)
    ]  # fmt: skip
    best = standings[-1].best
    figures = f"{counted(len(told), 'save')}, " + (
        "no evaluation yet"
        if best is None
        else f"the best is of epoch {best.epoch}, {best.mean_epe:.6g} px"
    )
    return outcome(violations[:MOST], len(told), figures)


LEDGER_BEST_CHECKPOINT = Promise(
    id="ledger-best-checkpoint",
    sentence="`best` names the checkpoint of the lowest mean EPE so far",
    check=best_checkpoint_is_best,
    hint=(
        "What is evaluated, frozen or deployed as the best is another epoch's: the pointer follows "
        "every save, another number, or the wrong direction."
    ),
    explained_by=("ledger-best-tracked", "resume-exact"),
)


def _epochs(run: RunEvidence) -> dict[str, int]:
    """Return the epoch of each checkpoint of an epoch's end, by its name."""
    before = {} if run.before is None else _epochs(run.before)
    return {**before, **{r.name: r.epoch for r in run.checkpoints if r.step == 0}}


def _named_best(
    run: RunEvidence, record: CheckpointRecord, standings: list[Standing], epochs: dict[str, int]
) -> Iterator[Violation]:
    # The standing after the record's own evaluation, which comes before the checkpoint.
    now = _before_epoch(run, standings, record.epoch + 1)
    best = now.best
    # Without a score since it was forgotten, the pointer stays where it was.
    if best is None:
        return
    # The pointer of what is void is taken away by a resume where its checkpoint is gone.
    voided = any(resume.epoch >= best.epoch for resume in run.resumes)
    if not record.best and voided:
        return
    # Of a run whose beginning is not recorded, the best may lie there.
    if now.bad is None and record.best not in epochs:
        return
    if epochs.get(record.best or "") != best.epoch:
        what = f"the lowest of the {len([e for e in run.evals if e.epoch <= record.epoch])} so far"
        expected = f"the checkpoint of epoch {best.epoch}, {best.mean_epe:.6g} px, {what}"
        yield Violation(f"`best` after saving {record.name}", expected, record.best or "none")
