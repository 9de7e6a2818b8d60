"""The watch: promises checked while a run trains, at O(1) work per step.

It is an observer of the trainer and stands behind the ledger, so that the evidence is on disk
before a run is stopped. What it checks over records are the promises of ``harness audit``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.errors import WatchError
from harness.promises.ledger.plan import clip_text, planned_checks, run_sizes, unfair_blocks
from harness.promises.ledger.rows import not_finite
from harness.promises.ledger.scores import (
    PLATEAU,
    at_zero_flow,
    changed_batches,
    dead_metric,
    plateau_text,
    recal_is_fixed,
)
from harness.promises.promise import Violation
from harness.records.environments import environment_difference
from harness.records.ledger import effective
from harness.records.records import (
    EpochRecord,
    EvalRecord,
    NormsRecord,
    NoteRecord,
    Record,
    ResumeRecord,
    RunRecord,
    StepRecord,
)

__all__ = ["ADVICE", "Mode", "Watch", "WatchParts"]

Mode = Literal["stop", "warn", "off"]

ADVICE: Mapping[str, str] = {
    "finite": "a value that is not finite makes all that follows void",
    "clip_counts": "compare batch and micro-batch size with the run's first lines",
    "batch_hashes": "scores on different batches do not compare",
    "fairness": "strict fairness is broken",
    "metric": "fix the metric before tuning anything",
    "clip_saturation": "the step length is the threshold's, not the gradient's",
    "zero_flow": "a network that learns beats an all-zero flow",
}
"""What each kind of finding means, for its reader. The keys are those of ``watch`` in the
configuration."""


@dataclass(frozen=True)
class WatchParts:
    """The functions that a watch is put together from; each says what is wrong with records."""

    not_finite: Callable[[Record], Sequence[Violation]] = not_finite
    unfair_blocks: Callable[[StepRecord], Sequence[Violation]] = unfair_blocks
    planned_checks: Callable[..., Sequence[int]] = planned_checks
    dead_metric: Callable[[EvalRecord | None, EvalRecord], Sequence[Violation]] = dead_metric
    changed_batches: Callable[..., Sequence[Violation]] = changed_batches
    at_zero_flow: Callable[[EvalRecord], bool] = at_zero_flow


@dataclass
class _Epoch:
    """Counts of the epoch under way; `whole` if they began with its first step."""

    number: int = 0
    steps: int = 0
    checks: int = 0
    whole: bool = False


@dataclass
class _Seen:
    """What later records are compared with: the plan and single records, never a history."""

    opening: RunRecord | None = None
    checks: tuple[int, ...] = ()
    epoch: _Epoch = field(default_factory=_Epoch)
    first: EvalRecord | None = None
    previous: EvalRecord | None = None
    plateau: int = 0


class Watch:
    """Stops a run, or warns, at the first record that breaks a promise.

    Parameters
    ----------
    modes : mapping of str to {"stop", "warn", "off"}
        By kind of finding (:data:`ADVICE`); a kind that is absent stops.
    say : callable
        Receives the line of a warning, once per kind.
    observers : sequence of callable
        Receive a note with each finding: the ledger.
    history : iterable of Record
        What earlier attempts at the run recorded, so that comparisons go over the border.
    parts : WatchParts, optional
        What it is put together from.
    """

    def __init__(
        self, modes: Mapping[str, Mode], *, say: Callable[[str], None],
        observers: Sequence[Callable[[Record], None]] = (), history: Iterable[Record] = (),
        parts: WatchParts | None = None,
    ) -> None:  # fmt: skip
        self._modes, self._say, self._observers = modes, say, tuple(observers)
        self._history = list(history)
        self._parts = parts or WatchParts()
        self._warned: set[str] = set()
        self._seen = _Seen()

    def __call__(self, record: Record) -> None:
        """Check one record.

        Raises
        ------
        WatchError
            If it breaks a promise whose mode is ``stop``; the message is one line.
        """
        if self._history and isinstance(record, RunRecord):
            # The replay at the border starts from nothing, and must meet this opening again.
            self._history.append(record)
        if isinstance(record, ResumeRecord):
            self._replay(record)
            return
        for kind, text in self._findings(record):
            self._report(kind, text, getattr(record, "epoch", 0))

    def _replay(self, border: ResumeRecord) -> None:
        """Look at what a resume left valid, without reporting it a second time."""
        if self._history:
            self._seen = _Seen()
            for record in effective([*self._history, border]):
                # Run for what the watch takes in on the way.
                for _ in self._findings(record):
                    pass
            self._history = []

    def _report(self, kind: str, text: str, epoch: int) -> None:
        mode = self._modes.get(kind, "stop")
        if mode == "off" or (mode == "warn" and kind in self._warned):
            return
        self._warned.add(kind)
        line = f"watch: {text}; {ADVICE[kind]}"
        # Before it stops the run, so that the ledger says why it ended.
        for observer in self._observers:
            observer(NoteRecord(epoch, line))
        if mode == "stop":
            # `watch.finite` is fixed: nothing goes on after a NaN.
            how = "" if kind == "finite" else f" (watch.{kind}=warn goes on)"
            raise WatchError(line + how)
        self._say(f"warning: {line}")

    def _findings(self, record: Record) -> Iterable[tuple[str, str]]:
        """Take a record in; yield the kind and the text of what is wrong with it."""
        yield from _first_finding("finite", self._parts.not_finite(record))
        if isinstance(record, RunRecord):
            yield from _first_finding("clip_counts", self._open(record))
        elif isinstance(record, StepRecord):
            yield from _first_finding("fairness", self._parts.unfair_blocks(record))
            yield from _first_finding("clip_counts", self._step(record))
        elif isinstance(record, NormsRecord):
            yield from _first_finding("clip_counts", self._norms(record))
        elif isinstance(record, EvalRecord):
            yield from self._scores(record)
        elif isinstance(record, EpochRecord):
            yield from _first_finding("clip_counts", self._row(record))
            if record.fairness_gap:
                gap = Violation(
                    f"epoch {record.epoch}, fairness_gap", "0", str(record.fairness_gap)
                )
                yield from _first_finding("fairness", [gap])
            if record.clip_checks and record.clip_count == record.clip_checks:
                text = f"epoch {record.epoch}: all of {record.clip_checks} checks clipped"
                yield "clip_saturation", f"saturated clipping, {text}"
            self._seen.epoch = _Epoch()

    def _open(self, record: RunRecord) -> list[Violation]:
        """Keep the plan; another segment, protocol or environment is not held to old scores."""
        seen, old = self._seen, self._seen.opening
        seen.opening = record
        seen.checks = tuple(self._parts.planned_checks(record.config, run_sizes(record)))
        if old is not None and not _same_conditions(old, record):
            seen.first = seen.previous = None
            seen.plateau = 0
        return self._counts("announced", {"clip checks": record.expected_clip_checks})

    def _step(self, record: StepRecord) -> list[Violation]:
        epoch, seen = self._seen.epoch, self._seen
        if epoch.number != record.epoch:
            epoch = seen.epoch = _Epoch(record.epoch, whole=record.step == 1)
        epoch.steps += 1
        # Where a ledger lost steps, there is no sum to compare; the run goes on.
        epoch.whole &= record.step == epoch.steps
        epoch.checks += record.checks
        if seen.opening is None:
            return []
        due = seen.checks[record.step - 1] if record.step <= len(seen.checks) else 0
        if record.checks == due:
            return []
        where = f"epoch {record.epoch}, step {record.step}, clip checks"
        return [Violation(where, str(due), clip_text(seen.opening.config, record.checks, 1))]

    def _norms(self, record: NormsRecord) -> list[Violation]:
        return self._counts(f"epoch {record.epoch}", {"norms": len(record.norms)})

    def _row(self, row: EpochRecord) -> list[Violation]:
        if self._seen.opening is not None and row.segment != self._seen.opening.segment:
            return []  # the last row of another plan, repaired after a crash
        epoch = self._seen.epoch
        counts = {name: getattr(row, name) for name in ("expected_clip_checks", "clip_checks")}
        if epoch.whole and epoch.number == row.epoch:
            counts["sum of its steps' checks"] = epoch.checks
        return self._counts(f"epoch {row.epoch}", counts)

    def _counts(self, where: str, counts: Mapping[str, int]) -> list[Violation]:
        """Return the counts of an epoch's clip checks that differ from the plan."""
        opening, checks = self._seen.opening, self._seen.checks
        if opening is None:
            return []
        return [
            Violation(
                f"{where}, {name}", str(sum(checks)),
                clip_text(opening.config, count, len(checks)),
            )
            for name, count in counts.items()
            if count != sum(checks)
        ]  # fmt: skip

    def _scores(self, record: EvalRecord) -> Iterable[tuple[str, str]]:
        seen = self._seen
        yield from _first_finding("metric", self._parts.dead_metric(seen.previous, record))
        if seen.first is not None and seen.opening is not None:
            recal = recal_is_fixed(seen.opening.config)
            yield from _first_finding(
                "batch_hashes", self._parts.changed_batches(seen.first, record, recal=recal)
            )
        seen.plateau = seen.plateau + 1 if self._parts.at_zero_flow(record) else 0
        if seen.plateau >= PLATEAU:
            yield "zero_flow", plateau_text(record, seen.plateau)
        seen.first, seen.previous = seen.first or record, record


def _same_conditions(old: RunRecord, new: RunRecord) -> bool:
    """Return whether two attempts agree in what they must for their scores to be compared."""
    if environment_difference(old.environment, new.environment).changed:
        return False
    one, two = ((r.segment, r.protocol, r.config.get("eval")) for r in (old, new))
    return one == two


def _first_finding(kind: str, violations: Sequence[Violation]) -> Iterable[tuple[str, str]]:
    """Yield the first of several findings of one kind, with how many more there are."""
    if violations:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        yield kind, f"{violations[0]}{more}"
