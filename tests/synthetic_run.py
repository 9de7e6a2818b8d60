"""A correct run, made of records by NumPy and the standard library alone."""

import hashlib
import math
import statistics

import numpy as np

from harness.records.records import (
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    NormsRecord,
    RunRecord,
    StepRecord,
)

SIZES, MICRO, LR, THRESHOLD = (5, 5, 4), 2, 1e-3, 50.0
POOL = ("000000000", "111111111", "222222222", "012012012", "210210210")
ZERO_FLOW = 7.5


def digest(*parts):
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def tree(**sections):
    base = {
        "train": {
            "num_epochs": 5, "epoch_mode": "full_pass", "batch_size": 5, "micro_batch_size": MICRO,
            "steps_per_epoch": len(SIZES), "lr": LR, "grad_clip_global_norm": THRESHOLD,
            "clip_position": "micro_step",
        },
        "eval": {
            "eval_every_epoch": 1, "eval_pool_size": 5, "bn_recal_batches": 2, "batch_size": 3,
            "eval_batches_per_arch": 3, "recal_mode": "fixed", "frozen": "",
            "early_stop_patience": 3, "early_stop_min_delta": 0.01,
        },
        "checkpoint": {"reset_early_stop_on_resume": False},
    }  # fmt: skip
    return {name: {**values, **sections.get(name, {})} for name, values in base.items()}


def opening(config, sizes=SIZES, attempt=1, environment=None):
    checks = sum(step_checks(config, size) for size in sizes)
    runs = tuple((size, sizes.count(size)) for size in sorted(set(sizes), reverse=True))
    batch, micro = config["train"]["batch_size"], config["train"]["micro_batch_size"]
    threads = environment or {"threads": 2}
    return RunRecord(attempt, config, threads, sum(sizes), 7, batch, micro, runs, checks, "1d")


def step_checks(config, size):
    per_update = config["train"]["clip_position"] == "update"
    return 1 if per_update else 3 * math.ceil(size / config["train"]["micro_batch_size"])


def cycle(rng):
    orders = [rng.permutation(3) for _ in range(9)]
    return tuple("".join(str(order[i]) for order in orders) for i in range(3))


def tau_b(one, other):
    """Count pairs, one by one."""
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    signs = [(np.sign(one[i] - one[j]), np.sign(other[i] - other[j])) for i, j in pairs]
    balance = sum(a * b for a, b in signs)
    return float(balance / math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)))


def scores(epoch, rng, config):
    epe = tuple(float(value) for value in 6.0 / epoch + rng.random(len(POOL)))
    fixed = config["eval"]["recal_mode"] == "fixed"
    return EvalRecord(
        archs=POOL, per_arch_epe=epe, mean_epe=math.fsum(epe) / len(epe),
        std_epe=statistics.pstdev(epe), zero_flow_epe=ZERO_FLOW, samples=7, batches=3,
        batches_asked=3, recal_batches=2, eval_batch_hash=digest("eval"),
        bn_recal_batch_hash=digest("recal", 0 if fixed else epoch),
        stats_digest=digest("stats", epoch), weights_digest=digest("weights", epoch),
        flow_clip=None, eval_seconds=1.5, bn_recal_seconds=0.5, epoch=epoch,
    )  # fmt: skip


def row(epoch, config, steps, norms, losses, found, previous, best):
    over = sum(norm > THRESHOLD for norm in norms)
    quantiles = np.quantile(norms, [0.5, 0.9, 0.99])
    values = {
        "epoch": epoch, "global_step": epoch * len(steps), "fairness_gap": 0, "lr": steps[-1].lr,
        "train_loss_epoch_avg": math.fsum(losses) / len(losses),
        "train_grad_norm_epoch_avg": math.fsum(norms) / len(norms),
        "clip_checks": len(norms), "expected_clip_checks": len(norms), "clip_count": over,
        "segment": "main", "protocol": "", "clip_rate": over / len(norms), "best_epe": best,
        "checkpoint_digest": digest("c", epoch),
        **{f"grad_norm_p{p}": float(q) for p, q in zip((50, 90, 99), quantiles, strict=True)},
    }  # fmt: skip
    reasons = {}
    if found is None:
        reasons = dict.fromkeys(
            set(EpochRecord.__dataclass_fields__) - set(values), "no evaluation"
        )
        values |= dict.fromkeys(reasons)
        if best is None:
            reasons["best_epe"] = "no evaluation yet"
    else:
        epe = found.per_arch_epe
        tau = None if previous is None else tau_b(epe, previous.per_arch_epe)
        reasons = {} if previous else {"kendall_tau_prev": "no previous evaluation"}
        values |= {
            "mean_epe_12": found.mean_epe, "std_epe_12": found.std_epe, "kendall_tau_prev": tau,
            "bn_recal_batches": 2, "eval_batches_per_arch": 3, "eval_seconds": 1.5,
            "bn_recal_seconds": 0.5, "per_arch_epe_min": min(epe), "per_arch_epe_max": max(epe),
            "per_arch_epe_median": statistics.median(epe), "eval_pool_size": len(epe),
            "eval_batch_hash": found.eval_batch_hash, "zero_flow_epe": found.zero_flow_epe,
            "bn_recal_batch_hash": found.bn_recal_batch_hash,
        }  # fmt: skip
    return EpochRecord(**{**values, "reasons": reasons})


def one_epoch(epoch, config, sizes, rng, total):
    """Return the steps, norms and micro-batch losses of an epoch."""
    steps, norms, losses = [], [], []
    for number, size in enumerate(sizes, start=1):
        own = [float(norm) for norm in 2 * THRESHOLD * rng.random(step_checks(config, size))]
        parts = [float(loss) for loss in 1 + rng.random(3 * math.ceil(size / MICRO))]
        done = (epoch - 1) * len(sizes) + number - 1
        steps.append(
            StepRecord(
                epoch, number, cycle(rng), digest("batch", epoch, number),
                LR * 0.5 * (1 + math.cos(math.pi * done / total)), float(np.mean(parts)),
                len(own), sum(norm > THRESHOLD for norm in own), max(own),
            )
        )  # fmt: skip
        norms += own
        losses += parts
    return steps, norms, losses


def make_records(*, epochs=4, sizes=SIZES, evaluate=True, **sections):
    """Return the records of a run without its opening, in the order of a ledger."""
    config, rng = tree(**sections), np.random.default_rng(3)
    total = len(sizes) * config["train"]["num_epochs"]
    records, previous, best, best_name = [], None, None, ""
    for epoch in range(1, epochs + 1):
        steps, norms, losses = one_epoch(epoch, config, sizes, rng, total)
        records += [*steps, NormsRecord(epoch, tuple(norms))]
        found = None
        if evaluate and epoch % config["eval"]["eval_every_epoch"] == 0:
            found = scores(epoch, rng, config)
            records.append(found)
            if best is None or found.mean_epe < best:
                best, best_name = found.mean_epe, f"epoch-{epoch:04d}-step-00000-attempt-1"
        name = f"epoch-{epoch:04d}-step-00000-attempt-1"
        done = epoch * len(sizes)
        records.append(CheckpointRecord(epoch, 0, done, name, digest("c", epoch), best_name))
        records.append(row(epoch, config, steps, norms, losses, found, previous, best))
        previous = found or previous
    return [opening(config, sizes), *records]
