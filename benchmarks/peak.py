"""Measures the peak memory of an evaluation in a process of its own: ``-m benchmarks.peak OUT``."""

import itertools
import json
import resource
import sys
from pathlib import Path

import numpy as np

from harness.config import parse_config
from harness.environment import apply_environment
from harness.fc2.batch import Batch
from harness.fc2.crop import Window

_SKELETON, _WIDTH, _CROP, _BATCH, _SEED = "full", 32, (180, 240), 4, 7


def _batch(number: int) -> Batch:
    draw = np.random.default_rng(number)
    shape = (_BATCH, *_CROP)
    return Batch(
        tuple(f"{number}-{i}" for i in range(_BATCH)), (Window(0, 0, *_CROP),) * _BATCH,
        draw.integers(0, 256, (*shape, 6), np.uint8),
        draw.normal(0, 3, (*shape, 2)).astype(np.float32), np.ones(shape, bool), None, str(number),
    )  # fmt: skip


def _pool() -> tuple[tuple[int, ...], ...]:
    """Return two whole leaves of the deepest trunks, and two archs beside them."""
    kernels = list(itertools.product(range(3), repeat=5))
    leaves = [(2, 2, 2, last, *kernel) for last in (2, 1) for kernel in kernels]
    return (*leaves, (1, 2, 2, 1, *kernels[0]), (0, 0, 0, 0, *kernels[-1]))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize()


def main(out: Path) -> None:
    """Write bytes before, bytes used at the peak, and the bound."""
    apply_environment(parse_config({}))
    from harness.evaluation.evaluator import Evaluator, Protocol
    from harness.evaluation.scoring import score_split
    from harness.supernet.sharing.memory import walk_bytes
    from harness.training.model import Supernet

    weights = Supernet(_SKELETON, _WIDTH, _SEED).weight_tensors()
    protocol = Protocol(_pool(), (_batch(1), _batch(2)), (_batch(3),), 2)
    before = _resident()
    Evaluator(_SKELETON, _WIDTH).evaluate(weights, protocol)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    samples = max(_BATCH, min(2 * _BATCH, score_split(*_CROP)))
    bound = walk_bytes(_SKELETON, _WIDTH, _CROP, samples)
    found = {"before": before, "used": peak - before, "bound": bound}
    out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
