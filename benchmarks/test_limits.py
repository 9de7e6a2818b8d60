"""What evaluation takes as it grows: seconds against the pool, memory against its bound."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.timer import Timer

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.runs.session import Session

_POOLS = (1, 4, 12, 48)
_MIB = 1 << 20


@pytest.fixture(scope="module")
def protocol(session: "Session") -> "Protocol":
    """Return the batches of the setting."""
    from harness.evaluation.batches import FixedBatches

    return FixedBatches(session.config).protocol(1)


@pytest.mark.benchmark(group="evaluation seconds against the pool's size")
def test_pool_size(timer: Timer, session: "Session", protocol: "Protocol") -> None:
    """Pools within one another; every step up takes less than the pool grows."""
    from dataclasses import replace

    from harness.evaluation.ranking import build_pool

    pool, weights = build_pool(seed=42, size=max(_POOLS)), session.model.weight_tensors()
    protocols = {size: replace(protocol, pool=pool[:size]) for size in _POOLS}
    for each in protocols.values():  # compile what any of them runs
        session.evaluator.evaluate(weights, each)
    seconds: dict[int, list[float]] = {size: [] for size in _POOLS}

    def rounds() -> None:
        for size, each in protocols.items():
            record, _ = session.evaluator.evaluate(weights, each)
            seconds[size].append(record.eval_seconds + record.bn_recal_seconds)

    timer.benchmark.pedantic(rounds, rounds=3)
    found = {size: float(np.median(taken)) for size, taken in seconds.items()}
    timer.note(pools=found)
    each = ", ".join(f"{size}: {1e3 * taken / size:.1f}" for size, taken in found.items())
    timer.report.lines["pool"] = f"ms per arch by the size of the pool: {each}"
    growth = [(more, found[more] / found[fewer], more / fewer) for fewer, more in pairwise(_POOLS)]
    slow = [step for step in growth if step[1] >= step[2]]
    assert not slow, f"expected seconds to grow less than the pool, found {slow}"


@pytest.mark.benchmark(group="memory")
@pytest.mark.slow
def test_memory_stays_within_its_bound(timer: Timer, tmp_path: Path) -> None:
    """C = 32, 180 x 240, batch 4, in a fresh process; the largest leaves of the space."""
    out = tmp_path / "memory.json"
    command = [sys.executable, "-m", "benchmarks.peak", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    timer.benchmark.pedantic(
        lambda: subprocess.run(command, check=True, env=environment, capture_output=True), rounds=1
    )
    found = json.loads(out.read_text(encoding="utf-8"))
    timer.note(**found)
    timer.report.lines["memory"] = (
        f"{found['used'] / _MIB:.0f} MiB above the {found['before'] / _MIB:.0f} MiB of a process "
        f"with weights, bound {found['bound'] / _MIB:.0f} MiB (C = 32, 180 x 240, batch 4)"
    )
    assert found["used"] <= found["bound"], timer.report.lines["memory"]
