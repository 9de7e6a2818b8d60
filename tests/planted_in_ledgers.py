"""What each promise of a ledger must notice: a changed run, and words of the violation."""

import math
from dataclasses import replace

from harness.records.records import NormsRecord
from harness.records.run import run_evidence
from tests.ledger_runs import RANDOM, RESETTING, RUN, config, each, resumed, without
from tests.planted_kept import KEPT
from tests.synthetic_run import POOL, digest, make_records

LESS_NOISE = {"per_arch_epe": (6.0,) * 5, "mean_epe": 6.0, "std_epe": 0.0}
RESUMED = resumed()
NAMED = each("epochs", each("openings", RESUMED, protocol="a"), protocol="a")
PLANTED = {
    **KEPT,
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
