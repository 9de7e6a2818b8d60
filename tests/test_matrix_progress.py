"""A kill matrix tells of each result as it comes, and goes on after a kill."""

import json

import pytest

from harness.cli import main
from harness.errors import InputError
from harness.faults import matrix
from harness.faults.base import fault_path
from harness.faults.catalog import FAULTS
from harness.faults.matrix import plan_clean, plan_fault
from harness.faults.results import Result, made_by, task_key
from harness.promises.registry import PROMISES
from tests.test_sealed import resealed

THREE = ("plan-rounds-down", "nan-ranks-last", "pool-padded")


class Misspelt:
    id, citation, expected, touches = "misspelt", "ours", ("clip-plan",), ("clipchecks",)


class TextForTuple:
    id, citation, expected, touches = "text", "ours", ("clip-plan",), "loss"


class ModesText:
    id, citation, expected, modes = "modes-text", "ours", ("clip-plan",), "full_pass"


class ExpectedText:
    id, citation, expected = "text", "ours", "clip-plan"


@pytest.fixture
def judges(monkeypatch):
    """Judge without a process: every expected promise fires, with two violations."""
    asked = []

    class Judge:
        dies_at = None
        blind = None

        def __init__(self, folder, environment=None):
            pass

        def judge(self, task, number):
            if len(asked) == self.dies_at:
                raise KeyboardInterrupt
            asked.append(task.id)
            both = {name: (f"{name} first", f"{name} second") for name in task.expected}
            fired = {name: texts[0] for name, texts in both.items()}
            if (task.mode, task.id) == self.blind:
                fired = {}
            return Result(task, fired, {"nan-stops": "no"}, 1.25, both)

        def kill(self):
            pass

        def close(self):
            pass

    monkeypatch.setattr(matrix, "JudgeProcess", Judge)
    Judge.asked = asked
    return Judge


def run(path, *options, only=THREE, mode="full_pass"):
    asked = ["--only", *only, "--jobs", "1", "--mode", mode]
    return main(["faults", *asked, "--json", str(path), *options])


def test_without_a_terminal_each_result_is_a_line(judges, tmp_path, capsys):
    assert run(tmp_path / "m.json") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("[")] == [
        f"[{place}/3] killed   {name} full_pass 1.2 s"
        for place, name in enumerate(judges.asked, start=1)
    ]


def test_a_fault_counts_as_killed_that_is_killed_under_both_epoch_modes(judges, tmp_path, capsys):
    path = tmp_path / "m.json"
    assert run(path, mode="both") == 0
    modes = [(one["id"], one["mode"]) for one in json.loads(path.read_text())["results"]]
    assert modes == [(name, mode) for mode in ("full_pass", "fixed_steps") for name in THREE]
    assert "3 of 3 faults killed by every promise that should under full_pass and fixed_steps" in (
        capsys.readouterr().out
    )
    judges.blind = ("fixed_steps", THREE[1])
    assert run(path, mode="both") == 1
    assert json.loads(path.read_text())["killed"] == 2


def test_a_fault_of_one_epoch_mode_is_run_in_that_alone(judges, tmp_path):
    run(tmp_path / "m.json", only=("partial-batch-unplanned",), mode="both")
    found = json.loads((tmp_path / "m.json").read_text())
    assert [one["mode"] for one in found["results"]] == ["full_pass"]


def test_every_violation_is_written(judges, tmp_path):
    run(tmp_path / "m.json")
    found = json.loads((tmp_path / "m.json").read_text())
    first = found["results"][0]
    assert first["where"] == {"clip-plan": "clip-plan first"}
    assert first["violations"] == {"clip-plan": ["clip-plan first", "clip-plan second"]}
    assert found["complete"]


def test_what_a_kill_leaves_is_gone_on_with(judges, tmp_path):
    path, judges.dies_at = tmp_path / "m.json", 2
    assert run(path) == 75
    left = json.loads(path.read_text())
    assert (len(left["results"]), left["complete"], left["asked"]) == (2, False, 3)
    judges.dies_at = None
    assert run(path, "--resume") == 0
    assert sorted(judges.asked) == sorted(THREE)  # none of them twice
    whole = json.loads(path.read_text())
    assert [one["id"] for one in whole["results"]] == list(THREE)
    assert whole["killed"] == 3
    assert whole["complete"]


def test_without_resume_the_matrix_begins_anew(judges, tmp_path):
    run(tmp_path / "m.json")
    run(tmp_path / "m.json")
    assert len(judges.asked) == 6


def test_a_fault_that_is_judged_otherwise_is_judged_again(judges, tmp_path):
    run(tmp_path / "m.json")
    run(tmp_path / "m.json", "--resume", "--all-promises")
    assert len(judges.asked) == 6


@pytest.mark.parametrize("name", ["code", "setting", "tensorflow"])
def test_results_of_another_version_are_not_mixed_in(judges, tmp_path, capsys, name):
    path = tmp_path / "m.json"
    run(path)
    kept = json.loads(path.read_text())
    kept["made_by"][name] = "another"
    kept = resealed(kept)
    path.write_text(json.dumps(kept))
    assert run(path, "--resume") == 2
    assert f"{path} was made by another {name}" in capsys.readouterr().err
    assert json.loads(path.read_text()) == kept


@pytest.mark.parametrize("text", ["{", "[]", '{"results": []}', '{"made_by": {}, "results": 3}'])
def test_a_file_that_holds_no_results_is_not_gone_on_with(judges, tmp_path, capsys, text):
    (tmp_path / "m.json").write_text(text)
    assert run(tmp_path / "m.json", "--resume") == 2
    error = capsys.readouterr().err
    assert "expected results that say what they were made by" in error
    assert (tmp_path / "m.json").read_text() == text


def test_resuming_needs_a_file(judges, capsys):
    assert main(["faults", "--only", "pool-padded", "--resume"]) == 2
    assert "--json FILE, which is not given" in capsys.readouterr().err


def test_the_code_of_ones_own_fault_is_part_of_its_key(tmp_path, monkeypatch):
    source = tmp_path / "mine_alone.py"
    text = "class One:\n    id, citation, expected = 'one', 'ours', ('clip-plan',)\n"
    source.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    task = plan_fault("mine_alone:One")
    before = task_key(task)
    assert task_key(plan_fault("mine_alone:One")) == before
    source.write_text(text + "# changed\n")
    assert task_key(task) != before


def test_where_the_data_lie_does_not_count():
    here, there = ({"data": {"base_path": place, "flow_clip": 1}} for place in "ab")
    assert made_by(here) == made_by(there) != made_by({"data": {"flow_clip": 2}})


def test_the_tier_and_all_promises_widen_what_is_judged():
    path = fault_path(FAULTS["clip-position-ignored"])
    tiers = [plan_fault(path, tier=tier) for tier in ("quick", "full")]
    assert set(tiers[0].promises) < set(tiers[1].promises)
    every = plan_fault(path, tier="full", every=True)
    assert {PROMISES[name].tier for name in every.promises} == {"smoke", "quick", "full"}
    assert len(every.promises) == len(plan_clean(tier="full").promises)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("Misspelt", "touches 'clipchecks', expected subjects .*docs/faults.md.*: metric, "),
        ("TextForTuple", r"touches is the text 'loss', expected a tuple: \('loss',\)"),
        ("ExpectedText", r"expected is the text 'clip-plan', expected a tuple: \('clip-plan',\)"),
        ("ModesText", r"modes is the text 'full_pass', expected a tuple: \('full_pass',\)"),
    ],
)
def test_an_unknown_subject_is_refused(fault, message):
    with pytest.raises(InputError, match=message):
        plan_fault(f"{__name__}:{fault}")
