"""Promise of a ledger about attempts: what they continue, and under which name."""

from collections.abc import Iterator

from harness.promises.ledger.plan import MOST, finished_epochs, first_violations
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.records.records import CheckpointRecord, ResumeRecord
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = ["attempts_agree"]


def attempts_agree(run: RunEvidence) -> Outcome:
    """Require the attempts at a segment to share dynamics, protocol and checkpoints.

    Ledgers of earlier versions do not name a protocol; what is not there is not compared.
    """
    if not run.resumes:
        # For what it raises: a run of one attempt without a finished epoch has nothing to compare.
        finished_epochs(run)
    parts = (_openings, _rows, _resumes)
    violations = [violation for part in parts for violation in first_violations(part(run))]
    figures = (
        f"{counted(len(run.openings), 'attempt')}, {counted(len(run.epochs), 'row')} and "
        f"{counted(len(run.checkpoints), 'checkpoint')} of segment {run.segment} agree"
    )
    return outcome(violations[:MOST], len(run.resumes) + len(run.epochs), figures)


LEDGER_ATTEMPTS_AGREE = Promise(
    id="ledger-attempts-agree",
    sentence="attempts share dynamics and protocol, and continue a saved checkpoint",
    check=attempts_agree,
    hint=(
        "Rows of other attempts or other futures are mixed into one curve: a resume that should "
        "have been refused, or that went on from elsewhere."
    ),
    explained_by=("resume-exact",),
)


def _openings(run: RunEvidence) -> Iterator[Violation]:
    if not run.protocol:  # an earlier version, whose identity was computed otherwise
        return
    for opening in run.openings[1:]:
        for name in ("identity", "protocol"):
            first, found = getattr(run.openings[0], name), getattr(opening, name)
            if found != first:
                yield Violation(
                    f"attempt {opening.attempt} at segment {run.segment}, {name}",
                    f"{first} as in attempt {run.openings[0].attempt}", found,
                )  # fmt: skip


def _rows(run: RunEvidence) -> Iterator[Violation]:
    saved: dict[int, list[str]] = {}
    for record in run.checkpoints:
        if record.step == 0:
            saved.setdefault(record.epoch, []).append(record.digest)
    for row in run.epochs:
        where = f"epoch {row.epoch}"
        if row.segment != run.segment:
            yield Violation(f"{where}, segment", run.segment, row.segment)
        if run.protocol and row.protocol != run.protocol:
            yield Violation(f"{where}, protocol", run.protocol, row.protocol)
        digest = row.checkpoint_digest
        if row.epoch in saved and digest is not None and digest not in saved[row.epoch]:
            known = " or ".join(sorted(set(saved[row.epoch])))
            yield Violation(f"{where}, checkpoint_digest", f"{known}, as saved", digest)


def _resumes(run: RunEvidence) -> Iterator[Violation]:
    # Those of earlier segments too: a new one starts from a checkpoint of the one before.
    known: dict[str, list[CheckpointRecord]] = {}
    for record in _checkpoints(run) if run.resumes else ():
        known.setdefault(record.digest, []).append(record)
    for resume in run.resumes:
        place = (resume.epoch, resume.step, resume.global_step)
        where = f"attempt {resume.attempt}, where it restarts"
        same = known.get(resume.checkpoint, [])
        if not resume.checkpoint:
            if place != (0, 0, 0):
                yield Violation(where, "step 0, it has no checkpoint", str(place))
        elif same and place not in [(r.epoch, r.step, r.global_step) for r in same]:
            record = same[0]
            there = (record.epoch, record.step, record.global_step)
            yield Violation(where, f"{there}, as its checkpoint", str(place))
        elif not same and run.protocol and not _imported(run, resume):
            yield Violation(where, "a checkpoint that the run saved", resume.checkpoint)


def _checkpoints(run: RunEvidence) -> Iterator[CheckpointRecord]:
    segment: RunEvidence | None = run
    while segment is not None:
        yield from segment.checkpoints
        segment = segment.before


def _imported(run: RunEvidence, resume: ResumeRecord) -> bool:
    """Return whether a run began with a checkpoint that it did not save itself."""
    return run.before is None and resume is run.resumes[0] and resume.attempt == 1
