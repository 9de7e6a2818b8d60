"""Records of a long ledger, most of which have names and types that were let in before.

A check of every value against its declaration takes longer than all that an audit does with it.
What has the same names with the same types as a record that passed the whole check differs from
it in values alone: those are looked at here, at the speed of C.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import isfinite
from operator import itemgetter
from types import NoneType
from typing import Any

from harness.strict_json import LARGEST

__all__ = ["remember", "take_known"]

_MOST = 1024
"""Shapes that are remembered: of the columns of a row, some are null in some runs."""

_Values = Callable[[Mapping[str, Any]], Sequence[Any]]


@dataclass(frozen=True)
class _Shape:
    """Which values of a record are to be looked at, by their type in JSON."""

    floats: _Values
    ints: _Values
    maps: _Values
    texts: tuple[str, ...]
    own_floats: tuple[str, ...]
    own_ints: tuple[str, ...]
    float_lists: tuple[str, ...]
    text_lists: tuple[str, ...]


_TOLD: Set[Any] = {float, int, str, NoneType, dict, (float,), (str,)}
"""Types of values, and of all elements of a list, that names and types tell."""

_shapes: dict[tuple[Any, ...], _Shape] = {}


def take_known(kind: str, values: dict[str, Any]) -> bool:
    """Return whether a record's values are as declared; if not so, nothing is known of them.

    Lists have become tuples then, and what is equal from record to record lies in memory once.

    Parameters
    ----------
    kind : str
        The record's, as in a ledger.
    values : dict of str to Any
        As JSON has them; changed in place.
    """
    shape = _shapes.get(_names_and_types(kind, values))
    if shape is None or not _are_as_declared(shape, values):
        return False
    for name in shape.texts:
        values[name] = sys.intern(values[name])
    for name in shape.own_floats:
        values[name] = _once(_floats, values[name])
    for name in shape.own_ints:
        values[name] = _once(_ints, values[name])
    for name in shape.float_lists:
        numbers = values[name]
        values[name] = tuple(map(_floats.get, numbers, numbers))
    for name in shape.text_lists:
        values[name] = _once(_texts, tuple(map(sys.intern, values[name])))
    return True


def _are_as_declared(shape: _Shape, values: Mapping[str, Any]) -> bool:
    ints = shape.ints(values)
    return (
        all(map(isfinite, shape.floats(values)))
        and (not ints or (min(ints) >= -LARGEST and max(ints) < LARGEST))
        and all(_are_of(float, values[name]) for name in shape.float_lists)
        and all(all(map(isfinite, values[name])) for name in shape.float_lists)
        and all(_are_of(str, values[name]) for name in shape.text_lists)
        and all(not value or _are_of(str, value.values()) for value in shape.maps(values))
    )


def _are_of(kind: type, values: Iterable[Any]) -> bool:
    return set(map(type, values)) == {kind}


def remember(kind: str, values: Mapping[str, Any]) -> None:
    """Remember the names and types of a record that is as declared."""
    named: dict[Any, list[str]] = {}
    for name, value in values.items():
        named.setdefault(_type_of(value), []).append(name)
    # What lies deeper, and of what type an empty list is, the types here do not tell.
    if not named.keys() <= _TOLD or kind == "run" or len(_shapes) >= _MOST:
        return
    names = {wanted: tuple(named.get(wanted, ())) for wanted in _TOLD}
    _shapes[_names_and_types(kind, values)] = _Shape(
        floats=_getter(names[float]), ints=_getter(names[int]), maps=_getter(names[dict]),
        texts=names[str], own_floats=names[float], own_ints=names[int],
        float_lists=names[(float,)], text_lists=names[(str,)],
    )  # fmt: skip


def _type_of(value: Any) -> Any:
    """Return a value's type; of a list that of its elements; of what is mixed nothing known."""
    if isinstance(value, dict):
        return dict if not value or _are_of(str, value.values()) else None
    if isinstance(value, list):
        kinds = tuple(set(map(type, value)))
        return kinds if len(kinds) == 1 else None
    return type(value)


def _names_and_types(kind: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return (kind, *values, *map(type, values.values()))


def _getter(names: Sequence[str]) -> _Values:
    if len(names) == 1:
        (name,) = names
        return lambda values: (values[name],)
    return itemgetter(*names) if names else lambda _: ()


_floats: dict[Any, Any] = {}
_ints: dict[Any, Any] = {}
_texts: dict[Any, Any] = {}


def _once(known: dict[Any, Any], value: Any) -> Any:
    """Return the equal value that was seen lately, or this one from here on."""
    if len(known) > _MOST:
        known.clear()
    # 0.0 equals -0.0, which is not the same.
    return known.setdefault(value, value) if value else value
