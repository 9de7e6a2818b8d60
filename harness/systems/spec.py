"""Which system, broken by which fault: a plain value that travels to another process."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.systems.protocol import System

__all__ = ["SystemSpec", "load_object", "system_factory"]

BUILTIN = "harness.systems.builtin:BuiltinSystem"


@dataclass(frozen=True)
class SystemSpec:
    """A system under test.

    Attributes
    ----------
    system : str
        ``builtin`` or ``MODULE:CLASS``.
    fault : str
        ``MODULE:CLASS`` of a fault, empty for none. Its optional method ``apply(parts)``
        returns the builtin system's parts, broken; ``wrap(system)`` returns any system,
        wrapped.
    arguments : mapping
        JSON-able keyword arguments of the fault's class.
    """

    system: str = "builtin"
    fault: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping of the fields."""
        return asdict(self)


def load_object(path: str, what: str) -> Any:
    """Import ``MODULE:CLASS``.

    Raises
    ------
    ValueError
        If the name is not of that form or cannot be imported; `what` says what it is.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{what} {path!r}: expected MODULE:CLASS that can be imported: {error}"
        raise ValueError(msg) from error


def system_factory(spec: SystemSpec, kit: Any = None) -> Callable[[], System]:
    """Return a function that makes the system, unopened.

    Parameters
    ----------
    kit : harness.systems.kit.Kit, optional
        Keeps the builtin system's compiled functions between systems of this process.

    Raises
    ------
    ValueError
        If system or fault cannot be imported.
    """
    builtin = spec.system == "builtin"
    system = load_object(BUILTIN if builtin else spec.system, "system")
    fault = load_object(spec.fault, "fault")(**spec.arguments) if spec.fault else None

    def make() -> System:
        made = system(_parts(fault), kit) if builtin else system()
        wrap = getattr(fault, "wrap", None)
        return made if wrap is None else wrap(made)  # type: ignore[no-any-return]

    return make


def _parts(fault: Any) -> Any:
    from harness.systems.parts import Parts

    apply = getattr(fault, "apply", None)
    return Parts() if apply is None else apply(Parts())
