"""Every fault is caught by the promises that should, and the clean system by none.

By day each fault is run in one epoch mode, by turns, and at night in both. What promises of a later
tier alone should catch takes half a minute each, and is nightly.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.promises.registry import PROMISES

FAMILIES = {
    "DATA", "GEOM", "BN", "GRAD", "RESUME", "METRIC", "DETERM", "NAN", "CACHE", "CONFIG", "NAS",
    "PARALLEL", "TRAINCHECK",
}  # fmt: skip

FOREIGN = '''
from harness.supernet.epe import sample_epe


class Halved:
    """Somebody else's fault: it inherits nothing."""

    id, citation, expected = "epe-halved", "a bug of our own", ("metric-oracle",)

    def __init__(self, factor=0.5):
        self.factor = factor

    def wrap(self, system):
        factor, score = self.factor, system.score
        system.score = lambda *arrays: factor * score(*arrays)
        return system
'''


def harness(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "faults", *args],
        capture_output=True, text=True, check=False, **kwargs,
    )  # fmt: skip


def assert_killed(matrix: dict[str, Any], *, least: int) -> None:
    """Require every fault to break every promise that it should, by a violation."""
    survivors = {r["id"]: r["survived"] for r in matrix["results"] if r["survived"]}
    assert survivors == {}
    crashed = {
        f"{r['id']}: {promise}"
        for r in matrix["results"]
        for promise in r["expected"]
        if r["where"].get(promise, "").startswith("error:")
    }
    assert crashed == set()
    assert matrix["killed"] == matrix["faults"] >= least
    assert matrix["exit"] == 0


@pytest.mark.slow
def test_every_quick_promise_is_seen_to_fail(whole_matrix: dict[str, Any]) -> None:
    fired = {promise for result in whole_matrix["results"] for promise in result["fired"]}
    assert sorted({p.id for p in PROMISES.values() if p.in_quick} - fired) == []


def test_few_faults_cover_every_quick_promise() -> None:
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import plan_cover, plan_fault

    every = [plan_fault(fault_path(fault)) for fault in FAULTS.values()]
    chosen = plan_cover(every)
    assert len(chosen) < len(every) / 2
    judged = {promise for task in chosen for promise in task.promises}
    assert sorted({p.id for p in PROMISES.values() if p.in_quick} - judged) == []
    breaking = [task for task in every if "metric-oracle" not in task.expected]
    with pytest.raises(InputError, match="no fault breaks metric-oracle"):
        plan_cover(breaking)


@pytest.mark.slow
def test_every_fault_is_caught_by_the_promises_that_should(whole_matrix: dict[str, Any]) -> None:
    assert_killed(whole_matrix, least=160)


def caught_by_later_tiers_alone() -> list[str]:
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import caught_within

    return [name for name, fault in FAULTS.items() if not caught_within(fault.expected, "quick")]


def test_the_matrix_leaves_to_later_tiers_what_no_quick_promise_should_catch() -> None:
    later = caught_by_later_tiers_alone()
    assert {"saved-in-place", "eval-clip-ignored"} <= set(later)
    assert "last-residual-scored" not in later
    assert len(later) < 10


def test_by_day_each_fault_is_run_in_one_mode_and_the_clean_system_in_both() -> None:
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import CLEAN, in_modes, in_one_mode, plan_clean, plan_fault

    faults = [plan_fault(fault_path(fault)) for fault in FAULTS.values()]
    both = in_modes([plan_clean(), *faults])
    found = in_one_mode(both)
    assert [task.mode for task in found if task.id == CLEAN] == ["full_pass", "fixed_steps"]
    assert sorted(task.id for task in found) == sorted([CLEAN, CLEAN, *FAULTS])
    assert all(task in both for task in found)
    counts = [sum(task.mode == mode for task in found) for mode in ("full_pass", "fixed_steps")]
    assert min(counts) > len(FAULTS) / 3


@pytest.mark.nightly
def test_at_night_every_fault_is_caught_in_both_modes(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    done = harness("--within-tier", "--json", str(path))
    assert_killed({"exit": done.returncode, **json.loads(path.read_text())}, least=160)


@pytest.mark.nightly
def test_what_later_tiers_alone_should_catch_is_caught(tmp_path: Path) -> None:
    path, later = tmp_path / "out.json", caught_by_later_tiers_alone()
    done = harness("--only", *later, "--json", str(path))
    assert_killed({"exit": done.returncode, **json.loads(path.read_text())}, least=len(later))


@pytest.mark.slow
def test_the_clean_system_raises_no_alarm(whole_matrix: dict[str, Any]) -> None:
    assert whole_matrix["false_alarms"] == {}
    quick = {promise.id for promise in PROMISES.values() if promise.in_quick}
    assert set(whole_matrix["relations_on_clean"]) == quick


def test_every_family_has_faults_with_citations() -> None:
    from harness.faults.catalog import FAULTS

    assert {fault.family for fault in FAULTS.values()} == FAMILIES
    assert all(fault.citation for fault in FAULTS.values())


@pytest.mark.slow
def test_a_fault_of_somebody_else_joins_by_its_import_path(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(FOREIGN)
    path = tmp_path / "out.json"
    done = harness("--fault", "theirs:Halved", "--json", str(path), "--only", "plan-rounds-down",
                   cwd=tmp_path)  # fmt: skip
    found = json.loads(path.read_text())
    asked = ["plan-rounds-down", "epe-halved"]
    run = [(r["id"], r["mode"]) for r in found["results"]]
    modes = ("full_pass", "fixed_steps")
    assert run == [(name, mode) for mode in modes for name in asked], done.stderr
    assert found["killed"] == 2
    assert "metric-oracle" in found["results"][1]["where"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "no-such"], "no fault 'no-such'"),
        (["--fault", "nowhere:Nothing"], "expected MODULE:CLASS"),
        (["--fault", "harness.faults.base:Fault"], "needs a non-empty id, citation, expected"),
    ],
)
def test_wrong_input_is_one_plain_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.cli import main

    assert main(["faults", *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_every_fault_names_promises_and_subjects_that_exist() -> None:
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import plan_fault

    tasks = [plan_fault(fault_path(fault)) for fault in FAULTS.values()]
    assert all(set(task.expected) <= set(task.promises) for task in tasks)


def test_no_two_faults_have_one_id() -> None:
    from harness.faults import catalog
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE

    ids = [getattr(module, name).id for module in catalog._MODULES for name in module.__all__]
    ids += FAULTS_ANYWHERE
    assert len(ids) == len(set(ids)) == len(catalog.FAULTS)


def test_every_promise_is_broken_by_some_fault() -> None:
    from harness.faults.catalog import FAULTS

    broken = {promise for fault in FAULTS.values() for promise in fault.expected}
    assert sorted(set(PROMISES) - broken) == []
