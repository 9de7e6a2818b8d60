"""Every fault of the project, by id."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.faults import (
    arithmetic,
    data,
    drawing,
    everywhere,
    geometry,
    gradients,
    handling,
    keeping,
    later_steps,
    loading,
    metric,
    recalibration,
    resuming,
    scoring,
    searching,
    sharing,
    surroundings,
)
from harness.faults.base import Fault

__all__ = ["FAULTS", "fault_path"]

_MODULES = (
    arithmetic, data, drawing, everywhere, geometry, recalibration, gradients, handling, keeping,
    later_steps, loading, metric, resuming, scoring, searching, sharing, surroundings,
)  # fmt: skip

FAULTS: Mapping[str, type[Fault]] = MappingProxyType(
    {
        cls.id: cls
        for module in _MODULES
        for name in module.__all__
        for cls in [getattr(module, name)]
    }
)


def fault_path(fault: type) -> str:
    """Return the ``MODULE:CLASS`` under which a fresh process imports a fault."""
    return f"{fault.__module__}:{fault.__qualname__}"
