"""Every fault of the project, by id."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.faults import (
    accumulation,
    arch_cycles,
    arithmetic,
    augmenting,
    between,
    beyond_gates,
    clipping,
    data,
    drawing,
    edges,
    everywhere,
    geometry,
    handling,
    inference,
    joint_draws,
    keeping,
    lasting,
    later_steps,
    loading,
    losses,
    metric,
    partial_steps,
    precision,
    recalibration,
    resuming,
    run_logs,
    saving,
    scoring,
    searching,
    sharing,
    small_weights,
    staying,
    surroundings,
    unfollowed_labels,
    unreached,
    unusual_places,
    updating,
)
from harness.faults.anywhere.catalog import FAULTS_ANYWHERE
from harness.faults.base import Fault

__all__ = ["FAULTS"]

_MODULES = (
    arithmetic, data, drawing, augmenting, joint_draws, everywhere, geometry, unfollowed_labels,
    recalibration,
    accumulation, clipping, updating, losses, precision, arch_cycles, partial_steps, handling,
    keeping, saving, run_logs, later_steps, lasting, loading, metric, resuming, scoring, inference,
    searching, sharing, surroundings, edges, small_weights, unreached, beyond_gates, unusual_places,
    staying, between,
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
