"""What differs between two recorded environments, and what one of them does not name.

An earlier version records less. What one side does not name is neither equal nor changed: a
resume or a gate says so in one line, and no report draws a border for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.comparing import ABSENT, Change, changes

__all__ = [
    "LATER_FIELDS",
    "UNKNOWN",
    "EnvironmentDifference",
    "environment_difference",
    "vouched_difference",
]

UNKNOWN = "unknown"
"""Recorded where this machine does not tell: a driver's version, a processor's name."""

LATER_FIELDS = ("cpu", "onednn_isa", "variables", "gpu")
"""Fields that records of earlier versions do not have."""


@dataclass(frozen=True)
class EnvironmentDifference:
    """What two records of an environment say of each other.

    Attributes
    ----------
    changed : tuple of Change
        Values that both sides name, and that differ.
    unnamed : tuple of str
        Dotted keys that only one side names: equality there is not known.
    """

    changed: tuple[Change, ...]
    unnamed: tuple[str, ...]

    def note(self, whose: str) -> str:
        """Return one sentence on what is not known, empty where all is; `whose` record it is."""
        if not self.unnamed:
            return ""
        return (
            f"{whose} does not name {', '.join(self.unnamed)}: equality there is not known, and "
            "bit equality not promised"
        )


def environment_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> EnvironmentDifference:
    """Compare two recorded environments, as :meth:`harness.environment.Environment.as_dict`."""
    unnamed = [key for key in {**old, **new} if (key in old) != (key in new)]
    both = [{k: v for k, v in one.items() if k not in unnamed} for one in (old, new)]
    found = changes(*both)
    silent = {change.key for change in found if _says_nothing(change, unnamed)}
    return EnvironmentDifference(
        tuple(change for change in found if change.key not in silent),
        (*unnamed, *(change.key for change in found if change.key in silent)),
    )


def _says_nothing(change: Change, unnamed: list[str]) -> bool:
    # Versions that did not record the variables wrote "graph" whatever XLA was told to do.
    blind = change.key == "mode" and "variables" in unnamed
    return blind or UNKNOWN in (change.old, change.new)


def vouched_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> EnvironmentDifference:
    """Compare what a file vouches for with what is in force now.

    A field that records have always had must be there: its absence is a change. What earlier
    versions did not name is not known, and no reason to refuse.
    """
    found = environment_difference(old, new)
    absent = [key for key in new if key not in old and key not in LATER_FIELDS]
    missing = (Change(key, ABSENT, new[key]) for key in absent)
    unnamed = tuple(key for key in found.unnamed if key not in absent)
    return EnvironmentDifference((*found.changed, *missing), unnamed)
