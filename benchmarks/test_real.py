"""Ours against the real EdgeFlowNAS, where ``EDGEFLOWNAS_ROOT`` names a checkout up to 2ef204e.

Medians of fresh processes, from after imports to the result and in steady state.
"""

import os
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.real import Evaluations, Spent, rows
from benchmarks.timer import Timer
from harness.environment import Environment

_ROUNDS = 3


@pytest.fixture(scope="module")
def evaluations(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Evaluations:
    """Return frames, weights and files of C = 8, 64 x 96, batch 8, R = 8, K = 4."""
    if environment.device != "cpu":
        pytest.skip("the bounds are those of a CPU")
    if not os.environ.get("EDGEFLOWNAS_ROOT"):
        pytest.skip("EDGEFLOWNAS_ROOT names no checkout of EdgeFlowNAS")
    return Evaluations(tmp_path_factory.mktemp("real"))


def _require(timer: Timer, evaluations: Evaluations, names: Sequence[str]) -> dict[str, Spent]:
    """Print seconds and ratios of some evaluations, and require each that has a bound."""
    found: dict[str, Spent] = {}
    run = lambda: found.update(evaluations.spent(names, _ROUNDS))  # noqa: E731
    timer.benchmark.pedantic(run, rounds=1)
    made = list(rows(found))
    timer.note(rows={row.name: row.value for row in made})
    lines = timer.report.lines
    lines |= {f"{name}, start to result": spent.text() for name, spent in found.items()}
    lines |= {row.name: row.line().removeprefix(f"{row.name}: ") for row in made}
    missed = [row.line() for row in made if not row.holds]
    assert not missed, missed
    return found


@pytest.mark.benchmark(group="against the real EdgeFlowNAS")
def test_12_archs(timer: Timer, evaluations: Evaluations) -> None:
    """At least 4 times faster; the dense reference within a tenth, with the real one's scores."""
    found = _require(timer, evaluations, ("real", "dense", "ours"))
    np.testing.assert_allclose(found["dense"].scores, found["real"].scores, rtol=1e-4)


@pytest.mark.benchmark(group="against the real EdgeFlowNAS")
@pytest.mark.slow
def test_whole_space(timer: Timer, evaluations: Evaluations) -> None:
    """19,683 archs: at most 1.6 times its 12."""
    _require(timer, evaluations, ("real", "space"))
