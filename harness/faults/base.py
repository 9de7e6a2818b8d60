"""What a fault is, and two ways to plant one."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from harness.promises.setting import EPOCH_MODES

if TYPE_CHECKING:  # imports TensorFlow, which a fault of any system does without
    from harness.runs.parts import Parts

__all__ = ["Fault", "fault_path", "overriding", "replaced"]


class Fault:
    """A small change that breaks a system the way a real bug did.

    A class of anybody's with these attributes is a fault; it need not inherit. It replaces
    parts of the builtin system (``apply``) or wraps any system (``wrap``), and must import
    under ``MODULE:CLASS`` in a fresh process.

    Attributes
    ----------
    id : str
        Short name.
    family : str
        DATA, GEOM, BN, GRAD, RESUME, METRIC, DETERM, NAN, CACHE, CONFIG, NAS, PARALLEL or
        TRAINCHECK.
    citation : str
        Where the real bug is documented.
    expected : tuple of str
        Ids of the promises that should catch it.
    touches : tuple of str
        Subjects (:data:`harness.promises.registry.SUBJECTS`) whose quick promises it is run
        against besides.
    slow : bool
        Whether ``harness faults --quick`` leaves it out: it takes long, and another one of its
        kind is quicker, or needs a higher tier.
    modes : tuple of str
        Values of ``train.epoch_mode`` under which it is run: both, unless it is about one of
        them, as one of partial batches is, or takes a minute.
    any_system : bool
        Whether it wraps any system, by the protocol alone
        (:class:`harness.faults.anywhere.base.FaultAnywhere`).
    """

    id: ClassVar[str] = ""
    family: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    expected: ClassVar[tuple[str, ...]] = ()
    touches: ClassVar[tuple[str, ...]] = ()
    slow: ClassVar[bool] = False
    modes: ClassVar[tuple[str, ...]] = EPOCH_MODES
    any_system: ClassVar[bool] = False

    def apply(self, parts: "Parts") -> "Parts":
        """Return the builtin system's parts, broken."""
        return parts

    def wrap(self, system: Any) -> Any:
        """Return a system, broken."""
        return system


def replaced(parts: "Parts", section: str, **changes: Any) -> "Parts":
    """Return parts with functions of one section (data, train, evaluation) replaced."""
    broken = dataclasses.replace(getattr(parts, section), **changes)
    return dataclasses.replace(parts, **{section: broken})


class _Overriding:
    """A system of which some calls go to functions that get the system first."""

    def __init__(self, inner: Any, calls: Mapping[str, Callable[..., Any]]) -> None:
        self._inner, self._calls = inner, calls

    def __getattr__(self, name: str) -> Any:
        if name in self._calls:
            return partial(self._calls[name], self._inner)
        if name == "state_digests" and "state" in self._calls:
            msg = "digests of the state are made from what state() answers"
            raise AttributeError(msg)
        return getattr(self._inner, name)


def overriding(system: Any, **calls: Callable[..., Any]) -> Any:
    """Return a system whose named calls are answered by ``function(system, ...)``."""
    return _Overriding(system, calls)


def fault_path(fault: type) -> str:
    """Return the ``MODULE:CLASS`` under which a fresh process imports a fault."""
    return f"{fault.__module__}:{fault.__qualname__}"
