"""What is asked of the system under test in a second process, each on a newly made system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evidence.observations import Evaluation, Training
from harness.systems.protocol import System, digests_of

__all__ = ["Resumed", "continued", "evaluated", "resumed"]


@dataclass(frozen=True)
class Resumed:
    """What a run did from a checkpoint on, with digests of its state there and at the end."""

    restored: dict[str, str]
    training: Training
    end: dict[str, str]


def evaluated(config: Mapping[str, Any], path: str, make: Callable[[], System]) -> Evaluation:
    """Score the pool with a checkpoint's weights."""
    return _restored(config, path, make).evaluate()


def resumed(config: Mapping[str, Any], path: str, make: Callable[[], System]) -> Resumed:
    """Resume from a checkpoint and train to the end of the second epoch."""
    system = _restored(config, path, make)
    state = digests_of(system)
    return Resumed(state, system.train(2), digests_of(system))


def continued(
    config: Mapping[str, Any], folder: Path, steps: int, make: Callable[[], System]
) -> dict[str, str]:
    """Go on from the folder's newest checkpoint, saving after each step; return the end's digests.

    Parameters
    ----------
    folder : pathlib.Path
        Holds checkpoints named by how many parts of the run are done.
    steps : int
        Of one epoch; its evaluation is one part more.
    """
    done = max((int(path.name) for path in folder.glob("[0-9][0-9][0-9]")), default=0)
    if done:
        system = _restored(config, str(folder / f"{done:03d}"), make)
    else:
        system = make()
        system.open(config)
    for number in range(done + 1, 2 * (steps + 1) + 1):
        epoch, place = (number - 1) // (steps + 1) + 1, (number - 1) % (steps + 1) + 1
        system.train(epoch, steps=None if place > steps else 1)
        system.save(str(folder / f"{number:03d}"))
    return digests_of(system)


def _restored(config: Mapping[str, Any], path: str, make: Callable[[], System]) -> System:
    system = make()
    system.open(config)
    system.restore(path)
    return system
