"""Vectors that no loss depends on: biases that a normalisation takes out again."""

import math
from collections.abc import Sequence

import numpy as np

from harness.promises.bench import Bench
from harness.promises.moved_statistics import is_statistic
from harness.promises.states import START
from harness.systems.protocol import Arrays

__all__ = ["idle_vectors"]


def idle_vectors(bench: Bench, still: Sequence[str]) -> frozenset[str]:
    """Return the vectors, of what stood still, that do not move the first step's loss.

    What rounding makes of a gradient of zero is less than the last place of such a weight.
    """
    if "restore" not in bench.describe().can:
        return frozenset()
    losses, names = list[float](), list[str]()
    for way in (0.0, 1.0):
        with bench.at(START) as system:
            state = system.state()
            names = [name for name in still if _is_vector(name, state)]
            if not names:
                return frozenset()
            system.state({n: state[n] + np.full_like(state[n], way) for n in names})
            run = system.train(1, evaluate=False)
            losses += [step.loss for step in run.steps[:1]]
    same = len(losses) == 2 and bool(losses[0]) and math.isclose(*losses, rel_tol=_NO_EFFECT)
    return frozenset(names if same else ())


def _is_vector(name: str, state: Arrays) -> bool:
    array = np.asarray(state[name])
    # What an optimizer or an average keeps of a weight has its name within its own.
    of_another = any(f"/{other}/" in f"/{name}/" for other in state if other != name)
    own = not (name.startswith("progress/") or is_statistic(name) or of_another)
    return own and array.ndim == 1 and array.dtype.kind == "f"


_NO_EFFECT = 1e-5
"""Relative: by less may a loss move of which all that changed is rounded away."""
