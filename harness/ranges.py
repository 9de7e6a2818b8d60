"""Numbers that somebody types: one way to read them, each within a range that is declared."""

import math
import re
from dataclasses import dataclass

from harness.errors import InputError
from harness.wording import quoted

__all__ = ["COUNT", "MEMORY", "SECONDS", "SEED", "SIDE", "Range"]

# ASCII digits alone: `int` takes those of every script, underscores and blanks.
_WHOLE = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST = 40
"""Characters; Python refuses to read 5,000 digits, and no range needs them."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`.

    Attributes
    ----------
    low, high : int or float
        Both are within it, `low` not where `above` is set.
    unit : str
        What is counted or measured, for people; empty for a bare number.
    whole : bool
        Whether only whole numbers are.
    above : bool
        Whether numbers must be above `low`.
    """

    low: float
    high: float
    unit: str = ""
    whole: bool = True
    above: bool = False

    def __str__(self) -> str:
        """Return the range for people: ``1 to 1000 batches``."""
        low = f"above {self.low:g}, up to" if self.above else f"{_plain(self.low)} to"
        return f"{low} {_plain(self.high)} {self.unit}".rstrip()

    def number(self, text: str) -> float:
        """Return the number that a text holds.

        Raises
        ------
        InputError
            If it is none, or out of the range; says what was expected and found.
        """
        form = _WHOLE if self.whole else _REAL
        found = math.nan
        if len(text) <= _LONGEST and form.fullmatch(text):
            found = int(text) if self.whole else float(text)
        low_enough = found > self.low if self.above else found >= self.low
        if not (low_enough and found <= self.high):  # not a number is neither
            kind = "a whole number" if self.whole else "a number"
            msg = f"expected {kind}, {self}, got {quoted(text)}"
            raise InputError(msg)
        return found

    def __call__(self, text: str) -> int:
        """Return a whole number as :meth:`number` does."""
        return int(self.number(text))


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


COUNT = 10**9
"""More steps, epochs or batches than a machine serves."""
SEED = Range(0, 2**63)
SIDE = Range(16, 8192, "px")
MEMORY = Range(0, 1e9, "MiB", whole=False, above=True)
SECONDS = Range(0, 1e9, "s", whole=False, above=True)
"""A time limit; waiting for longer overflows a clock."""
