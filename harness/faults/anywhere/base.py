"""What a fault of any system is, and the ways to plant one through the protocol alone."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.faults.base import Fault, overriding
from harness.systems.answers import AnswerError
from harness.systems.process import WorkerError
from harness.systems.protocol import Arrays, Description, Evaluation, Training

__all__ = [
    "NOT_THE_SYSTEMS", "FaultAnywhere", "evaluating", "float_arrays", "folder_of", "opening",
    "rescored", "training",
]  # fmt: skip

NOT_THE_SYSTEMS = (AnswerError, NotApplicableError, WorkerError)
"""Errors that no fault swallows: they are not raised by the system's own code."""


class FaultAnywhere(Fault):
    """A fault of any system, which it wraps.

    Attributes
    ----------
    any_system : bool
        What ``harness gate-power`` plants.
    needs : tuple of str
        Calls without which it cannot be planted.
    keys : tuple of str
        Configuration keys (``section.key``) that the system must be able to vary.
    spoils : tuple of str
        Promises that would break by the way it is planted and not by the fault: nobody asks them.
    idle : str
        Why it does nothing, where a system gives it nothing to change.
    acted : bool
        Whether it has changed anything yet.
    """

    any_system: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    keys: ClassVar[tuple[str, ...]] = ()
    spoils: ClassVar[tuple[str, ...]] = ()
    idle: ClassVar[str] = "it found nothing to change"

    def __init__(self) -> None:
        self.acted = False

    def unplantable(self, description: Description) -> str:
        """Return why it cannot be planted in a system; empty if it can."""
        absent = [call for call in self.needs if call not in description.can]
        if absent:
            return f"the system does not offer {', '.join(absent)}"
        fixed = [key for key in self.keys if key in description.settings]
        if fixed:
            return f"the system cannot vary {', '.join(fixed)}"
        return ""


def evaluating(
    fault: FaultAnywhere, system: Any, change: Callable[[Evaluation], Evaluation]
) -> Any:
    """Return a system that reports ``change(evaluation)`` for each evaluation."""

    def evaluate(inner: Any, *args: Any, **kwargs: Any) -> Evaluation:
        found = inner.evaluate(*args, **kwargs)
        changed = change(found)
        fault.acted |= changed != found
        return changed

    return overriding(system, evaluate=evaluate)


def rescored(found: Evaluation, per_sample: Mapping[str, tuple[float, ...]]) -> Evaluation:
    """Return an evaluation with other scores per sample, and the means that follow from them."""
    # Of a mean over pixels a sample weighs by its own.
    weights = {a: found.pixels[: len(per_sample[a])] or None for a in found.archs}
    means = tuple(float(np.average(per_sample[a], weights=weights[a])) for a in found.archs)
    return dataclasses.replace(
        found, per_sample=per_sample, per_arch_epe=means, mean_epe=float(np.mean(means))
    )


def training(fault: FaultAnywhere, system: Any, change: Callable[[Training], Training]) -> Any:
    """Return a system that reports ``change(training)`` of each stretch of training."""

    def train(inner: Any, *args: Any, **kwargs: Any) -> Training:
        found = inner.train(*args, **kwargs)
        changed = change(found)
        fault.acted |= changed != found
        return changed

    return overriding(system, train=train)


def opening(
    fault: FaultAnywhere, system: Any, section: str, values: Callable[[Mapping[str, Any]], Any]
) -> Any:
    """Return a system that is opened, in secret, with other values of a section's keys."""

    def opened(inner: Any, config: Mapping[str, Any]) -> None:
        changed = {**config[section], **values(config)}
        fault.acted |= changed != dict(config[section])
        inner.open({**config, section: changed})

    return overriding(system, open=opened)


def float_arrays(state: Arrays) -> dict[str, NDArray[Any]]:
    """Return copies of the weights, statistics and slots of a state, sorted by name."""
    # Copies: a system may hand out the arrays that it goes on to change.
    return {
        name: np.array(state[name])
        for name in sorted(state)
        if not name.startswith("progress/") and np.asarray(state[name]).dtype.kind == "f"
    }


def folder_of(config: Mapping[str, Any], split: str) -> Path:
    """Return the folder of one split under a configuration tree."""
    data = config["data"]
    return Path(data.get("base_path", "."), data.get(f"{split}_dir", split))
