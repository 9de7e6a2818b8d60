import dataclasses
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.config import Config
from harness.environment import apply_environment
from harness.errors import NotApplicableError
from harness.promises import checkpoint, clip_checks, response, resume
from harness.promises.checkpoint import CheckpointPair
from harness.promises.kinds import COUNTERS
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.promises.promise import differences
from harness.promises.registry import PROMISES, SUBJECTS
from tests import (
    promise_evidence_accumulation,
    promise_evidence_altered,
    promise_evidence_arithmetic,
    promise_evidence_augmentation,
    promise_evidence_consumed,
    promise_evidence_data,
    promise_evidence_draws,
    promise_evidence_edges,
    promise_evidence_following,
    promise_evidence_kept,
    promise_evidence_later,
    promise_evidence_logs,
    promise_evidence_offline,
    promise_evidence_onestep,
    promise_evidence_options,
    promise_evidence_recalibration,
    promise_evidence_responses,
    promise_evidence_resume,
    promise_evidence_scores,
    promise_evidence_starts,
    promise_evidence_training,
    promise_evidence_unreached,
)
from tests.promise_evidence_accumulation import ACCUMULATED
from tests.promise_evidence_data import DRAWS, SERVED
from tests.promise_evidence_recalibration import PAIR
from tests.promise_evidence_resume import AGAIN_ROWS, COUNTED, RESUMED, ROWS
from tests.promise_evidence_scores import BASE, ORACLE, RESPONSE
from tests.promise_evidence_steps import STEP
from tests.promise_evidence_training import MICRO, UPDATE


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Apply what the gate applies before anything computes: parts compute with TensorFlow."""
    apply_environment(Config())


FAMILIES = (
    promise_evidence_accumulation,
    promise_evidence_altered,
    promise_evidence_arithmetic,
    promise_evidence_augmentation,
    promise_evidence_consumed,
    promise_evidence_data,
    promise_evidence_kept,
    promise_evidence_draws,
    promise_evidence_edges,
    promise_evidence_following,
    promise_evidence_later,
    promise_evidence_logs,
    promise_evidence_offline,
    promise_evidence_onestep,
    promise_evidence_options,
    promise_evidence_recalibration,
    promise_evidence_responses,
    promise_evidence_resume,
    promise_evidence_scores,
    promise_evidence_starts,
    promise_evidence_training,
    promise_evidence_unreached,
)


def joined(table):
    """Join the families' tables of one name, from a promise's check to its rows."""
    return {check: row for f in FAMILIES for check, row in getattr(f, table, {}).items()}


def rows(table):
    return [
        pytest.param(check, evidence, message, id=f"{check.__name__}-{name}")
        for check, cases in joined(table).items()
        for name, (evidence, message) in cases.items()
    ]


def found_in(check, evidence):
    """Return what a system of ours is told; evidence that a promise cannot judge has a reason."""
    try:
        return [str(violation) for violation in check(evidence).accused()]
    except NotApplicableError as reason:
        return [f"not applicable: expected evidence, found {reason}"]


CLEAN, EMPTY, CORRUPTED = joined("CLEAN"), joined("EMPTY"), joined("CORRUPTED")
OF_A_SYSTEM = [name for name in PROMISES if name not in LEDGER_PROMISES]


@pytest.mark.parametrize("promise", OF_A_SYSTEM)
def test_a_promise_holds_on_sound_evidence(promise):
    for evidence in CLEAN[PROMISES[promise].check]:
        found = PROMISES[promise].check(evidence)
        assert [str(violation) for violation in found.accused()] == []
        assert found.figures


@pytest.mark.parametrize(("check", "evidence", "message"), rows("CORRUPTED"))
def test_a_corruption_is_reported_with_place_and_both_values(check, evidence, message):
    lines = [str(violation) for violation in check(evidence).violations]
    assert any(re.search(message, line) for line in lines), lines
    assert all(re.fullmatch(r"(?s).+: expected .+, found .+", line) for line in lines)


@pytest.mark.parametrize("promise", OF_A_SYSTEM)
def test_evidence_of_nothing_does_not_pass(promise):
    check = PROMISES[promise].check
    assert found_in(check, EMPTY[check])


@pytest.mark.parametrize(("check", "evidence", "message"), rows("NOTHING_TO_TELL"))
def test_evidence_that_can_tell_nothing_does_not_pass(check, evidence, message):
    lines = found_in(check, evidence)
    assert any(re.search(message, line) for line in lines), lines
    assert all(re.fullmatch(r"(?s).+: expected .+, found .+", line) for line in lines)


@pytest.mark.parametrize("promise", OF_A_SYSTEM)
def test_every_promise_has_a_corruption_that_it_reports(promise):
    assert CORRUPTED[PROMISES[promise].check]


def test_every_row_is_of_a_declared_promise():
    declared = {PROMISES[name].check for name in OF_A_SYSTEM}
    for table in ("CLEAN", "EMPTY", "CORRUPTED"):
        assert set(joined(table)) == declared
    assert set(joined("NOTHING_TO_TELL")) <= declared


def test_no_two_families_judge_one_promise():
    checks = [check for family in FAMILIES for check in family.CORRUPTED]
    assert len(checks) == len(set(checks))


def test_a_promise_has_a_name_a_sentence_and_a_hint():
    for name, promise in PROMISES.items():
        assert promise.id == name
        assert promise.sentence
        assert promise.hint.endswith(".")
        assert promise.calls or name in ARITHMETIC


ARITHMETIC = {n for s in ("windows", "step_arithmetic", "score_arithmetic") for n in SUBJECTS[s]}
"""Asked of the parts of the builtin system, by no call of the protocol."""


def test_clipping_every_step_is_a_warning_and_not_a_violation():
    low = replace(UPDATE, threshold=0.001, epochs=())
    clipped = [replace(check, after=0.001) for check in low.checks]
    found = clip_checks.clip_arithmetic_holds(replace(low, checks=tuple(clipped)))
    assert found.warnings == ("every one of 4 checks clipped: the step length is the threshold's",)
    assert not found.violations


def test_a_metric_above_the_zero_flow_is_a_warning_and_not_a_violation():
    found = response.metric_is_alive(replace(RESPONSE, base=replace(BASE, zero_flow_epe=0.5)))
    assert not found.violations
    assert "not below the 0.500 px that an all-zero flow scores" in found.warnings[0]
    assert response.metric_is_alive(RESPONSE).warnings == ()


def test_many_differences_are_cut_short_with_their_count():
    many = {f"w{i}": i for i in range(9)}
    found = differences(many, dict.fromkeys(many, 10), what="state:")
    assert len(found) == 6
    assert str(found[-1]) == "state: expected no further difference, found 4 more"


def test_what_is_not_restored_is_told_by_kind_and_not_by_array():
    weights = {f"w{i}": "1" for i in range(9)}
    slots = {f"adam/m/w{i}": "2" for i in range(9)}
    kinds = {**dict.fromkeys(weights, "weights"), **dict.fromkeys(slots, "optimizer slots")}
    start = dict.fromkeys({**weights, **slots}, "0")
    poisoned = dict.fromkeys(weights | slots, "7")
    pair = CheckpointPair(
        weights | slots, poisoned, weights | dict.fromkeys(slots, "7"), start, kinds
    )
    (found,) = checkpoint.checkpoint_restores_everything(pair).violations
    assert str(found) == (
        "restored optimizer slots: expected 9 as saved, found none: 9 still poisoned (such as "
        "adam/m/w0)"
    )


def test_a_counter_under_any_name_need_not_be_poisoned():
    saved, disturbed = {"a/kernel": "1", "seen": "2"}, {"a/kernel": "9", "seen": "2"}
    asked = frozenset(["a/kernel"])
    pair = CheckpointPair(saved, disturbed, saved, asked=asked)
    assert checkpoint.checkpoint_restores_everything(pair).violations == ()
    forgetful = CheckpointPair(saved, disturbed, saved | {"seen": "0"}, asked=asked)
    assert len(checkpoint.checkpoint_restores_everything(forgetful).violations) == 1
    idle = CheckpointPair(saved, saved, saved, asked=asked)
    assert len(checkpoint.checkpoint_restores_everything(idle).violations) == 1


def test_what_follows_from_what_was_not_restored_is_left_out():
    lost = replace(
        RESUMED, restored=RESUMED.restored | {"progress/generator": "0"},
        resumed={"w": "8", "adam/m/w": "9"}, resumed_steps=RESUMED.first_epoch, resumed_rows=(),
    )  # fmt: skip
    places = [violation.where for violation in resume.resume_is_exact(lost).violations]
    assert places == [
        "cut after epoch 1, restored counters and generators",
        "cut after epoch 1: step 1 of epoch 2",
    ]


def test_counters_that_keep_scores_differ_as_the_scores_do():
    best = COUNTED | {"progress/best_metric": "6"}
    noisy = replace(
        RESUMED, saved=best, restored=best, straight=best,
        resumed=best | {"progress/best_metric": "7"},
        resumed_rows=({**ROWS[0], "mean_epe_12": 3.6},),
    )  # fmt: skip
    assert {v.kind for v in resume.resume_is_exact(noisy).violations} == {"other scores"}
    alone = replace(noisy, resumed_rows=AGAIN_ROWS)
    assert {v.kind for v in resume.resume_is_exact(alone).violations} == {COUNTERS}
    weights = replace(noisy, resumed=noisy.resumed | {"w": "8"})
    assert {v.kind for v in resume.resume_is_exact(weights).violations} == {
        "weights", COUNTERS, "other scores",
    }  # fmt: skip


def test_promises_load_neither_tensorflow_nor_scipy_nor_opencv():
    code = (
        "import sys, harness.promises.ledger.registry\n"
        "print(sorted({'tensorflow', 'scipy', 'cv2'} & {m.split('.')[0] for m in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_evidence_cannot_be_changed_by_what_judges_it():
    for bundle in (SERVED, DRAWS, BASE, MICRO, PAIR, ORACLE, RESUMED, STEP, ACCUMULATED):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field"):
            bundle.first = None


def test_a_run_that_does_not_go_on_in_a_fresh_process_is_no_resume():
    refused = replace(RESUMED, refused="InputError: samples of train: 23df -> c78e")
    (violation,) = resume.resume_is_exact(refused).violations
    assert str(violation).endswith(
        "the run in a fresh process: expected goes on, found InputError: samples of train: "
        "23df -> c78e"
    )
