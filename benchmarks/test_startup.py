"""What is waited for before a training step, and what the plugin costs a suite without a gate."""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from benchmarks.starts import started
from benchmarks.timer import Timer

_ROUNDS = 6
_MOST = 0.05
"""s of a processor, of a whole session of one empty test."""


@pytest.mark.benchmark(group="startup")
def test_a_suite_without_a_gate_starts_as_before(timer: Timer, tmp_path: Path) -> None:
    """Paired with sessions in which pytest is told not to load the plugin."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")

    def session(*options: str) -> float:
        """Return the seconds of a processor that a session takes; other work moves them least."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        before = os.times()
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    without, more = [], list[float]()

    def pair() -> None:
        without.append(session("-p", "no:harness.pytest_stub"))
        more.append(session() - without[-1])

    timing = timer(pair, rounds=_ROUNDS)
    if timing.seconds is None:
        return
    cost = median(more)
    timer.note(seconds_more=cost)
    timer.report.lines["startup"] = (
        f"{cost:.3f} s of a processor more than the {median(without):.3f} s of a pytest session "
        "without the plugin, over paired sessions"
    )
    assert cost <= _MOST, f"expected at most {_MOST} s more, found {cost:.3f} s"


@pytest.mark.benchmark(group="startup")
@pytest.mark.slow
def test_the_first_step_of_a_training(timer: Timer, tmp_path: Path) -> None:
    """Fresh processes: imports, opening, tracing and first calls; printed, and held to nothing."""
    found = timer.benchmark.pedantic(lambda: started(tmp_path, rounds=3), rounds=1)
    timer.note(imports=found.imports, opening=found.opening, first=found.first, later=found.later)
    timer.report.lines["first step"] = found.text()
    assert found.waited > 0
