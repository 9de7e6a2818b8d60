"""Values that were read as JSON, held against the declaration of a dataclass.

Every name that has no default is there, no other is, and every value is of the declared type at
any depth. Nothing is converted: ``true`` is no number, ``1.0`` no whole one, and ``"1"`` neither.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from harness.strict_json import LARGEST
from harness.wording import quoted

__all__ = ["check_declared", "check_type"]

_Check = Callable[[Any, str], None]
"""(value, where it stands); raises a ValueError in one line."""

_NAMES: Mapping[Any, str] = {
    int: "a whole number", float: "a finite number", str: "a text", bool: "true or false",
    NoneType: "null",
}  # fmt: skip


def check_declared(cls: type, values: Any, where: str, *, every: bool = False) -> None:
    """Refuse what is not as a dataclass declares it.

    Parameters
    ----------
    cls : type
        A dataclass.
    values : mapping of str to Any
        Field by field, as JSON has them; a tuple is a list there.
    where : str
        What the message calls it.
    every : bool, default False
        Want fields that have a default as well: whoever wrote the values wrote them all.

    Raises
    ------
    ValueError
        Naming the field, what it is declared to be, and what was found.
    """
    _of_dataclass(cls)(values, where)
    absent = [item.name for item in fields(cls) if every and item.name not in values]
    if absent:
        msg = f"{where}: no {', '.join(absent)}"
        raise ValueError(msg)


def check_type(declared: Any, value: Any, where: str) -> None:
    """Refuse a value that is not of a type, as :func:`check_declared` does."""
    _check(declared)(value, where)


@cache
def _of_dataclass(cls: type) -> _Check:
    hints = get_type_hints(cls)
    checks = {item.name: _check(hints[item.name]) for item in fields(cls)}
    required = [
        item.name
        for item in fields(cls)
        if item.default is MISSING and item.default_factory is MISSING
    ]

    def check(values: Any, where: str) -> None:
        if not isinstance(values, Mapping):
            raise _wrong(where, "an object", values)
        absent = [name for name in required if name not in values]
        if absent:
            msg = f"{where}: no {', '.join(absent)}"
            raise ValueError(msg)
        for name, value in values.items():
            if name not in checks:
                msg = f"{where}: {quoted(name)} is no field of it"
                raise ValueError(msg)
            checks[name](value, f"{where}.{name}")

    return check


@cache
def _check(declared: Any) -> _Check:
    origin, inner = get_origin(declared), get_args(declared)
    if declared is Any:
        return _of_json
    if origin in (Union, UnionType):
        return _of_union(inner)
    if origin is Literal:
        return _of_literal(inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return _of_items(inner[0])
    if origin is tuple:
        return _of_tuple(inner)
    if origin is list:
        return _of_items(inner[0])
    if origin is not None and issubclass(origin, Mapping):
        return _of_mapping(inner[1])
    if isinstance(declared, type) and is_dataclass(declared):
        return _of_dataclass(declared)
    return _of_scalar(declared)


def _wrong(where: str, expected: str, found: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, found {quoted(found, 60)}")


def _fits(kind: Any, value: Any) -> bool:
    found = type(value)  # a bool is an int to isinstance
    if kind is float:
        return (found is float and math.isfinite(value)) or (found is int and _in_range(value))
    return found is kind and (kind is not int or _in_range(value))


def _in_range(value: int) -> bool:
    return -LARGEST <= value < LARGEST


def _of_scalar(kind: Any) -> _Check:
    def check(value: Any, where: str) -> None:
        if not _fits(kind, value):
            raise _wrong(where, _NAMES[kind], value)

    return check


def _of_union(kinds: tuple[Any, ...]) -> _Check:
    checks = [_check(kind) for kind in kinds]
    told = " or ".join(_NAMES.get(kind, str(kind)) for kind in kinds)

    def check(value: Any, where: str) -> None:
        for one in checks:
            try:
                one(value, where)
            except ValueError:
                continue
            return
        raise _wrong(where, told, value)

    return check


def _of_literal(known: tuple[Any, ...]) -> _Check:
    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(one) and value == one for one in known):
            raise _wrong(where, f"one of {', '.join(map(str, known))}", value)

    return check


def _of_items(kind: Any) -> _Check:
    item = _check(kind)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, "a list", value)
        # An epoch has tens of thousands of norms: at the speed of C where all is as it should be.
        if kind is float and set(map(type, value)) <= {float} and all(map(math.isfinite, value)):
            return
        if kind is str and set(map(type, value)) <= {str}:
            return
        for number, one in enumerate(value):
            item(one, f"{where}[{number}]")

    return check


def _of_tuple(kinds: tuple[Any, ...]) -> _Check:
    checks = [_check(kind) for kind in kinds]

    def check(value: Any, where: str) -> None:
        if not isinstance(value, (list, tuple)) or len(value) != len(checks):
            raise _wrong(where, f"a list of {len(checks)}", value)
        for number, (one, item) in enumerate(zip(value, checks, strict=True)):
            item(one, f"{where}[{number}]")

    return check


def _of_mapping(kind: Any) -> _Check:
    item = _check(kind)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(where, "an object", value)
        for key, one in value.items():
            if type(key) is not str:
                raise _wrong(where, "texts as names", key)
            item(one, f"{where}.{quoted(key, 40)[1:-1]}")

    return check


def _of_json(value: Any, where: str) -> None:
    """Take any value that JSON can say."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            _of_json(one, f"{where}.{quoted(key, 40)[1:-1]}")
    elif isinstance(value, (list, tuple)):
        for number, one in enumerate(value):
            _of_json(one, f"{where}[{number}]")
    elif isinstance(value, int) and not isinstance(value, bool):
        if not _in_range(value):
            raise _wrong(where, "a number within 64 bits", value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _wrong(where, "a finite number", value)
