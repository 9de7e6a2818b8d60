"""What came back from a call of an adapter, in a few words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.systems.protocol import Arrays, Training, TrainingSample
from harness.wording import counted

__all__ = ["arrays", "changed", "served", "sides", "steps"]


def sides(found: Sequence[TrainingSample]) -> str:
    """Return the sizes of samples."""
    return ", ".join(sorted({" x ".join(map(str, one.valid.shape)) for one in found}))


def arrays(state: Arrays) -> str:
    """Return how many arrays there are, and how large they are together."""
    size = sum(array.nbytes for array in state.values())
    shown = f"{size / 2**20:.3g} MiB" if size >= 2**20 else f"{size / 2**10:.3g} KiB"
    return f"{counted(len(state), 'array')}, {shown}"


def served(found: Any) -> str:
    """Return how many batches there are, of how many samples, and how large those are."""
    sizes = "+".join(str(len(batch.ids)) for batch in found[:6])
    height, width = found[0].frames.shape[1:3] if found else (0, 0)
    return f"{counted(len(found), 'batch')} of {sizes}, {height} x {width} px"


def steps(run: Training) -> str:
    """Return how many steps there are, and the last one's loss."""
    last = f", loss {run.steps[-1].loss:.4g}" if run.steps else ""
    return counted(len(run.steps), "step") + last


def changed(before: Arrays, after: Arrays) -> str:
    """Return how many arrays of a state have moved."""
    moved = [n for n in before if n not in after or not np.array_equal(before[n], after[n])]
    return f"{len(moved)} of {counted(len(before), 'array')} moved"
