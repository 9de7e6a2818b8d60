"""Which system, broken by which fault: a plain value that travels to another process."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CALL_SECONDS", "MACHINE_MIB", "SystemSpec", "target_of"]

CALL_SECONDS = 600.0
"""Default time limit of one call of a system in a process of its own, s."""

MACHINE_MIB = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20)
"""Default limit of the own memory of such a process, MiB: what the machine has."""

_HOSTED = "harness.systems.opening:hosted_factory"
_EDGEFLOWNAS = Path(__file__).parent / "edgeflownas" / "__init__.py"
_FILES = {
    "edgeflownas": (_EDGEFLOWNAS, "EdgeFlowNAS"),
    "edgeflownas-standalone": (_EDGEFLOWNAS, "StandaloneEvaluation"),
    "edgeflownas-v2": (_EDGEFLOWNAS, "EdgeFlowNASV2"),
    "edgeflownas-v3": (_EDGEFLOWNAS, "EdgeFlowNASV3"),
}
"""Short names of adapters that come with the package; they lie beside this file."""


@dataclass(frozen=True)
class SystemSpec:
    """A system under test.

    Attributes
    ----------
    system : str
        ``builtin``, ``edgeflownas``, ``edgeflownas-standalone``, ``edgeflownas-v2``,
        ``edgeflownas-v3``, ``MODULE:CLASS`` or ``FILE.py:CLASS``.
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
    memory_mib : float
        Limit of that process's own memory (anonymous, shared and swapped out), MiB; looked at
        every second of a call.
    """

    system: str = "builtin"
    fault: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""
    python: str = ""
    timeout: float = CALL_SECONDS
    memory_mib: float = MACHINE_MIB

    @property
    def foreign(self) -> bool:
        """Whether it runs in a process of its own."""
        return self.system != "builtin" or bool(self.python)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping of the fields."""
        return asdict(self)


def target_of(spec: SystemSpec) -> tuple[str, list[str]]:
    """Return what a worker loads, and the folders that it puts on ``sys.path``.

    Raises
    ------
    ValueError
        If the system's name has none of the known forms, or file or root are absent.
    """
    if spec.root and not Path(spec.root).is_dir():
        msg = f"--system-root {spec.root}: expected a folder, found none of that name"
        raise ValueError(msg)
    if spec.system == "builtin":
        # Another interpreter has packages of its own: this one's folders would hide them.
        here = [] if spec.python else sys.path  # a fault is imported as in this process
        return _HOSTED, list(dict.fromkeys([*here, str(Path(__file__).parents[2])]))
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
