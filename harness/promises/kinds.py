"""Arrays of a state by kind, and in words where those that differ have their values from.

A digest tells a person nothing. A count, one name, and another state of the same run in which
the array had this very value do.
"""

from collections.abc import Iterable, Mapping, Sequence

from harness.promises.promise import Digests, Violation, kind_of_array
from harness.systems.protocol import Description

__all__ = ["COUNTERS", "kinds_of", "state_differences"]

COUNTERS = "counters and generators"
"""The kind of array that is neither weight, slot nor statistic."""

_KINDS = ("weights", "optimizer slots", "moving statistics", COUNTERS)
"""In the order in which they are told."""

_NAMED = 2
"""Up to so many arrays are named each; of more, one."""
_PARTS = 3
"""Of counters and generators so many, of other parts each: a scheduler hides behind generators."""


def kinds_of(names: Iterable[str], description: Description | None = None) -> dict[str, str]:
    """Return the kind of each array: as the system describes it, or else by its name."""
    slots = {slot for pair in description.slots.values() for slot in pair} if description else set()
    weights = set(description.slots) if description else set()
    described = {**dict.fromkeys(slots, "optimizer slots"), **dict.fromkeys(weights, "weights")}
    return {name: described.get(name) or kind_of_array(name) for name in names}


def state_differences(
    expected: Digests, found: Digests, *, what: str, of: str,
    kinds: Mapping[str, str] | None = None, known: Mapping[str, Digests] | None = None,
) -> list[Violation]:  # fmt: skip
    """Return one violation for each kind of array that differs, with counts and a name.

    A breach of one kind of array is none of another: so it is with the violation's kind.

    Parameters
    ----------
    what : str
        What was looked at, such as ``"cut after epoch 1, restored"``; the kind follows.
    of : str
        What the arrays should be, such as ``"as saved"``.
    kinds : mapping, optional
        Name to kind. Default: by the names alone.
    known : mapping of str to mapping, optional
        Other states, by the words that say so: ``"as at the start of training"``. The first in
        which an array has the value that was found is named.
    """
    every = sorted(expected.keys() | found.keys())
    told = kinds_of(every) if kinds is None else {**kinds_of(every), **kinds}
    violations = []
    for kind in _KINDS:
        names = [name for name in every if told[name] == kind]
        wrong = [name for name in names if expected.get(name) != found.get(name)]
        if wrong:
            right = len(names) - len(wrong) or "none"
            whence = "; ".join(_whence(wrong, expected, found, known or {}))
            violations.append(
                Violation(f"{what} {kind}", f"{len(names)} {of}", f"{right}: {whence}", kind)
            )
    return violations


def _whence(
    wrong: Sequence[str], expected: Digests, found: Digests, known: Mapping[str, Digests]
) -> list[str]:
    """Return for each origin of a wrong value how many arrays have it from there."""
    groups: dict[str, list[str]] = {}
    for name in wrong:
        groups.setdefault(_origin(name, expected, found, known), []).append(name)
    return [f"{len(names)} {origin} ({_some(names)})" for origin, names in groups.items()]


def _origin(name: str, expected: Digests, found: Digests, known: Mapping[str, Digests]) -> str:
    if name not in found:
        return "absent"
    if name not in expected:
        return "not expected at all"
    of = (words for words, state in known.items() if state.get(name) == found[name])
    return next(of, "of another value")


def _some(names: Sequence[str]) -> str:
    """Return names, or some: of counters and generators one of each part that keeps some."""
    parts = {"/".join(name.split("/")[:2]): name for name in reversed(names)}
    counters = all(name.startswith("progress/") for name in names)
    shown = sorted(parts.values())[:_PARTS] if counters else names[:1]
    if len(names) <= max(_NAMED, len(shown)):
        return ", ".join(names)
    return f"such as {', '.join(shown)}"
