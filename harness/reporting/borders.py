"""Where curves end: new training dynamics, a new metric, another environment.

A *segment* is a stretch of one training dynamics, a *metric series* one of a single evaluation
protocol. A resume in another environment is a border without a claim of bit equality.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from harness.comparing import changes
from harness.config import ConfigError, parse_config
from harness.records.environments import environment_difference
from harness.records.records import RunRecord
from harness.records.run import Attempt, RunHistory
from harness.runs.identity import identity_changes

__all__ = [
    "Border",
    "BorderKind",
    "Segment",
    "border",
    "borders",
    "record_changes",
    "run_segments",
    "short_digest",
]

BorderKind = Literal["segment", "series", "environment"]


@dataclass(frozen=True)
class Border:
    """Where curves end, or stop being bit-comparable.

    Attributes
    ----------
    x : float
        Epochs; half-way between the last before it and the first after it.
    kinds : tuple of str
        What begins there, the gravest first.
    label : str
        A few words for a plot.
    changes : tuple of str
        ``key: old -> new``.
    """

    x: float
    kinds: tuple[BorderKind, ...]
    label: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Segment:
    """One training dynamics, as curves show it.

    Attributes
    ----------
    name : str
        As the ledger names it.
    attempts : tuple of Attempt
        Those that left evidence.
    begun : int
        How many attempts at it were made, those that left nothing included.
    changes : tuple of str
        ``key: old -> new`` against the segment before it.
    """

    name: str
    attempts: tuple[Attempt, ...]
    begun: int
    changes: tuple[str, ...]


def run_segments(history: RunHistory) -> tuple[Segment, ...]:
    """Return a run's segments, oldest first."""
    parts: list[list[Attempt]] = []
    for attempt in history.lasting:
        if not parts or "segment" in border(parts[-1][-1], attempt).kinds:
            parts.append([])
        parts[-1].append(attempt)
    changed = [border(old[-1], new[0]).changes for old, new in pairwise(parts)]
    return tuple(
        Segment(part[0].segment, tuple(part), _begun(history, part), what)
        for part, what in zip(parts, [(), *changed], strict=True)
    )


def _begun(history: RunHistory, part: list[Attempt]) -> int:
    keys = {(attempt.segment, attempt.opening.identity) for attempt in part}
    return sum((one.segment, one.opening.identity) in keys for one in history.attempts)


def borders(attempts: Iterable[Attempt]) -> tuple[Border, ...]:
    """Return the borders between attempts, one for each place."""
    found: dict[float, Border] = {}
    for old, new in pairwise(attempts):
        here = border(old, new)
        if here.kinds:
            there = found.get(here.x)
            found[here.x] = here if there is None else _merged(there, here)
    return tuple(found.values())


def border(old: Attempt, new: Attempt) -> Border:
    """Return what begins with an attempt; `kinds` is empty where nothing does."""
    kinds: list[BorderKind] = []
    labels: list[str] = []
    changed: list[str] = []
    for kind, differs, label in _differences(old, new):
        if differs:
            kinds.append(kind)
            labels.append(label)
            changed += record_changes(kind, old.opening, new.opening)
    return Border(new.start + 0.5, tuple(kinds), ", ".join(labels), tuple(dict.fromkeys(changed)))


def _differences(old: Attempt, new: Attempt) -> Iterator[tuple[BorderKind, bool, str]]:
    yield "segment", _other_dynamics(old, new), f"segment {new.segment}"
    yield "series", old.series != new.series, f"metric series {short_digest(new.opening.protocol)}"
    # What an earlier version did not record is no border.
    elsewhere = environment_difference(old.opening.environment, new.opening.environment)
    yield "environment", bool(elsewhere.changed), "other environment"


def _other_dynamics(old: Attempt, new: Attempt) -> bool:
    """Return whether the dynamics changed, under another name or, wrongly, under the same.

    The digest alone decides nothing: another version of the harness may make it differently.
    """
    if old.segment != new.segment:
        return True
    same = old.opening.identity == new.opening.identity
    return not same and bool(record_changes("segment", old.opening, new.opening))


def _merged(one: Border, two: Border) -> Border:
    order: tuple[BorderKind, ...] = ("segment", "series", "environment")
    kinds = tuple(kind for kind in order if kind in one.kinds + two.kinds)
    label = ", ".join(dict.fromkeys([one.label, two.label]))
    return Border(one.x, kinds, label, tuple(dict.fromkeys(one.changes + two.changes)))


def record_changes(kind: BorderKind, old: RunRecord, new: RunRecord) -> tuple[str, ...]:
    """Return ``key: old -> new`` for what makes two attempts differ in one respect."""
    if kind == "environment":
        found = environment_difference(old.environment, new.environment)
        return tuple(f"environment {change}" for change in found.changed)
    what: Literal["dynamics", "protocol"] = "dynamics" if kind == "segment" else "protocol"
    try:
        before = parse_config(old.config), old.data
        after = parse_config(new.config), new.data
    except ConfigError:  # of another version of the harness: compare whatever was recorded
        return tuple(str(change) for change in changes(old.config, new.config, absent=None))
    return tuple(identity_changes(what, before, after))


def short_digest(digest: str) -> str:
    """Return the first characters of a digest, enough to tell two apart."""
    return digest[:8] or "not recorded"
