"""What differs between two checkpoints: whose they are, where they stand, what they hold."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.comparing import ABSENT, Change, changes
from harness.config import field_kinds
from harness.digest import digest_arrays
from harness.training.checkpoint import Checkpoint

__all__ = ["Difference", "ElementDifference", "differences"]

Array = NDArray[Any]


@dataclass(frozen=True)
class ElementDifference:
    """How two arrays of one shape and dtype differ.

    Attributes
    ----------
    number, size : int
        Elements whose bits differ, and all elements.
    largest : float or None
        Largest absolute difference; None where a differing element is not finite.
    index : tuple of int
        Of the first differing element.
    values : pair of str
        That element in both, in the digits of its dtype.
    """

    number: int
    size: int
    largest: float | None
    index: tuple[int, ...]
    values: tuple[str, str]

    def __str__(self) -> str:
        largest = "unbounded" if self.largest is None else f"{self.largest:.6g}"
        return (
            f"{self.number} of {self.size} elements differ, by {largest} at most, first "
            f"{list(self.index)}: {self.values[0]} against {self.values[1]}"
        )


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes
    ----------
    kind : {"identity", "counter", "variable"}
        What it is.
    name : str
        Of the counter or variable, such as ``"previous.archs"``.
    one, other : str
        The values of identity or counter; the digests of a variable.
    detail : str
        The configuration keys that make another identity, where a list of counters differs
        first (`one` and `other` are the values there), or how a variable differs.
    elements : ElementDifference or None
        Of a variable whose shape and dtype are the same on both sides.
    """

    kind: Literal["identity", "counter", "variable"]
    name: str
    one: str
    other: str
    detail: str = ""
    elements: ElementDifference | None = None

    def __str__(self) -> str:
        name = self.name if self.kind == "identity" else f"{self.kind} {self.name}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{name}: {self.one} against {self.other}{detail}"


def differences(one: Checkpoint, other: Checkpoint) -> tuple[Difference, ...]:
    """Return all that differs, in a fixed order: identity, counters, variables by name.

    The wall-clock log row and where a run reads and writes are no part of either.
    """
    return (
        *_identities(one.meta, other.meta),
        *_counters(one.progress, other.progress),
        *_variables(one.arrays, other.arrays),
    )


def _identities(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    first, second = (str(meta.get("identity", "")) for meta in (one, other))
    kinds = field_kinds()
    found = changes(one.get("config", {}), other.get("config", {}))
    changed = [
        f"{change.key}: {change.old!r} -> {change.new!r}"
        for change in sorted(found, key=lambda change: change.key)
        if kinds.get(change.key, "dynamics") == "dynamics"
    ]
    # Not by digest alone: an imported checkpoint has none, a later version's keys change it.
    if first == second and not changed:
        return
    detail = "; ".join(changed) or "no configuration key of the training dynamics differs"
    yield Difference("identity", "identity", first or "none", second or "none", detail)


def _counters(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = (
        {key: value for key, value in progress.items() if key != "row"} for progress in (one, other)
    )
    for change in changes(before, after):
        yield _counter(change)


def _counter(change: Change) -> Difference:
    if not (isinstance(change.old, list) and isinstance(change.new, list)):
        return Difference("counter", change.key, repr(change.old), repr(change.new))
    places = changes(dict(_items(change.old)), dict(_items(change.new)))
    first, detail = places[0], f"first at {places[0].key}, {len(places)} in all"
    return Difference("counter", change.key, repr(first.old), repr(first.new), detail)


def _variables(one: Mapping[str, Array], other: Mapping[str, Array]) -> Iterator[Difference]:
    for name in sorted(one.keys() | other.keys()):
        first, second = one.get(name), other.get(name)
        before, after = (
            repr(ABSENT) if array is None else digest_arrays({name: array})
            for array in (first, second)
        )
        if before == after:
            continue
        if first is None or second is None:
            yield Difference("variable", name, before, after)
        elif (first.dtype, first.shape) != (second.dtype, second.shape):
            detail = f"{first.dtype} {first.shape} against {second.dtype} {second.shape}"
            yield Difference("variable", name, before, after, detail)
        else:
            elements = _element_difference(first, second)
            yield Difference("variable", name, before, after, str(elements), elements)


def _element_difference(one: Array, other: Array) -> ElementDifference:
    """Compare bits, so that 0 and -0 differ, as they do in a digest, and NaN equals itself."""
    flat = [np.ascontiguousarray(array).reshape(-1) for array in (one, other)]
    bits = [array.view(np.uint8).reshape(array.size, -1) for array in flat]
    places = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
    with np.errstate(invalid="ignore"):  # inf - inf
        apart = np.abs(flat[0][places].astype(np.float64) - flat[1][places].astype(np.float64))
    largest = float(apart.max())
    return ElementDifference(
        number=len(places),
        size=one.size,
        largest=largest if math.isfinite(largest) else None,
        index=tuple(int(i) for i in np.unravel_index(places[0], one.shape)),
        values=(str(flat[0][places[0]]), str(flat[1][places[0]])),
    )


def _items(values: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested lists by its place, such as ``[4][2]``."""
    for index, value in enumerate(values):
        if isinstance(value, list):
            yield from _items(value, f"{prefix}[{index}]")
        else:
            yield f"{prefix}[{index}]", value
