"""What each unit of a recalibration is given, seen in a second forward pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.evaluation.evaluator import Evaluator
from harness.supernet.network import RecalNorm, forward

__all__ = ["tapped_inputs"]


class _Tap:
    """A norm that keeps what it is given and normalises as recalibration does."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._norm = RecalNorm(weights)
        self.seen: dict[str, NDArray[np.float32]] = {}

    def __call__(self, unit: str, x: Any) -> Any:
        self.seen[unit] = np.asarray(x)
        return self._norm(unit, x)

    def skipped(self, unit: str) -> Any:
        return self._norm.skipped(unit)


def tapped_inputs(
    evaluator: Evaluator,
    weights: Mapping[str, Any],
    arch: Sequence[int],
    batches: Sequence[NDArray[np.uint8]],
) -> dict[str, tuple[NDArray[np.float32], ...]]:
    """Return each running unit's input in every batch, from an eager forward pass.

    Parameters
    ----------
    batches : sequence of numpy.ndarray
        Frames, each (B, H, W, 6), uint8.
    """
    per_batch = []
    for frames in batches:
        tap = _Tap(weights)
        x = evaluator.parts.frames_to_input(tf.constant(frames))
        forward(evaluator.skeleton, weights, tf.constant(list(arch), tf.int32), x, tap)
        per_batch.append(tap.seen)
    return {unit: tuple(seen[unit] for seen in per_batch) for unit in per_batch[0]}
