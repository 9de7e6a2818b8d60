"""What a net gives on a batch when it normalises by that batch, as training does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.systems.protocol import Arrays, Recalibration, ServedBatch, System

__all__ = ["outputs_of_training", "recalibrations"]


def outputs_of_training(
    system: System, archs: Sequence[str], batch: ServedBatch
) -> dict[str, Sequence[NDArray[Any]]] | None:
    """Return each arch's outputs on a batch, normalised by the batch as training is.

    A system that recalibrates predicts so, because the batch is its recalibration batch
    (decision 0006). One whose recalibration has no effect predicts with the moving statistics;
    it is given the batch's. None if there is nothing to take those from.
    """
    moving = {n: np.array(a) for n, a in system.state().items() if "moving_" in n}
    if not archs:  # which of its nets a step trains is not told
        return None
    if not _by_moving_statistics(system, archs[0], batch, moving):
        return {arch: system.predict(arch, batch) for arch in archs}
    recalibrated, outputs = recalibrations(system, archs), {}
    if recalibrated is None:
        return None
    for arch, recalibration in zip(archs, recalibrated, strict=True):
        system.state({**moving, **_batch_statistics(recalibration, moving)})
        outputs[arch] = system.predict(arch, batch)
    system.state(moving)
    return outputs


def _by_moving_statistics(system: System, arch: str, batch: ServedBatch, moving: Arrays) -> bool:
    """Return whether a system's predictions change with its moving statistics."""
    if not moving:
        return False
    before = system.predict(arch, batch)
    system.state({name: array + np.float32(0.7) for name, array in moving.items()})
    after = system.predict(arch, batch)
    system.state(moving)
    return not all(map(np.array_equal, before, after))


def _batch_statistics(recalibration: Recalibration, moving: Arrays) -> dict[str, NDArray[Any]]:
    """Return mean and variance, divided by N, of each unit's input, as moving statistics."""
    found = {}
    for unit, (inputs, *_) in recalibration.inputs.items():
        values = np.asarray(inputs, np.float64).reshape(-1, inputs.shape[-1])
        found[f"{unit}/moving_mean"] = values.mean(axis=0).astype(np.float32)
        found[f"{unit}/moving_variance"] = values.var(axis=0).astype(np.float32)
    return {name: array for name, array in found.items() if name in moving}


def recalibrations(system: System, archs: Sequence[str]) -> list[Recalibration] | None:
    """Return each arch's statistics and inputs; None of a system that does not recalibrate."""
    if "recalibrate" not in system.describe().can:
        return None
    try:
        return [system.recalibrate(arch, inputs=True) for arch in archs]
    except NotApplicableError:
        return None
