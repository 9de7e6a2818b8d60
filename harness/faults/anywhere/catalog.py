"""Every fault that wraps any system, by id; importing it needs no TensorFlow."""

from collections.abc import Mapping
from types import MappingProxyType

from harness.faults.anywhere import checkpoints, evaluations, files, offline, runs, scores
from harness.faults.anywhere.base import FaultAnywhere

__all__ = ["FAULTS_ANYWHERE"]

FAULTS_ANYWHERE: Mapping[str, type[FaultAnywhere]] = MappingProxyType(
    {
        cls.id: cls
        for module in (scores, evaluations, offline, runs, checkpoints, files)
        for name in module.__all__
        for cls in [getattr(module, name)]
    }
)
