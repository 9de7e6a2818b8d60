"""Every ratio that a device is held to, in one run: on a GPU at full size, on a CPU at a small."""

from pathlib import Path

import pytest

from benchmarks.device_table import LARGE, SMALL, Row, Size, measured
from benchmarks.timer import Timer
from harness.environment import Environment


def _table(timer: Timer, size: Size, device: str, folder: Path) -> list[Row]:
    """Return the rows, each said as it is measured and again in the report."""
    found = []

    def measure() -> None:
        print(f"on {device}:", flush=True)  # noqa: T201
        for row in measured(size, folder):
            print(row.line(), flush=True)  # noqa: T201
            found.append(row)

    timer.benchmark.pedantic(measure, rounds=1)
    timer.note(device=device, rows={row.name: row.value for row in found})
    for row in found:
        timer.report.lines[row.name] = row.line().removeprefix(f"{row.name}: ")
    return found


@pytest.mark.gpu
def test_ratios_on_a_gpu(timer: Timer, environment: Environment, tmp_path: Path) -> None:
    """C = 32, 180 x 240: each figure lies where it is to."""
    if environment.device == "cpu":
        pytest.skip("TensorFlow finds no GPU on this machine")
    rows = _table(timer, LARGE, environment.device, tmp_path / "frames")
    missed = [row.line() for row in rows if not row.holds]
    assert not missed, missed


@pytest.mark.benchmark(group="device")
def test_the_same_table_on_a_cpu(timer: Timer, environment: Environment, tmp_path: Path) -> None:
    """The same rows at a size that takes a CPU little; the bounds are those of a GPU."""
    if environment.device != "cpu":
        pytest.skip("a GPU is measured at full size: -m gpu")
    rows = _table(timer, SMALL, environment.device, tmp_path / "frames")
    assert all(row.value > 0 for row in rows)
