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
    unforeseen_scoring,
    unforeseen_training,
)
from harness.faults.anywhere.catalog import FAULTS_ANYWHERE
from harness.faults.base import Fault

__all__ = ["FAULTS"]

_MODULES = (
    arithmetic, data, drawing, everywhere, geometry, recalibration, gradients, handling, keeping,
    later_steps, loading, metric, resuming, scoring, searching, sharing, surroundings,
    unforeseen_scoring, unforeseen_training,
)  # fmt: skip

FAULTS: Mapping[str, type[Fault]] = MappingProxyType(
    {
        cls.id: cls
        for module in _MODULES
        for name in module.__all__
        for cls in [getattr(module, name)]
    }
    | dict(FAULTS_ANYWHERE)
)
