"""What a broken promise shows: expected and found, ready to be laid beside each other.

A check hangs these on its violations (:class:`harness.promises.promise.Violation`). They hold what
was compared and how it is to be read; who draws them is another's matter, and nothing of them is
kept in a gate file or a ledger.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from numpy.typing import NDArray

__all__ = [
    "MOST_ROWS", "Flows", "Frames", "Masks", "Orders", "Row", "Shown", "Values", "Window",
    "Windows", "orders_beside", "values_beside",
]  # fmt: skip

MOST_ROWS = 100
"""Rows that a table of values or of an order keeps."""

_BEFORE = 3
"""Rows of an order that stand before the first one that differs."""

Array = NDArray[Any]
Window = tuple[int, int, int, int]
"""Top, left, height and width, px."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Where in a frame the expected window lies, and where the one that was found.

    Attributes
    ----------
    title : str
    size : (height, width)
        Of the frame, px.
    expected, found : Window or None
        None: not known.
    whole : numpy.ndarray or None
        The frame, shape (H, W, 3), BGR. None: there is none, only its size.
    names : (str, str)
        What the two are called.
    """

    title: str
    size: tuple[int, int]
    expected: Window | None
    found: Window | None
    whole: Array | None = None
    names: tuple[str, str] = ("expected", "found")


@dataclass(frozen=True, eq=False)
class Frames:
    """A frame, or its window, as expected and as found.

    Attributes
    ----------
    title : str
    expected, found : numpy.ndarray
        Shape (H, W, 3): uint8, BGR; or floats of one range for both, whose order of colours is not
        known and which are drawn as RGB.
    valid : numpy.ndarray or None
        Where they are to be compared, (H, W), bool. None: everywhere.
    names : (str, str)
        What the two are called.
    """

    title: str
    expected: Array
    found: Array
    valid: Array | None = None
    names: tuple[str, str] = ("expected", "found")


@dataclass(frozen=True, eq=False)
class Flows:
    """Flow as expected and as found.

    Attributes
    ----------
    title : str
    expected, found : numpy.ndarray or None
        Shape (H, W, 2), px. None: there is none to show.
    valid : numpy.ndarray or None
        Where the expected flow is known, (H, W), bool. None: everywhere.
    label : numpy.ndarray or None
        What both are held against, shape (H, W, 2), px: their errors are shown, and not the
        difference of the two.
    names : (str, str)
        What the two are called.
    """

    title: str
    expected: Array | None
    found: Array | None
    valid: Array | None = None
    label: Array | None = None
    names: tuple[str, str] = ("expected", "found")


@dataclass(frozen=True, eq=False)
class Masks:
    """A mask, (H, W) of bool, as expected and as found.

    Attributes
    ----------
    title : str
    expected, found : numpy.ndarray
    true : str
        What is white.
    """

    title: str
    expected: Array
    found: Array
    true: str = "known flow"


@dataclass(frozen=True)
class Orders:
    """Names in the expected and in the found order, or a stretch of them.

    Attributes
    ----------
    title : str
    expected, found : tuple of (str or None)
        None where a side has come to its end.
    start : int, default 0
        Place of the first row, from 0.
    after : int, default 0
        Rows that are left out after the last one.
    names : (str, str)
        What the two are called.
    differ : bool, default False
        Whether they should differ: equal places are wrong then.
    """

    title: str
    expected: tuple[str | None, ...]
    found: tuple[str | None, ...]
    start: int = 0
    after: int = 0
    names: tuple[str, str] = ("expected", "found")
    differ: bool = False


@dataclass(frozen=True)
class Row:
    """A value as expected and as found; None where there is none.

    Attributes
    ----------
    name : str
        What it is of.
    expected, found : float or None
    wrong : bool
        Whether they differ by more than is allowed; or are equal, where they must not be.
    """

    name: str
    expected: float | None
    found: float | None
    wrong: bool


@dataclass(frozen=True)
class Values:
    """Values as expected and as found, of which some are wrong.

    Attributes
    ----------
    title, unit : str
    rows : tuple of Row
    left_out : int, default 0
        Rows that are not kept.
    names : (str, str)
        What the two are called.
    """

    title: str
    unit: str
    rows: tuple[Row, ...]
    left_out: int = 0
    names: tuple[str, str] = ("expected", "found")


Shown = Windows | Frames | Flows | Masks | Orders | Values


def orders_beside(
    title: str, expected: Iterable[object], found: Iterable[object],
    names: tuple[str, str] = ("expected", "found"), *, differ: bool = False,
) -> Orders:  # fmt: skip
    """Return two orders beside each other, from a little before the first place that differs."""
    pairs = [
        (None if a is _END else str(a), None if b is _END else str(b))
        for a, b in zip_longest(expected, found, fillvalue=_END)
    ]
    first = next((place for place, (a, b) in enumerate(pairs) if a != b), 0)
    start = max(first - _BEFORE, 0) if len(pairs) > MOST_ROWS else 0
    kept = pairs[start : start + MOST_ROWS]
    expected_kept, found_kept = (tuple(pair[side] for pair in kept) for side in (0, 1))
    after = len(pairs) - start - len(kept)
    return Orders(title, expected_kept, found_kept, start, after, names, differ)


_END = object()


def values_beside(
    title: str, unit: str, rows: Sequence[Row], names: tuple[str, str] = ("expected", "found")
) -> Values:
    """Return values beside each other; of too many those that are wrong first."""
    kept = list(rows)
    if len(kept) > MOST_ROWS:
        kept = sorted(kept, key=lambda row: not row.wrong)[:MOST_ROWS]
    return Values(title, unit, tuple(kept), len(rows) - len(kept), names)
