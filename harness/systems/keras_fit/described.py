"""What a Keras adapter says of itself: of its fields, and of the methods that it has written."""

from __future__ import annotations

from typing import Any

from harness.systems.keras_fit.variables import slots_of

__all__ = ["description", "is_written"]

_FIELDS = (
    "name", "version", "heads", "slots", "options", "option_arrays", "settings", "stride",
    "whole_batches",
)  # fmt: skip
_DECLARED = (
    "update", "space", "mean", "devices", "finite_by_adapter", "loss", "schedule",
    "statistics_kept", "clip", "frozen",
)  # fmt: skip
_OPENS = {
    "train": ("training",), "save": ("save",), "restore": ("restore",),
    "batches": ("serve",), "predict": ("inputs", "flow"), "score": ("epe",),
}  # fmt: skip


def is_written(system: Any, base: type, name: str) -> bool:
    """Say whether the class of an adapter has a method that its base has not, or has otherwise."""
    own = getattr(type(system), name, None)
    return own is not None and own is not getattr(base, name, None)


def description(system: Any, base: type) -> dict[str, Any]:
    """Return the fields of an adapter, what it declares, and the calls that it offers.

    Parameters
    ----------
    base : type
        Whose methods are not the adapter's own.

    Raises
    ------
    ValueError
        If ``slot_kinds`` are of an optimizer that is not as they say.
    """
    written = [c for c, names in _OPENS.items() if all(is_written(system, base, n) for n in names)]
    declared = {name: getattr(system, name, None) for name in _DECLARED}
    return {
        "can": ["describe", "open", "evaluate", "state", "close", *written],
        "supports": list(system.supports),
        **{field: getattr(system, field) for field in _FIELDS},
        # A method of that name, such as loss(), is the trainer's own.
        **{n: value for n, value in declared.items() if value is not None and not callable(value)},
        **_slots(system),
    }


def _slots(system: Any) -> dict[str, Any]:
    """Return the slots of these kinds, and Adam as Keras has it, whose epsilon is its own."""
    if not system.slot_kinds:
        return {}
    rule = getattr(system, "update", None) or {"rule": "adam", "eps": 1e-7}
    if rule["rule"] == "sgd" and rule.get("momentum"):
        msg = "slot_kinds of SGD, expected none: Keras's buffer has the rate in it"
        raise ValueError(f"{msg}; declare update = {{'rule': 'own'}}, and no slot_kinds")
    named = {} if system.model is None else {"slots": slots_of(system.model, system.slot_kinds)}
    return {**named, "update": rule}
