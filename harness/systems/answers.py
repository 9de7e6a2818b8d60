"""What a foreign system answered, held against the records that the harness works with.

The records' own type hints are the specification: a field that is unknown, absent or of
another type, dtype or shape is an error that names the call and the field.
"""

import dataclasses
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records.records import NOT_LOGGED, RECORDS, EpochRecord
from harness.systems.declaring import wrong_declarations
from harness.systems.protocol import (
    INITIALIZERS,
    METHODS,
    PRETRAINED,
    PROTOCOL,
    Description,
    Evaluation,
    Recalibration,
    ServedBatch,
    Training,
    TrainingSample,
)

__all__ = ["AnswerError", "Fields", "answer"]


class AnswerError(TypeError):
    """A system's answer is not what the protocol says; names call, field, found, expected."""


class Fields(dict[str, Any]):
    """Fields of an object of a foreign process; `of` is the name of its class."""

    of: str = ""

    @classmethod
    def named(cls, of: str, fields: Mapping[str, Any]) -> "Fields":
        """Return fields of an object of class `of`."""
        found = cls(fields)
        found.of = of
        return found


_RANKS = {"frames": 4, "flow": 4, "valid": 3}
_CHANNELS = {"frames": 6, "flow": 2}
_EPSILON = 1e-4
_KINDS = {cls: kind for kind, cls in RECORDS.items()}
_RETURNED: Mapping[str, Any] = {
    "describe": Description,
    "batches": Sequence[ServedBatch],
    "draws": Mapping[str, NDArray[Any]],
    "train": Training,
    "evaluate": Evaluation,
    "evaluate_offline": Evaluation,
    "recalibrate": Recalibration,
    "predict": Sequence[NDArray[np.float32]],
    "score": NDArray[np.float64],
    "state": Mapping[str, NDArray[Any]],
    "state_digests": Mapping[str, str],
    "restore": Sequence[str] | None,
    "training_samples": Sequence[TrainingSample],
}


def answer(call: str, value: Any) -> Any:
    """Return a call's answer as the record, or arrays, that the protocol promises.

    Parameters
    ----------
    call : str
        Name of the protocol call.
    value : any
        Mappings, sequences, numbers and arrays, as they came.

    Raises
    ------
    AnswerError
        If anything in it is not as promised.
    """
    if call not in _RETURNED:
        return None
    found = _convert(_RETURNED[call], value, f"{call}()")
    _CHECKS.get(call, _nothing)(found, f"{call}()")
    return found


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return a value as its type hint says."""
    if hint is Any:
        return value
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _one_of(inner, value, where)
    if origin is np.ndarray:
        return _array(inner[1], value, where)
    if origin is tuple and inner[-1] is not Ellipsis:
        items = _items(value, where, f"{len(inner)} items", len(inner))
        pairs = enumerate(zip(inner, items, strict=True))
        return tuple(_convert(one, item, f"{where}[{i}]") for i, (one, item) in pairs)
    if origin in (tuple, Sequence, frozenset, AbstractSet):
        items = _items(value, where, f"a list of {_named(inner[0])}")
        found = [_convert(inner[0], item, f"{where}[{i}]") for i, item in enumerate(items)]
        return {tuple: tuple, frozenset: frozenset}.get(origin, list)(found)
    if origin in (Mapping, dict):
        if not isinstance(value, Mapping):
            raise _wrong(where, "names to values", value)
        return {key: _convert(inner[1], value[key], f"{where}[{key!r}]") for key in value}
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast("type[Any]", hint), value, where)
    return _scalar(hint, value, where)


def _one_of(hints: Sequence[Any], value: Any, where: str) -> Any:
    """Return the value as one of several types; records are told apart by their kind."""
    if value is None and type(None) in hints:
        return None
    rest = [hint for hint in hints if hint is not type(None)]
    if len(rest) == 1 and dataclasses.is_dataclass(rest[0]):
        return _convert(rest[0], value, where)
    if all(dataclasses.is_dataclass(hint) for hint in rest):
        return _record(_record_type(value, where), value, where)
    for hint in rest:
        try:
            return _convert(hint, value, where)
        except AnswerError:
            continue
    raise _wrong(where, " or ".join(_named(hint) for hint in hints), value)


def _record_type(value: Any, where: str) -> Any:
    if isinstance(value, Fields) and value.of in {cls.__name__ for cls in _KINDS}:
        return next(cls for cls in _KINDS if cls.__name__ == value.of)
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in RECORDS:
        expected = f"a record with a kind, one of {', '.join(RECORDS)}"
        raise _wrong(where, expected, value if kind is None else kind)
    return RECORDS[kind]


def _record(cls: type[Any], value: Any, where: str) -> Any:
    """Return a frozen dataclass of a mapping of its fields."""
    if not isinstance(value, Mapping):
        raise _wrong(where, f"the fields of {cls.__name__}", value)
    given = dict(value)
    if cls in _KINDS:
        if given.pop("kind", _KINDS[cls]) != _KINDS[cls]:
            raise _wrong(f"{where}.kind", repr(_KINDS[cls]), value["kind"])
        # These two have an attempt of their own.
        if _KINDS[cls] not in ("run", "resume"):
            given.pop("attempt", None)  # the ledger's, not the record's own
    hints, fields = _hints(cls), dataclasses.fields(cls)
    unknown = sorted(given.keys() - hints.keys())
    if unknown:
        msg = f"{where}: unknown field {unknown[0]!r}, expected only {', '.join(hints)}"
        raise AnswerError(msg)
    needed = [
        f.name for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    absent = [name for name in needed if name not in given]
    if absent:
        msg = f"{where}: no field {absent[0]!r}, expected {', '.join(needed)}"
        raise AnswerError(msg)
    # A log may lack any column, one of numbers alone too.
    silent = _not_logged(given) if cls is EpochRecord else set()
    return cls(
        **{
            name: None if value is None and name in silent
            else _convert(hints[name], value, f"{where}.{name}")
            for name, value in given.items()
        }
    )  # fmt: skip


def _not_logged(row: Mapping[str, Any]) -> set[str]:
    """Return the columns that a row says not to have."""
    reasons = row.get("reasons")
    said = reasons.items() if isinstance(reasons, Mapping) else ()
    return {name for name, reason in said if reason == NOT_LOGGED} - {"epoch"}


def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _items(value: Any, where: str, expected: str, count: int | None = None) -> list[Any]:
    if isinstance(value, np.ndarray) and value.ndim >= 1:
        value = list(value)
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        raise _wrong(where, expected, value)
    return list(value)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    accepted = (int, float) if hint is float else (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise _wrong(where, _named(hint), value)
    try:
        return hint(value)
    except OverflowError:
        raise _wrong(where, f"{_named(hint)} of at most 1.8e308", value) from None


def _array(dtype_hint: Any, value: Any, where: str) -> NDArray[Any]:
    """Return an array of the hinted dtype; another byte order is no other dtype."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        raise _wrong(where, "an array", value)
    (wanted,) = typing.get_args(dtype_hint) or (Any,)
    if wanted is Any:
        if value.dtype.kind not in "biuf":
            raise _wrong(where, "an array of numbers or bool", value)
        return value
    dtype = np.dtype(wanted)
    if (value.dtype.kind, value.dtype.itemsize) != (dtype.kind, dtype.itemsize):
        raise _wrong(where, f"an array of {dtype}", value)
    return value.astype(dtype, copy=False)


def _wrong(where: str, expected: str, found: Any) -> AnswerError:
    return AnswerError(f"{where}: expected {expected}, found {_shown(found)}")


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, Fields):
        return f"an object {value.of} with {', '.join(value) or 'no field'}"
    text = _SHORT.repr(value)
    return f"{type(value).__name__} {text if len(text) < 80 else text[:77] + '...'}"


_SHORT = reprlib.Repr()  # looks at a few items, however many there are
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 76
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20


def _named(hint: Any) -> str:
    if hint is type(None):
        return "null"
    return str(getattr(hint, "__name__", hint))


def _nothing(value: Any, where: str) -> None:
    """Check no more than the types."""


def _description(found: Description, where: str) -> None:
    if not 1 <= found.protocol <= PROTOCOL:
        expected = f"1 to {PROTOCOL}: this harness speaks no later version, install one that does"
        raise _wrong(f"{where}.protocol", expected, found.protocol)
    unknown = sorted(found.can - set(METHODS))
    if unknown:
        msg = f"{where}.can: unknown call {unknown[0]!r}, expected some of {', '.join(METHODS)}"
        raise AnswerError(msg)
    shape = [len(options) for options in found.options]
    if found.option_arrays and [len(options) for options in found.option_arrays] != shape:
        expected = f"a list for each option that options names, {shape} of each block"
        counts = [len(options) for options in found.option_arrays]
        raise _wrong(f"{where}.option_arrays", expected, counts)
    if found.initializer and found.initializer not in (*INITIALIZERS, PRETRAINED):
        known = ", ".join((*INITIALIZERS, PRETRAINED))
        expected = f"one of {known}, or nothing where it is another"
        raise _wrong(f"{where}.initializer", expected, found.initializer)
    if found.drop_last and found.whole_batches:
        expected = "false where whole_batches is true: a last batch is left out, or it is filled"
        raise _wrong(f"{where}.drop_last", expected, found.drop_last)
    for name, wanted, wrong in wrong_declarations(found):
        raise _wrong(f"{where}.{name}", wanted, wrong)
    if found.stride < 1:
        raise _wrong(f"{where}.stride", "a number of px, at least 1", found.stride)
    if not 0 <= found.epe_epsilon <= _EPSILON:
        expected = f"0 to {_EPSILON:g} px^2, which gives an exact prediction at most 0.01 px"
        raise _wrong(f"{where}.epe_epsilon", expected, found.epe_epsilon)


def _training(found: Training, where: str) -> None:
    for index, row in enumerate(found.epochs):
        for name, reason in row.reasons.items():
            if reason == NOT_LOGGED and getattr(row, name, None) is not None:
                place = f"{where}.epochs[{index}].{name}"
                raise _wrong(place, f"null where the reason is {reason!r}", getattr(row, name))
    if found.samples and len(found.samples) != len(found.steps):
        expected = f"the digests of each of {len(found.steps)} steps"
        raise _wrong(f"{where}.samples", expected, list(found.samples))
    if found.modes and len(found.modes) != len(found.steps):
        expected = f"the modes of each of {len(found.steps)} steps"
        raise _wrong(f"{where}.modes", expected, list(found.modes))


def _batches(found: Sequence[ServedBatch], where: str) -> None:
    for index, batch in enumerate(found):
        size, place = len(batch.ids), f"{where}[{index}]"
        if len(batch.windows) != size:
            raise _wrong(f"{place}.windows", f"one for each of {size} ids", list(batch.windows))
        area = batch.frames.shape[1:3]
        for name, rank in _RANKS.items():
            shape = (size, *area, *((_CHANNELS[name],) if rank == 4 else ()))
            if getattr(batch, name).shape != shape:
                expected = f"shape {shape} for {size} ids"
                raise _wrong(f"{place}.{name}", expected, getattr(batch, name))


def _samples(found: Sequence[TrainingSample], where: str) -> None:
    for index, one in enumerate(found):
        sides = one.valid.shape
        for name, shape in (("first", 3), ("second", 3), ("flow", 2)):
            if len(sides) != 2 or getattr(one, name).shape != (*sides, shape):
                expected = f"shape (H, W, {shape}) where valid has (H, W)"
                raise _wrong(f"{where}[{index}].{name}", expected, getattr(one, name))


def _evaluation(found: Evaluation, where: str) -> None:
    if len(found.per_arch_epe) != len(found.archs):
        expected = f"a score for each of {len(found.archs)} archs"
        raise _wrong(f"{where}.per_arch_epe", expected, list(found.per_arch_epe))
    if set(found.per_sample) != set(found.archs):
        expected = f"the archs {', '.join(found.archs)}"
        raise _wrong(f"{where}.per_sample", expected, list(found.per_sample))
    most = max(map(len, found.per_sample.values()), default=0)
    if found.pixels and (len(found.pixels) != most or min(found.pixels) < 0):
        expected = f"a count for each of {most} samples, 0 or more"
        raise _wrong(f"{where}.pixels", expected, list(found.pixels))


def _outputs(found: Sequence[NDArray[np.float32]], where: str) -> None:
    for index, output in enumerate(found):
        if output.ndim != 4:
            raise _wrong(f"{where}[{index}]", "four axes, (B, h, w, channels)", output)


def _scores(found: NDArray[np.float64], where: str) -> None:
    if found.ndim != 1:
        raise _wrong(where, "one axis, a score per sample", found)


_CHECKS: Mapping[str, Any] = {
    "describe": _description,
    "batches": _batches,
    "train": _training,
    "evaluate": _evaluation,
    "evaluate_offline": _evaluation,
    "predict": _outputs,
    "score": _scores,
    "training_samples": _samples,
}
