"""The protocol between the harness and a system under test.

Nothing else is asked of a system. ``docs/your-trainer.md`` says what each call must do
and return, for somebody who brings a trainer of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.digest import state_digests
from harness.evidence.observations import (
    Arrays,
    Description,
    Evaluation,
    Recalibration,
    ServedBatch,
    Training,
)

__all__ = ["METHODS", "Role", "System", "digests_of"]

Role = Literal["train", "eval", "recal"]

METHODS = (
    "describe", "open", "batches", "train", "evaluate", "recalibrate", "predict", "score",
    "state", "save", "restore", "close",
)  # fmt: skip
"""Every call of the protocol."""


class System(Protocol):
    """A data provider, a supernet trainer and its evaluator, behind one small protocol."""

    def describe(self) -> Description:
        """Return what the system is and which calls it can answer."""

    def open(self, config: Mapping[str, Any]) -> None:
        """Get ready to train from the start under a configuration tree (JSON-able)."""

    def batches(self, role: Role, epoch: int = 1) -> Sequence[ServedBatch]:
        """Return the batches of one epoch, or the fixed ones of evaluation."""

    def train(
        self, epochs: int, *, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> Training:
        """Train until `epochs` are completed and return what was done in this call.

        With `steps`, stop after so many steps of this call, before the evaluation that may be
        due then. A system that can says so by ``steps`` in ``Description.supports``; no other
        is asked.
        """

    def evaluate(
        self, archs: Sequence[str] | None = None, *, batches_per_arch: int | None = None
    ) -> Evaluation:
        """Score archs (default: the configured pool) with the present weights."""

    def recalibrate(self, arch: str, *, inputs: bool = False) -> Recalibration:
        """Return an arch's recalibrated statistics, and each unit's inputs if asked."""

    def predict(self, arch: str, batch: ServedBatch) -> Sequence[NDArray[np.float32]]:
        """Return the three residual outputs, coarse to fine, with recalibrated statistics."""

    def score(
        self,
        outputs: Sequence[NDArray[np.float32]],
        label: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return the metric's per-sample EPE for given residual outputs."""

    def state(self, changes: Arrays | None = None) -> Arrays:
        """Set the named arrays, if any, and return the complete training state."""

    def save(self, path: str) -> None:
        """Write a checkpoint to a folder that does not exist yet."""

    def restore(self, path: str) -> None:
        """Continue from a checkpoint."""

    def close(self) -> None:
        """Release what the system holds."""


def digests_of(system: System) -> dict[str, str]:
    """Return the digest of every array of a system's state, by its name.

    A system of another process may offer ``state_digests()``, which computes them there.
    """
    there = getattr(system, "state_digests", None)
    return state_digests(system.state()) if there is None else dict(there())
