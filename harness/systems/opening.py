"""Making a system, unopened: in this process, or as a stand-in for one of a worker process."""

import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from harness.config import parse_config
from harness.digest import state_digests
from harness.environment import apply_environment
from harness.systems.process import Worker
from harness.systems.protocol import System
from harness.systems.remote import HostedSystem, RemoteSystem, Workers
from harness.systems.spec import SystemSpec, target_of

if TYPE_CHECKING:
    from harness.runs.session import CompiledCache

__all__ = ["hosted_factory", "load_object", "remote_factory", "system_factory"]


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
        fault of the builtin system's parts is asked for under another interpreter.
    """
    if spec.foreign:
        workers = shared if isinstance(shared, Workers) else Workers()
        return remote_factory(spec, partial(workers.of, spec))
    # Imported here: it brings TensorFlow, before which the environment must be applied.
    from harness.systems.builtin import BuiltinSystem

    fault = _fault(spec)
    return _wrapped(lambda: BuiltinSystem(_parts(fault), shared), fault)


def remote_factory(spec: SystemSpec, lend: Callable[[], Worker]) -> Callable[[], System]:
    """Return a function that makes stand-ins for systems of a worker process.

    A fault of the builtin system's parts is planted in that process, any other here, around the
    stand-in.

    Parameters
    ----------
    lend : callable
        Returns the process, which has loaded the system; asked before each call.

    Raises
    ------
    ValueError
        As :func:`system_factory`.
    """
    target_of(spec)
    if spec.system != "builtin":
        return _wrapped(partial(RemoteSystem, lend), _fault(spec))
    if spec.fault and spec.foreign:
        fault = _fault(spec)
        if getattr(fault, "any_system", False):
            return _wrapped(partial(HostedSystem, lend), fault)
        msg = (
            f"fault {spec.fault}: a fault of the builtin system's parts is planted under this "
            "interpreter alone; leave out --system-python"
        )
        raise ValueError(msg)
    return partial(HostedSystem, lend)


def hosted_factory(
    *, fault: str, arguments: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Callable[[], System]:
    """Return a function that makes builtin systems of this process, for the one that asks it.

    What they compile is kept for every later system of this process. Only a worker process
    calls this.

    Parameters
    ----------
    fault, arguments
        As of :class:`SystemSpec`.
    config : mapping or None
        Configuration tree whose environment is applied before TensorFlow starts. None: that
        of the first configuration that a system is opened with.
    """
    if config is not None:
        apply_environment(parse_config(config))
    make = system_factory(SystemSpec("builtin", fault, arguments), _kept())
    return lambda: _Hosted(make())


@cache
def _kept() -> "CompiledCache":
    from harness.runs.session import CompiledCache

    return CompiledCache()


class _Hosted:
    """A system that answers with digests of its state too, so that no array is sent."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def state_digests(self) -> dict[str, str]:
        return state_digests(self._system.state())


def _fault(spec: SystemSpec) -> Any:
    return load_object(spec.fault, "fault")(**spec.arguments) if spec.fault else None


def _wrapped(make: Callable[[], System], fault: Any) -> Callable[[], System]:
    wrap = getattr(fault, "wrap", None)
    return make if wrap is None else lambda: wrap(make())


def _parts(fault: Any) -> Any:
    from harness.runs.parts import Parts

    apply = getattr(fault, "apply", None)
    return Parts() if apply is None else apply(Parts())
