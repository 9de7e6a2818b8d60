"""Where a training run is just now: a line that goes on, on a terminal or in a log."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from harness.records.records import EpochRecord, Record, ResumeRecord, RunRecord, StepRecord

__all__ = ["RunningLine", "duration"]

_WINDOW = 50
"""Steps of which rates are told."""

LOG_SECONDS = 120.0
"""A log that nobody watches has a line as often as this, s."""


def duration(seconds: float) -> str:
    """Return a time as people say it: ``42 s``, ``3:05 min``, ``1:02:03 h``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d} h"
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def _rate(value: float) -> str:
    """Return a rate in three digits at least and without a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass
class _Pace:
    """Seconds of the steps that came last, what was waited for in them, and of epochs' ends."""

    steps: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    samples: deque[int] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def rate(self) -> float:
        """Return samples/s."""
        return sum(self.samples) / max(sum(self.steps), 1e-9)

    def waiting(self) -> str:
        """Return what most of the time goes into."""
        share = sum(self.waits) / max(sum(self.steps), 1e-9)
        if share >= 0.5:
            return f"waits for decode {share:.0%}"
        return f"waits for compute {1 - share:.0%}"


class RunningLine:
    """Observer that says where a run stands, in the middle of an epoch too.

    Parameters
    ----------
    epochs : int
        Of the whole run.
    show : callable or None
        (text, steps done, steps of the epoch) -> None, after each step; None: no terminal looks.
    write : callable
        Takes a line of a log, where none looks.
    history : sequence of Record, optional
        What earlier attempts recorded: the clip checks of an epoch that is gone on with count.
    until : int, optional
        Epoch after which this attempt ends, where it is not to train them all.
    every : float, default 120.0
        Least time between two such lines, s.
    clock : callable
        Returns s.
    """

    def __init__(
        self, epochs: int, *, show: Callable[[str, int, int], None] | None,
        write: Callable[[str], None], history: Sequence[Record] = (), until: int | None = None,
        every: float = LOG_SECONDS, clock: Callable[[], float] = perf_counter,
    ) -> None:  # fmt: skip
        self._epochs, self._show, self._write = epochs, show, write
        self._until = epochs if until is None else until
        self._history = [one for one in history if isinstance(one, StepRecord)]
        self._every, self._clock = every, clock
        self._pace, self._sizes = _Pace(), list[int]()
        self._last = self._said = clock()
        self._wait, self._checks, self._clipped = 0.0, 0, 0
        self._done = (0, 0)
        self._fresh = True

    def waited(self, seconds: float) -> None:
        """Take note of what the next step waited for its batch, s."""
        self._wait += seconds

    def __call__(self, record: Record) -> None:
        """Say where the run stands, if the record says more of it."""
        if isinstance(record, RunRecord):
            self._sizes = [size for size, count in record.planned_sizes for _ in range(count)]
            if self._show is not None:
                self._show("compiles the first step", 0, len(self._sizes))
        elif isinstance(record, ResumeRecord):
            self._take_resume(record)
        elif isinstance(record, StepRecord):
            self._take_step(record)
        elif isinstance(record, EpochRecord):
            self._take_epoch(record)

    def _take_resume(self, record: ResumeRecord) -> None:
        self._done = (record.epoch, record.step)
        # Those after the checkpoint are made again.
        before = [one for one in self._history
                  if one.epoch == record.epoch + 1 and one.step <= record.step]  # fmt: skip
        self._checks = sum(one.checks for one in before)
        self._clipped = sum(one.clipped for one in before)
        self._history = []

    def _take_step(self, record: StepRecord) -> None:
        now = self._clock()
        # The first one of a process compiles, which says nothing of the next.
        if not self._fresh:
            self._pace.steps.append(now - self._last)
            self._pace.waits.append(min(self._wait, now - self._last))
            self._pace.samples.append(self._size(record.step))
        self._fresh, self._last, self._wait = False, now, 0.0
        if record.step == 1:
            self._checks = self._clipped = 0
        self._checks += record.checks
        self._clipped += record.clipped
        self._done = (record.epoch - 1, record.step)
        if self._show is not None:
            self._show(self._text(record), record.step, len(self._sizes))
        elif now - self._said >= self._every:
            self._said = now
            self._write(f"{self._text(record)} | step {record.step}/{len(self._sizes)}")

    def _take_epoch(self, record: EpochRecord) -> None:
        now = self._clock()
        self._pace.ends.append(now - self._last)
        self._last = self._said = now
        self._wait, self._done = 0.0, (record.epoch, 0)

    def _size(self, step: int) -> int:
        return self._sizes[step - 1] if step <= len(self._sizes) else 0

    def _text(self, record: StepRecord) -> str:
        """Return what a narrow terminal is to show first, first."""
        parts = [f"epoch {record.epoch}/{self._epochs}"]
        if record.step == len(self._sizes):
            return " | ".join([*parts, "saves and evaluates"])
        parts += [*self.left(), f"loss {record.loss:.4g}"]
        if self._checks:
            parts.append(f"clipped {self._clipped / self._checks:.0%}")
        if self._pace.steps:
            parts += [f"{_rate(self._pace.rate())} samples/s", self._pace.waiting()]
        return " | ".join([*parts, f"norm {record.norm:.3g}"])

    def left(self) -> list[str]:
        """Return how long the rest will take at this pace; nothing before anything is known."""
        epoch, step = self._done
        if not self._pace.steps or not self._sizes:
            return []
        steps = (self._until - epoch) * len(self._sizes) - step
        seconds = steps * sum(self._pace.steps) / len(self._pace.steps)
        if self._pace.ends:
            seconds += (self._until - epoch) * sum(self._pace.ends) / len(self._pace.ends)
        return [f"{duration(seconds)} left"] if seconds else []
