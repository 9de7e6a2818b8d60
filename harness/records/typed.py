"""Records of a long ledger at the speed of C: JSON, names, types and bounds in one pass.

A check of every value by :mod:`harness.records.declared` takes longer than all that an audit does
with it. msgspec is given the same declarations and refuses the same, in fewer words: what it does
not take is read again there, where the message is made.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache, reduce
from operator import attrgetter, or_
from sys import intern
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from harness.records.records import RECORDS, NormsRecord, Record, RunRecord
from harness.strict_json import LARGEST

__all__ = ["TypedReader"]

_Whole = Annotated[int, msgspec.Meta(ge=-LARGEST, le=LARGEST - 1)]
_Attempt = Annotated[int, msgspec.Meta(ge=1, le=LARGEST - 1)]

_MOST = 1024
"""Values of each kind that are remembered."""


class TypedReader:
    """Reads lines that are as declared, without a word on any other."""

    def __init__(self) -> None:
        seen = _Seen()
        self._made = {form: _Made(cls, seen) for form, cls in _forms().items()}
        self._decode = _decoder().decode

    def read(self, body: bytes) -> tuple[Record, int | None] | None:
        """Return the record of a line and the attempt that it names; None: it is to be read again.

        Parameters
        ----------
        body : bytes
            JSON, without the line's chain.
        """
        try:
            found: Any = self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        attempt = found.attempt
        return self._made[type(found)](found), None if attempt is msgspec.UNSET else attempt


@dataclass(frozen=True)
class _Seen:
    """Values that were read lately: what is equal from record to record lies in memory once.

    Numbers of one type each: 3 equals 3.0, which is not the same.
    """

    floats: dict[Any, Any] = field(default_factory=dict)
    ints: dict[Any, Any] = field(default_factory=dict)
    lists: dict[Any, Any] = field(default_factory=dict)

    def forget(self) -> None:
        """Keep it small."""
        for known in (self.floats, self.ints, self.lists):
            if len(known) > _MOST:
                known.clear()


class _Made:
    """Makes records of one class of what msgspec has read."""

    def __init__(self, cls: type[Record], seen: _Seen) -> None:
        names = [item.name for item in fields(cls)]
        declared = get_type_hints(cls)
        hints = [declared[name] for name in names]
        self._class, self._seen = cls, seen
        self._values = attrgetter(*names)
        self._texts = _places(hints, str)
        self._floats, self._ints = _places(hints, float), _places(hints, int)
        self._text_lists = _places(hints, tuple[str, ...])
        self._float_lists = [] if cls is NormsRecord else _places(hints, tuple[float, ...])

    def __call__(self, found: Any) -> Record:
        values, seen = list(self._values(found)), self._seen
        seen.forget()
        # 0.0 equals -0.0, which is not the same, and 3.0 a whole 3; and what is missing is None.
        for place in self._floats:
            value = values[place]
            if type(value) is float and value:
                values[place] = seen.floats.setdefault(value, value)
        for place in self._ints:
            if value := values[place]:
                values[place] = seen.ints.setdefault(value, value)
        for place in self._texts:
            if values[place]:
                values[place] = intern(values[place])
        for place in self._float_lists:
            given = values[place]
            if int not in map(type, given):
                given = tuple(map(seen.floats.get, given, given))
            values[place] = tuple(given)
        for place in self._text_lists:
            texts = tuple(map(intern, values[place]))
            values[place] = seen.lists.setdefault(texts, texts)
        return self._class(*values)


def _places(hints: Sequence[Any], kind: Any) -> list[int]:
    return [place for place, hint in enumerate(hints) if hint in (kind, kind | None)]


# Declarations do not change while a process runs, and a gate opens sixty ledgers.
@cache
def _forms() -> dict[type[msgspec.Struct], type[Record]]:
    # An opening is of any depth, and there are few.
    return {_form(kind, cls): cls for kind, cls in RECORDS.items() if cls is not RunRecord}


@cache
def _decoder() -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(reduce(or_, _forms()))


def _form(kind: str, cls: type[Record]) -> type[msgspec.Struct]:
    """Return a record's declaration as msgspec's, with the attempt that a ledger adds."""
    hints = get_type_hints(cls)
    entries = [_entry(item, hints[item.name]) for item in fields(cls)]
    if "attempt" not in hints:
        entries.append(("attempt", _Attempt | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(
        cls.__name__, entries, tag_field="kind", tag=kind, forbid_unknown_fields=True,
        kw_only=True, gc=False,
    )  # fmt: skip


def _entry(item: "Field[Any]", hint: Any) -> Any:
    declared = _Attempt if item.name == "attempt" else _bounded(hint)
    if item.default is not MISSING:
        return item.name, declared, item.default
    if item.default_factory is not MISSING:
        return item.name, declared, msgspec.field(default_factory=item.default_factory)
    return item.name, declared


def _bounded(hint: Any) -> Any:
    """Return a type whose whole numbers have the bounds that they have in a ledger."""
    if hint is int:
        return _Whole
    if hint is float:  # a whole number stays one
        return float | _Whole
    origin, inner = get_origin(hint), tuple(map(_bounded, get_args(hint)))
    if not inner:
        return hint
    return (
        origin[inner]
        if isinstance(origin, type) and origin in (tuple, dict)
        else (reduce(or_, inner))
    )
