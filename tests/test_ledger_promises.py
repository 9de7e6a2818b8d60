import ast
import dataclasses
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.errors import NotApplicableError, UnseenError
from harness.promises.judge import judge_evidence
from harness.promises.ledger.registry import LEDGER_PROMISES
from harness.records.records import NOT_LOGGED
from harness.records.run import RunEvidence, run_evidence
from tests.ledger_runs import (
    RANDOM,
    RESETTING,
    RUN,
    announced,
    config,
    cut_before_its_row,
    each,
    killed,
    plateau,
    resumed,
)
from tests.planted_in_ledgers import PLANTED
from tests.synthetic_run import make_records

OFFLINE = LEDGER_PROMISES


def judged(promise, run):
    """Return a promise's violations as text; None where it does not apply."""
    try:
        return [str(violation) for violation in OFFLINE[promise].check(run).accused()]
    except NotApplicableError:
        return None


CLEAN = {
    "full pass": RUN,
    "fixed steps": run_evidence(make_records(sizes=(5,) * 3, train={"epoch_mode": "fixed_steps"})),
    "clip per update": run_evidence(make_records(train={"clip_position": "update"})),
    "random recalibration": RANDOM,
    "every second epoch": run_evidence(make_records(epochs=5, eval={"eval_every_epoch": 2})),
    "one evaluation": run_evidence(make_records(epochs=5, eval={"eval_every_epoch": 3})),
    "no evaluation": run_evidence(make_records(evaluate=False)),
    "killed in an epoch": killed(RUN, 2),
    "killed before a row": cut_before_its_row(),
    "killed in the first epoch": killed(run_evidence(make_records(epochs=1)), 2),
    "resumed": resumed(),
    "resumed, best reset": replace(
        each("epochs", RESETTING, 2, best_epe=RESETTING.evals[2].mean_epe), attempts=2
    ),
    "one of ours": announced(),
    "of an earlier version": replace(
        announced(seal=""), checkpoints=each("checkpoints", best=None).checkpoints
    ),
    "steps and rows alone": replace(RUN, norms=(), evals=(), checkpoints=(), notes=()),
}


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("promise", OFFLINE)
def test_a_promise_holds_on_a_sound_run(promise, name):
    assert judged(promise, CLEAN[name]) in ([], None)


@pytest.mark.parametrize("name", ["full pass", "fixed steps", "clip per update", "resumed"])
@pytest.mark.parametrize("promise", OFFLINE)
def test_every_promise_is_judged_on_a_whole_run(promise, name):
    found = OFFLINE[promise].check(CLEAN[name])
    assert found.violations == ()
    assert re.search(r"\d", found.figures)
    assert found.warnings == ()


NO_RECORDS = replace(RUN, steps=(), norms=(), evals=(), epochs=(), checkpoints=())
CASES = [
    pytest.param(f"ledger-{promise}", run, message, id=f"{promise}: {name}")
    for promise, cases in PLANTED.items()
    for name, (run, message) in cases.items()
]


@pytest.mark.parametrize(("promise", "run", "message"), CASES)
def test_a_planted_violation_is_reported_with_place_and_both_values(promise, run, message):
    lines = judged(promise, run)
    assert lines is not None
    assert any(re.search(message, line) for line in lines), lines
    assert all(re.fullmatch(r"(?s).+: expected .+, found .+", line) for line in lines)
    assert len(lines) <= 6


def test_every_offline_promise_has_planted_violations():
    assert {f"ledger-{name}" for name in PLANTED} == set(OFFLINE)


@pytest.mark.parametrize("promise", OFFLINE)
def test_a_run_of_nothing_does_not_pass(promise):
    assert judged(promise, NO_RECORDS) != []


def test_a_run_of_nothing_is_broken():
    broken = [name for name in OFFLINE if judged(name, NO_RECORDS)]
    assert {"ledger-steps-planned", "ledger-finite", "ledger-learning-rate"} <= set(broken)


def test_saturated_clipping_is_a_warning():
    low = config(train={"grad_clip_global_norm": 1e-6})
    run = each(
        "epochs", each("steps", low, clipped=lambda s: s.checks), clip_count=24, clip_rate=1.0
    )
    found = OFFLINE["ledger-clip-figures"].check(run)
    assert found.violations == ()
    assert "saturated clipping: every check clipped at 1e-06 in 4 of 4 epochs" in found.warnings[0]


@pytest.mark.parametrize(
    ("run", "warned"),
    [
        (plateau(0.001), True),
        (plateau(0.001, 0.995), True),
        (plateau(0.001, 1.3), True),
        (plateau(0.001, 0.98), False),
        (plateau(0.01), False),
        (replace(plateau(0.001), evals=plateau(0.001).evals[:2]), False),
    ],
    ids=["at it", "just below", "above", "below", "spread", "two evaluations"],
)
def test_a_plateau_at_the_zero_flow_is_a_warning_in_words(run, warned):
    found = OFFLINE["ledger-metric-alive"].check(run)
    assert found.violations == ()
    assert bool(found.warnings) == warned
    assert not warned or "this is what a dead metric looks like" in found.warnings[0]


def test_a_reason_beside_the_value_that_it_excuses_is_told():
    run = CLEAN["every second epoch"]
    row = run.epochs[1]
    both = replace(row, reasons={**row.reasons, "best_epe": "no evaluation yet"})
    (found,) = judged("ledger-finite", replace(run, epochs=(run.epochs[0], both, *run.epochs[2:])))
    assert re.search(
        r"epoch 2, best_epe: expected a value or a reason, found [\d.]+ and 'no evaluation yet'",
        found,
    )


def test_a_run_without_evaluation_says_so():
    found = OFFLINE["ledger-finite"].check(CLEAN["no evaluation"])
    assert found.warnings == ("no evaluation in the whole run",)


def test_equal_draws_of_very_few_samples_are_no_violation():
    records = make_records(sizes=(2,) * 2, train={"epoch_mode": "fixed_steps"})
    run = each("steps", run_evidence(records), batch=lambda s: f"batch {s.step}")
    assert judged("ledger-draws-new", run) is None


@pytest.mark.parametrize(
    ("samples", "batch", "steps", "told"),
    [(1, 2, 3, False), (2, 1, 2, False), (3, 1, 2, False), (3, 1, 5, True), (9, 3, 2, True)],
)
def test_one_batch_in_all_steps_is_told_where_it_is_no_coincidence(samples, batch, steps, told):
    # Of 3 samples, 4 draws of one are alike in one of 27 honest runs; 10 in one of 19,683.
    records = make_records(sizes=(batch,) * steps, train={"epoch_mode": "fixed_steps"}, epochs=2)
    records = [replace(records[0], train_samples=samples), *records[1:]]
    found = judged("ledger-draws-new", each("steps", run_evidence(records), batch="b"))
    assert bool(found) is told
    assert told or found is None


@pytest.mark.parametrize(("samples", "told"), [(2, False), (7, True)])
def test_one_order_in_every_pass_is_told_where_it_is_no_coincidence(samples, told):
    records = make_records(sizes=(samples,), epochs=2)
    found = judged("ledger-draws-new", each("steps", run_evidence(records), batch="b"))
    assert bool(found) is told


UNNAMED = each(
    "steps", archs=lambda s: ("0", "1"), run=each("epochs", fairness_gap=None,
    reasons={"fairness_gap": NOT_LOGGED}),
)  # fmt: skip


def test_nets_by_name_have_no_fair_cycles():
    with pytest.raises(UnseenError, match="no arch codes of options, but 0, 1"):
        OFFLINE["ledger-fairness"].check(UNNAMED)


SILENT = dict.fromkeys(("clip_checks", "expected_clip_checks", "clip_count", "clip_rate",
                        "lr", "train_loss_epoch_avg", "kendall_tau_prev", "best_epe",
                        "train_grad_norm_epoch_avg", "grad_norm_p50", "grad_norm_p90",
                        "grad_norm_p99", "fairness_gap", "eval_seconds"), NOT_LOGGED)  # fmt: skip


@pytest.mark.parametrize("promise", OFFLINE)
def test_a_column_that_a_log_does_not_have_is_no_breach(promise):
    run = each("epochs", reasons=SILENT, **dict.fromkeys(SILENT))
    found = judge_evidence(OFFLINE[promise], lambda: run, foreign=True)
    assert found.verdict in ("holds", "n/a"), found.text


def test_evaluations_without_digests_of_weights_and_statistics_are_not_called_dead():
    run = each("evals", stats_digest="", weights_digest="", bn_recal_batch_hash="",
               recal_batches=0)  # fmt: skip
    run = each("epochs", run, bn_recal_batch_hash=None)
    still = each("evals", run, per_arch_epe=RUN.evals[0].per_arch_epe)
    for promise in ("ledger-metric-alive", "ledger-eval-batches-fixed"):
        assert OFFLINE[promise].check(run).violations == ()
    assert OFFLINE["ledger-metric-alive"].check(still).violations == ()


def test_a_step_of_two_nets_checks_each_of_their_micro_batches():
    def checks(step):
        return 2 * math.ceil(RUN.planned_sizes[step.step - 1] / 2)

    run = each("steps", archs=("half", "full"), checks=checks)
    run = each("epochs", run, clip_checks=16, expected_clip_checks=16)
    run = replace(run, expected_clip_checks=16)
    assert judged("ledger-steps-planned", run) == []


def test_evidence_is_of_the_type_that_the_audit_hands_over():
    assert isinstance(RUN, RunEvidence)
    assert {f.name for f in dataclasses.fields(RUN)} >= {"steps", "norms", "evals", "epochs"}


def test_offline_promises_load_evidence_and_numpy_alone():
    code = (
        "import sys, harness.promises.ledger.registry, harness.watch\n"
        "found = {m for m in sys.modules if m.startswith('harness.')}\n"
        "own = {'promises', 'records', 'watch', 'errors', 'wording', 'comparing'}\n"
        "own |= {'archs', 'asides', 'devices', 'expanding', 'schedules', 'strict_json'}\n"
        # What the identity of a configuration is made of.
        "own |= {'config', 'digest', 'runs', 'fc2', 'supernet', 'evaluation', 'streams'}\n"
        "print(sorted({m.split('.')[1] for m in found} - own))\n"
        "print(sorted(m for m in found if m.startswith('harness.promises.') and m.count('.') == 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, modules = done.stdout.splitlines()
    assert others == "[]"
    subjects = set(ast.literal_eval(modules)) - {"harness.promises.ledger"}
    assert subjects == {
        f"harness.promises.{name}"
        for name in (
            "promise",
            "arch_codes",
            "candidates",
            "sampling",
            "schedule_candidates",
            "several_devices",
            "shown",
            "step_candidates",
        )
    }
