"""Promises of a ledger about what follows from the scores: the best checkpoint, and early stopping.

Both are computed again from the evaluations alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.errors import NotApplicableError
from harness.promises.ledger.plan import MOST, evaluations, first_violations
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
    found: list[Standing] = []
    for segment in _with_those_before(run):
        found = _in_segment(segment, found)
    return found


def _with_those_before(run: RunEvidence) -> list[RunEvidence]:
    """Return a segment and those that its metric series goes on from, the first of them first."""
    chain = [run]
    while chain[-1].before is not None and chain[-1].before.protocol == run.protocol:
        chain.append(chain[-1].before)
    return chain[::-1]


def _in_segment(run: RunEvidence, before: list[Standing]) -> list[Standing]:
    delta = float(run.config["eval"].get("early_stop_min_delta", 0.0))
    resets = sorted(_resets(run))
    found = [_at_start(run, before)]
    for record in run.evals:
        now = found[-1]
        if _any_within(resets, now.epoch, record.epoch):
            now = Standing()
        found.append(_after(now, record, delta))
    return found


def _resets(run: RunEvidence) -> list[int]:
    """Return the epochs after which a resume forgot the best score and the patience."""
    forgets = run.config.get("checkpoint", {}).get("reset_early_stop_on_resume")
    return [resume.epoch for resume in run.resumes] if forgets else []


def _any_within(epochs: Sequence[int], since: int, until: int) -> bool:
    """Return whether any of sorted epochs is `since` or later, and before `until`."""
    place = bisect_left(epochs, since)
    return place < len(epochs) and epochs[place] < until


def _at_start(run: RunEvidence, before: list[Standing]) -> Standing:
    if run.before is None:
        return Standing() if run.start == (0, 0) else Standing(bad=None, epoch=run.start[0])
    if not before:  # another metric series
        return Standing(epoch=run.start[0])
    return [one for one in before if one.epoch <= run.start[0]][-1]


@dataclass(frozen=True)
class _Course:
    """The standings of a segment, to be found by their epochs without a look at all of them.

    Attributes
    ----------
    standings : list of Standing
        In file order.
    epochs : list of int
        Of the standings, sorted.
    latest : list of int
        Place in `standings` of the last one up to each of the epochs.
    resets : list of int
        Epochs after which everything was forgotten, sorted.
    """

    standings: list[Standing]
    epochs: list[int]
    latest: list[int]
    resets: list[int]

    def before(self, epoch: int) -> Standing:
        """Return the last standing of an epoch before one, the first where there is none."""
        count = bisect_left(self.epochs, epoch)
        return self.standings[self.latest[count - 1] if count else 0]

    def until(self, epoch: int) -> Standing:
        """Return the last standing of an epoch or one before it."""
        count = bisect_right(self.epochs, epoch)
        return self.standings[self.latest[count - 1] if count else 0]


def _course(run: RunEvidence) -> _Course:
    standings = _standings(run)
    return _Course(standings, *_by_epoch(standings), sorted(_resets(run)))


def _by_epoch(standings: Sequence[Standing]) -> tuple[list[int], list[int]]:
    """Return the epochs of standings, sorted, and the place of the last one up to each."""
    places = sorted(range(len(standings)), key=lambda place: standings[place].epoch)
    return [standings[place].epoch for place in places], list(accumulate(places, max))


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
    course = _course(run)
    if all(one.bad is None for one in course.standings):
        msg = "the run goes on from what is not recorded: nothing says how much patience was left"
        raise NotApplicableError(msg)
    stopped = first_violations(_stopped(run, course, patience))
    violations = [*_went_on(run, course, patience), *stopped]
    last = course.standings[-1]
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


def _before_epoch(course: _Course, epoch: int) -> Standing:
    """Return the standing that an epoch began with."""
    now = course.before(epoch)
    forgotten = _any_within(course.resets, now.epoch, epoch)
    return Standing(epoch=now.epoch) if forgotten else now


def _went_on(run: RunEvidence, course: _Course, patience: int) -> Iterator[Violation]:
    steps: dict[int, int] = {}
    for step in run.steps:
        steps[step.epoch] = steps.get(step.epoch, 0) + 1
    for epoch, count in steps.items():
        now = _before_epoch(course, epoch)
        if now.bad is not None and now.bad >= patience:
            expected = f"none: after epoch {now.epoch}, {_bad_text(now.bad)}, of {patience}"
            yield Violation(f"steps of epoch {epoch}", expected, str(count))
            return


def _stopped(run: RunEvidence, course: _Course, patience: int) -> Iterator[Violation]:
    for note in run.notes:
        if note.text != STOPPED_EARLY:
            continue
        now = course.until(note.epoch)
        # A resume at the same place that forgets the patience comes after the stop.
        forgotten = _any_within(course.resets, now.epoch, note.epoch)
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
    course, epochs = _course(run), _epochs(run)
    last_resume = max((resume.epoch for resume in run.resumes), default=-1)
    violations = first_violations(
        violation
        for record in told
        for violation in _named_best(run, record, course, epochs, last_resume)
    )
    best = course.standings[-1].best
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
    found: dict[str, int] = {}
    segment: RunEvidence | None = run
    while segment is not None:
        # A name that comes again is the later one's.
        found = {r.name: r.epoch for r in segment.checkpoints if r.step == 0} | found
        segment = segment.before
    return found


def _named_best(
    run: RunEvidence, record: CheckpointRecord, course: _Course, epochs: dict[str, int],
    last_resume: int,
) -> Iterator[Violation]:  # fmt: skip
    # The standing after the record's own evaluation, which comes before the checkpoint.
    now = _before_epoch(course, record.epoch + 1)
    best = now.best
    # Without a score since it was forgotten, the pointer stays where it was.
    if best is None:
        return
    # The pointer of what is void is taken away by a resume where its checkpoint is gone.
    if not record.best and last_resume >= best.epoch:
        return
    # Of a run whose beginning is not recorded, the best may lie there.
    if now.bad is None and record.best not in epochs:
        return
    if epochs.get(record.best or "") != best.epoch:
        what = f"the lowest of the {len([e for e in run.evals if e.epoch <= record.epoch])} so far"
        expected = f"the checkpoint of epoch {best.epoch}, {best.mean_epe:.6g} px, {what}"
        yield Violation(f"`best` after saving {record.name}", expected, record.best or "none")
