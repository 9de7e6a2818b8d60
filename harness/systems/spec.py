"""Which system, broken by which fault: a plain value that travels to another process."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.systems.protocol import System

__all__ = ["CALL_SECONDS", "SystemSpec", "load_object", "system_factory", "target_of"]

CALL_SECONDS = 600.0
"""Default time limit of one call of a system in a process of its own, s."""

_HOSTED = "harness.systems.hosted:HostedBuiltin"
_FILES = {"edgeflownas": (Path(__file__).parent / "edgeflownas" / "__init__.py", "EdgeFlowNAS")}
"""Short names of adapters that come with the package; they lie beside this file."""


@dataclass(frozen=True)
class SystemSpec:
    """A system under test.

    Attributes
    ----------
    system : str
        ``builtin``, ``edgeflownas``, ``MODULE:CLASS`` or ``FILE.py:CLASS``.
    fault : str
        ``MODULE:CLASS`` of a fault, empty for none. Its optional method ``apply(parts)``
        returns the builtin system's parts, broken; ``wrap(system)`` returns any system,
        wrapped.
    arguments : mapping
        JSON-able keyword arguments of the fault's class.
    root : str
        Folder that the system's class gets as ``root``; empty: it gets none.
    python : str
        Interpreter that the system runs in; empty: this one.
    timeout : float
        Time limit of one call of a system in a process of its own, s.
    """

    system: str = "builtin"
    fault: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""
    python: str = ""
    timeout: float = CALL_SECONDS

    @property
    def foreign(self) -> bool:
        """Whether it runs in a process of its own."""
        return self.system != "builtin" or bool(self.python)

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


def target_of(spec: SystemSpec) -> tuple[str, list[str]]:
    """Return the class that a worker loads, and the folders that it puts on ``sys.path``.

    Raises
    ------
    ValueError
        If the system's name has none of the known forms, or file or root are absent.
    """
    if spec.root and not Path(spec.root).is_dir():
        msg = f"--system-root {spec.root}: expected a folder, found none of that name"
        raise ValueError(msg)
    if spec.system == "builtin":
        return _HOSTED, [str(Path(__file__).parents[2])]
    short = spec.system in _FILES
    place, _, name = spec.system.rpartition(":")
    path = Path(place)
    if short:
        path, name = _FILES[spec.system]
    if not short and path.suffix != ".py":
        if not all(part.isidentifier() for part in (*place.split("."), name)):
            msg = (
                f"--system {spec.system!r}: expected builtin, {', '.join(_FILES)}, MODULE:CLASS "
                "or FILE.py:CLASS"
            )
            raise ValueError(msg)
        return spec.system, [os.getcwd()]  # noqa: PTH109 -- as Python itself would put it
    if not path.is_file():
        msg = f"--system {spec.system!r}: expected a file {path}, found none of that name"
        raise ValueError(msg)
    path = path.resolve()
    return f"{path}:{name}", [] if short else [str(path.parent)]


def system_factory(spec: SystemSpec, shared: Any = None) -> Callable[[], System]:
    """Return a function that makes the system, unopened.

    Parameters
    ----------
    shared : harness.runs.session.CompiledCache or harness.systems.remote.Workers, optional
        Keeps between systems of this process what is costly: the builtin system's compiled
        functions, or the worker process of a foreign one.

    Raises
    ------
    ValueError
        If the system's name has none of the known forms, a fault cannot be imported, or a
        fault of the builtin system's parts is asked for in another process.
    """
    if spec.fault and spec.foreign and spec.system == "builtin":
        msg = (
            f"fault {spec.fault}: a fault of the builtin system's parts is planted in this "
            "process alone; leave out --system-python"
        )
        raise ValueError(msg)
    fault = load_object(spec.fault, "fault")(**spec.arguments) if spec.fault else None
    if spec.foreign:
        make = _foreign(spec, shared)
    else:
        from harness.systems.builtin import BuiltinSystem

        def make() -> System:
            return BuiltinSystem(_parts(fault), shared)

    wrap = getattr(fault, "wrap", None)
    return make if wrap is None else lambda: wrap(make())


def _foreign(spec: SystemSpec, shared: Any) -> Callable[[], System]:
    from harness.systems.remote import RemoteSystem, Workers

    target_of(spec)
    workers = shared if isinstance(shared, Workers) else Workers()
    return lambda: RemoteSystem(workers, spec)


def _parts(fault: Any) -> Any:
    from harness.runs.parts import Parts

    apply = getattr(fault, "apply", None)
    return Parts() if apply is None else apply(Parts())
