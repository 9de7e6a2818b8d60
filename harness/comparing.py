"""What differs between two trees of values: configurations, environments, counters.

One comparison for all that says ``key: old -> new``, so that a resume, a report, a gate and a
digest cannot disagree on what has changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ABSENT", "Change", "changes", "leaves"]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()
"""Stands for the value of a key that one side does not have."""


@dataclass(frozen=True)
class Change:
    """One value that differs; `key` is dotted, such as ``train.lr``."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any], *, absent: Any = ABSENT
) -> tuple[Change, ...]:
    """Return every value that differs, in the order of the old keys, then of the new ones.

    Values are compared as they are written: 1, 1.0 and True differ, and NaN equals itself.

    Parameters
    ----------
    old, new : mapping
        Values, or further mappings of them.
    absent : optional
        What a key that one side lacks counts as; None where that says the same as no value.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    pairs = (
        Change(key, before.get(key, absent), after.get(key, absent))
        for key in dict.fromkeys([*before, *after])
    )
    return tuple(pair for pair in pairs if repr(pair.old) != repr(pair.new))


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested mappings by its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
