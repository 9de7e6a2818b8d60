"""What the quick gate takes on a GPU, against the CPU of the same machine."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from harness.environment import Environment

_LIMIT = 1.5
_ROUNDS = 2
_DEVICES = {"cpu": {"CUDA_VISIBLE_DEVICES": "-1"}, "gpu": dict[str, str]()}


def _seconds(device: str) -> float:
    """Return what a gate takes by the wall clock, its process's start included, s."""
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "invariants"], cwd=Path(__file__).parents[1],
        env={**os.environ, **_DEVICES[device]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return perf_counter() - start


@pytest.mark.gpu
def test_the_gate_takes_at_most_half_as_long_again_on_a_gpu(environment: Environment) -> None:
    """Each gate on the GPU is held against the mean of the two on the CPU around it."""
    if environment.device == "cpu":
        pytest.skip("TensorFlow finds no GPU on this machine")
    cpu, gpu = [_seconds("cpu")], list[float]()
    for _ in range(_ROUNDS):
        gpu.append(_seconds("gpu"))
        cpu.append(_seconds("cpu"))
    beside = [(before + after) / 2 for before, after in pairwise(cpu)]
    ratio = median(g / c for g, c in zip(gpu, beside, strict=True))
    shown = ", ".join(f"{s:.1f}" for s in gpu), ", ".join(f"{s:.1f}" for s in cpu)
    print(f"gate on {environment.device}: {shown[0]} s, on the CPU {shown[1]} s: {ratio:.2f}")  # noqa: T201
    assert ratio <= _LIMIT
