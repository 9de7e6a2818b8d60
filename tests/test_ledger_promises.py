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
from harness.records.ledger import effective
from harness.records.records import NOT_LOGGED, CheckpointRecord, NormsRecord, ResumeRecord
from harness.records.run import RunEvidence, run_evidence
from tests.synthetic_run import POOL, ZERO_FLOW, digest, make_records, opening, tree

OFFLINE = LEDGER_PROMISES
RUN = run_evidence(make_records())
RANDOM = run_evidence(make_records(eval={"recal_mode": "random"}))
RESETTING = run_evidence(make_records(checkpoint={"reset_early_stop_on_resume": True}))


def judged(promise, run):
    """Return a promise's violations as text; None where it does not apply."""
    try:
        return [str(violation) for violation in OFFLINE[promise].check(run).accused()]
    except NotApplicableError:
        return None


def each(kind, run=RUN, only=None, **changes):
    """Change fields of every record of a kind, or of the one at a place."""
    records = [
        replace(record, **{k: v(record) if callable(v) else v for k, v in changes.items()})
        if only is None or i == only % len(getattr(run, kind))
        else record
        for i, record in enumerate(getattr(run, kind))
    ]
    return replace(run, **{kind: tuple(records)})


def without(kind, place, run=RUN):
    records = list(getattr(run, kind))
    del records[place]
    return replace(run, **{kind: tuple(records)})


def config(run=RUN, **sections):
    tree = {name: {**values, **sections.get(name, {})} for name, values in run.config.items()}
    return replace(run, config=tree)


def plateau(std, share=1.0):
    return each("evals", mean_epe=ZERO_FLOW * share, std_epe=std)


def killed(run, steps):
    """Return the run without its last epoch's row, norms and scores, after some steps of it."""
    last = run.epochs[-1].epoch
    kept = {
        kind: tuple(r for r in getattr(run, kind) if r.epoch < last)
        for kind in ("norms", "evals", "epochs", "checkpoints")
    }
    return replace(run, steps=run.steps[: (last - 1) * len(run.planned_sizes) + steps], **kept)


def resumed():
    """Return a run that was cut in epoch 3 and resumed from its second step."""
    records = make_records()
    place = next(i for i, r in enumerate(records) if getattr(r, "epoch", 0) == 3)
    lost = replace(records[place + 2], loss=9.0)
    border = [opening(tree(), attempt=2), ResumeRecord(2, 2, 2, 8, "d")]
    saved = CheckpointRecord(2, 2, 8, "epoch-0002-step-00002-attempt-1", "d")
    return run_evidence(
        effective([*records[: place + 2], saved, lost, *border, *records[place + 2 :]])
    )


def cut_before_its_row():
    """Return a run that died between an epoch's evaluation and its row."""
    last = RUN.epochs[-1].epoch
    rows = tuple(row for row in RUN.epochs if row.epoch < last)
    return replace(RUN, epochs=rows, checkpoints=RUN.checkpoints[:-1])


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
LESS_NOISE = {"per_arch_epe": (6.0,) * 5, "mean_epe": 6.0, "std_epe": 0.0}
RESUMED = resumed()
NAMED = each("epochs", each("openings", RESUMED, protocol="a"), protocol="a")
PLANTED = {
    "attempts-agree": {
        "other dynamics in one segment": (
            replace(each("openings", NAMED, 1, identity="other"), protocol="a"),
            "attempt 2 at segment main, identity: expected 1d as in attempt 1, found other",
        ),
        "another protocol in one segment": (
            replace(each("openings", NAMED, 1, protocol="b"), protocol="a"),
            "attempt 2 at segment main, protocol: expected a as in attempt 1, found b",
        ),
        "a row of another segment": (
            each("epochs", only=1, segment="clip-20"),
            "epoch 2, segment: expected main, found clip-20",
        ),
        "a row of another protocol": (
            replace(each("epochs", NAMED, 1, protocol="b"), protocol="a"),
            "epoch 2, protocol: expected a, found b",
        ),
        "another checkpoint than was saved": (
            each("checkpoints", only=1, digest="other"),
            "epoch 2, checkpoint_digest: expected other, as saved, found ",
        ),
        "a resume from nowhere": (
            each("resumes", replace(NAMED, protocol="a"), checkpoint="other"),
            "attempt 2, where it restarts: expected a checkpoint that the run saved, found other",
        ),
        "a resume with other counters": (
            each("resumes", RESUMED, global_step=17),
            r"where it restarts: expected \(2, 2, 8\), as its checkpoint, found \(2, 2, 17\)",
        ),
        "a start from nothing in the middle": (
            each("resumes", RESUMED, checkpoint=""),
            r"where it restarts: expected step 0, it has no checkpoint, found \(2, 2, 8\)",
        ),
    },
    "steps-planned": {
        "a step is missing": (
            without("steps", 4),
            "epoch 2, number of its step 2: expected 2, found 3",
        ),
        "the last step is missing": (without("steps", 5), "epoch 2, steps: expected 3, found 2"),
        "a step comes twice": (
            replace(RUN, steps=(*RUN.steps[:2], RUN.steps[1], *RUN.steps[2:])),
            "epoch 1, number of its step 3: expected 3, found 2",
        ),
        "an epoch is missing": (
            replace(RUN, steps=tuple(s for s in RUN.steps if s.epoch != 2)),
            "epochs of steps: expected epoch 2, found epoch 3",
        ),
        "a row is missing": (
            without("epochs", 1),
            "epoch 2: expected a row in the log, found none",
        ),
        "micro-batches are batches": (
            each("steps", checks=3),
            r"step 1, clip checks: expected 9, found 3, which implies "
            r"ceil\(batch / micro-batch\) = 1\.00 for batch 5, micro-batch 2",
        ),
        "the epoch counts too few": (
            each("epochs", only=1, clip_checks=18),
            r"epoch 2, clip_checks: expected 24, found 18, which implies ceil.* = 2\.00",
        ),
        "expected is counted, not planned": (
            each("epochs", expected_clip_checks=27),
            "expected_clip_checks: expected 24, found 27",
        ),
        "announced otherwise": (replace(RUN, expected_clip_checks=27), "announced clip checks"),
        "the step counter jumps": (
            each("epochs", only=2, global_step=10),
            "epoch 3, global_step: expected 9 steps executed, found 10",
        ),
    },
    "clip-figures": {
        "a count": (
            each("epochs", only=1, clip_count=0),
            "epoch 2, clip_count: expected .*, found 0",
        ),
        "a rate": (each("epochs", only=0, clip_rate=0.5), "epoch 1, clip_rate"),
        "a quantile": (each("epochs", grad_norm_p90=1.0), "epoch 1, grad_norm_p90"),
        "a mean": (each("epochs", train_grad_norm_epoch_avg=1.0), "train_grad_norm_epoch_avg"),
        "a norm is missing": (
            each("norms", only=0, norms=lambda r: r.norms[:-1]),
            "epoch 1, clip_checks: expected 23",
        ),
        "another threshold": (config(train={"grad_clip_global_norm": 20.0}), "epoch 1, clip_count"),
        "a step's clips": (each("steps", only=4, clipped=0), "epoch 2, step 2, clipped: expected "),
        "a step's norm": (each("steps", only=4, norm=1.0), "epoch 2, step 2, norm: expected "),
        "an infinite norm": (
            each("norms", only=1, norms=lambda r: (math.inf, *r.norms[1:])),
            "epoch 2, norms: expected finite norms, found inf among 24",
        ),
        "norms of one epoch are lost": (without("norms", 2), "epoch 3, norms: expected recorded"),
        "one value for all": (
            each("norms", norms=(1.0,) * 24),
            "gradient norms: expected different values, found 1, 96",
        ),
    },
    "learning-rate": {
        "constant": (each("steps", lr=1e-3), "epoch 1, step 2: expected 0.000989.*, step 1 of 15"),
        "restarted": (
            each("steps", lr=lambda s: RUN.steps[(s.step - 1)].lr),
            "learning rate of epoch 2, step 1: expected .*, step 3 of 15, found 0.001",
        ),
        "another length": (config(train={"num_epochs": 4}), "epoch 1, step 2: expected "),
        "beyond the plan": (
            run_evidence(make_records(train={"num_epochs": 3})),
            "epoch 4, step 1: expected none: 9 steps are planned",
        ),
        "the row's": (each("epochs", only=1, lr=1e-3), "epoch 2, lr: expected .* its last step's"),
    },
    "fairness": {
        "an option twice": (
            each("steps", only=3, archs=lambda s: (s.archs[0], s.archs[0], s.archs[2])),
            "epoch 2, step 1, block 0: expected options 0, 1, 2 once each",
        ),
        "two archs a step": (
            each("steps", archs=lambda s: s.archs[:2]),
            "step 1, archs: expected three",
        ),
        "the gap is invented": (
            each("epochs", only=1, fairness_gap=2),
            "epoch 2, fairness_gap.*found 2",
        ),
        "the gap is hidden": (
            each("steps", only=0, archs=lambda s: tuple(f"0{arch[1:]}" for arch in s.archs)),
            "epoch 1, fairness_gap: expected 3 as counted",
        ),
        "cycles of the first epoch": (
            each("steps", archs=lambda s: RUN.steps[s.step - 1].archs),
            "fair cycles of epoch 2: expected others than in epoch 1, found the same",
        ),
        "one cycle": (
            each("steps", archs=RUN.steps[0].archs),
            "epoch 1: expected another in each step",
        ),
    },
    "draws-new": {
        "one order": (
            each("steps", batch=lambda s: f"batch {s.step}"),
            "training batches of epoch 2: expected others than in epoch 1, found the same",
        ),
        "one batch": (each("steps", batch="b"), "training batches: .*found b in all 12 steps"),
        "one batch an epoch": (
            each("steps", batch=lambda s: f"batch {s.epoch}"),
            "epoch 1, training batch batch 1: expected once in a full pass, found 3 times",
        ),
        "a resume repeats a batch": (
            each("steps", only=5, batch=RUN.steps[4].batch),
            "epoch 2, .*found 2 times",
        ),
    },
    "eval-batches-fixed": {
        "other eval batches": (
            each("evals", only=2, eval_batch_hash="other"),
            "epoch 3, eval_batch_hash: expected '.*' as in epoch 1, found 'other'",
        ),
        "other recal batches": (
            each("evals", bn_recal_batch_hash=lambda r: digest(r.epoch)),
            "epoch 2, bn_recal_batch_hash",
        ),
        "random recal repeats": (
            each("evals", RANDOM, bn_recal_batch_hash="r"),
            r"epoch 2, bn_recal_batch_hash \(recal_mode is random\): .* than in epoch 1",
        ),
        "another zero flow": (each("evals", only=1, zero_flow_epe=7.4), "epoch 2, zero_flow_epe"),
        "another pool": (each("evals", only=3, archs=POOL[::-1]), "epoch 4, archs: expected "),
        "the row's hash": (
            each("epochs", only=1, eval_batch_hash="other"),
            "epoch 2, eval_batch_hash in the log",
        ),
        "hashes of nothing": (
            each("evals", eval_batch_hash=""),
            "eval_batch_hash of epoch 1: expected a",
        ),
    },
    "metric-alive": {
        "EPE stays": (
            each("evals", per_arch_epe=RUN.evals[0].per_arch_epe),
            "epoch 2, per-arch EPE: expected others than in epoch 1, the weights have changed, "
            "found the same for all 5 archs: a dead metric",
        ),
        "archs score alike": (
            each("evals", **LESS_NOISE),
            "epoch 1, EPE of the pool: .*found 6.0 px for all 5",
        ),
        "recalibration stays": (
            each("evals", stats_digest="s"),
            "epoch 2, stats_digest: .*recalibration computes nothing",
        ),
        "EPE moves alone": (
            each("evals", only=2, weights_digest=RUN.evals[1].weights_digest),
            "epoch 3, EPE of arch 000000000: expected .* with the same weights and batches",
        ),
        "weights stay": (
            each("evals", weights_digest="w"),
            "epoch 2, weights_digest: expected others than in epoch 1 after 3 steps",
        ),
    },
    "tau": {
        "made up": (
            each("epochs", only=2, kendall_tau_prev=0.3),
            "epoch 3, .*counting pairs, found 0.3",
        ),
        "of the first": (
            each("epochs", only=0, kendall_tau_prev=1.0),
            "epoch 1, .*null: there is no evaluation",
        ),
        "1.0 for a constant ranking": (
            each("epochs", each("evals", only=1, **LESS_NOISE), 1, kendall_tau_prev=1.0),
            "expected null: the ranking of epoch 2 is constant, found 1.0",
        ),
        "of other batches": (
            each("evals", only=1, eval_batch_hash="o"),
            "expected null: epoch 1 scored other batches",
        ),
        "of another pool": (each("evals", only=1, archs=POOL[::-1]), "epoch 1 scored another pool"),
        "left out": (
            each("epochs", only=2, kendall_tau_prev=None),
            "epoch 3, .*counting pairs, found null: None",
        ),
        "without a reason": (
            each("epochs", only=0, reasons={}),
            "epoch 1, .*null with a reason, found null without",
        ),
    },
    "scores-add-up": {
        "the row's mean": (
            each("epochs", only=1, mean_epe_12=1.0),
            "epoch 2, mean_epe_12 in the log",
        ),
        "a stale row": (
            each("epochs", only=1, mean_epe_12=RUN.epochs[0].mean_epe_12),
            "epoch 2, mean_epe_12",
        ),
        "a sample's deviation": (
            each("epochs", std_epe_12=lambda r: r.std_epe_12 * math.sqrt(5 / 4)),
            "std_epe_12",
        ),
        "a median": (
            each("epochs", per_arch_epe_median=lambda r: r.mean_epe_12),
            "_median in the log",
        ),
        "min and max": (
            each("epochs", per_arch_epe_min=0.0),
            "epoch 1, per_arch_epe_min in the log",
        ),
        "the record's mean": (
            each("evals", only=0, mean_epe=1.0),
            "evaluation of epoch 1, mean_epe",
        ),
        "a wrapped split": (
            each("evals", samples=12),
            "samples: expected 7 to 9 in 3 batches of 3",
        ),
        "too many batches": (each("evals", batches=4, samples=12), "batches: expected at most 3"),
        "a missing evaluation": (
            without("evals", 2),
            "epoch 3, .*null: the epoch has no evaluation",
        ),
        "no evaluation at all": (
            replace(RUN, evals=()),
            "found no evaluation is recorded, of which the log has scores",
        ),
        "two evaluations": (
            replace(RUN, evals=(*RUN.evals, RUN.evals[-1])),
            "evaluations: expected one an epoch",
        ),
        "another pool size": (
            each("epochs", eval_pool_size=12),
            "eval_pool_size in the log: expected 5",
        ),
    },
    "loss-average": {
        "a mean of means": (
            each(
                "epochs",
                train_loss_epoch_avg=lambda r: (
                    math.fsum(s.loss for s in RUN.steps if s.epoch == r.epoch) / 3
                ),
            ),
            "epoch 1, train_loss_epoch_avg: expected ",
        ),
        "of the epoch before": (
            each("epochs", only=1, train_loss_epoch_avg=RUN.epochs[0].train_loss_epoch_avg),
            "epoch 2, ",
        ),
        "constant": (
            each("steps", loss=1.0),
            "loss: expected different .*found 1.0 in all 12 steps",
        ),
    },
    "finite": {
        "a loss": (each("steps", only=4, loss=math.nan), "epoch 2, step 2, loss: .*found nan"),
        "a norm": (
            replace(RUN, norms=(NormsRecord(1, (1.0, math.inf)), *RUN.norms[1:])),
            r"epoch 1, norms\[1\]: expected a finite number, found inf",
        ),
        "a score": (
            each("evals", only=1, per_arch_epe=(1.0, math.nan, 1.0, 1.0, 1.0)),
            r"per_arch_epe\[1\]",
        ),
        "a column": (each("epochs", only=1, clip_rate=math.nan), "epoch 2, clip_rate: .*found nan"),
        "a gap without a reason": (
            each("epochs", only=3, eval_seconds=None),
            "epoch 4, eval_seconds: .*or a reason, found null",
        ),
        "an evaluation left out": (
            each("epochs", only=3, mean_epe_12=None, reasons={"mean_epe_12": "busy"}),
            "epoch 4, mean_epe_12: expected a score: eval_every_epoch is 1, found null: busy",
        ),
        "no digest": (
            each("epochs", checkpoint_digest=None),
            "epoch 1, checkpoint_digest: expected its",
        ),
    },
    "best-tracked": {
        "the last one": (
            each("epochs", each("evals"), best_epe=9.0),
            "epoch 1, best_epe: expected .*found 9.0",
        ),
        "it rises": (
            each("epochs", only=3, best_epe=RUN.epochs[2].mean_epe_12),
            "epoch 4, .*the lowest so far",
        ),
        "it is lost": (each("epochs", only=2, best_epe=None), "epoch 3, best_epe: .*found None"),
        "it starts again": (
            each("epochs", replace(RESETTING, attempts=2), best_epe=lambda r: r.mean_epe_12 + 1),
            "epoch 1, best_epe",
        ),
    },
}
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
        "own = {'promises', 'records', 'watch', 'errors', 'wording'}\n"
        "print(sorted({m.split('.')[1] for m in found} - own))\n"
        "print(sorted(m for m in found if m.startswith('harness.promises.') and m.count('.') == 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, modules = done.stdout.splitlines()
    assert others == "[]"
    subjects = set(ast.literal_eval(modules)) - {"harness.promises.ledger"}
    assert subjects == {
        f"harness.promises.{name}"
        for name in ("promise", "arch_codes", "candidates", "step_candidates")
    }
