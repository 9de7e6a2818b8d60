"""Run directories as other trainers leave them, each with what is wrong with it or without."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Made", "write_edgeflownas", "write_lightning", "write_mmengine"]

POOL = 12


@dataclass(frozen=True)
class Made:
    """How a run of EdgeFlowNAS was made; the defaults are of a sound one.

    ``generation`` is a commit of it, ``v2`` or ``v3``: the files are of its format.
    """

    generation: str = "2ef204e"
    epochs: int = 5
    steps: int = 7
    batch: int = 10
    micro: int = 4
    configured_micro: int = 4
    threshold: float = 200.0
    norm: float = 60.0
    epe: float = 3.0
    zero: float = 7.5
    spread: float = 0.4
    noise: float = 0.05
    lr: float = 1e-4
    ahead: bool = False
    repeated: bool = False
    flat: bool = False
    nan: bool = False
    unfair: bool = False
    finished: bool = True
    resumed: int = 0
    every: int = 1
    seed: int = 3

    @property
    def per_update(self) -> bool:
        return self.generation not in ("8f83824", "3261988")

    @property
    def ranked(self) -> bool:
        return self.generation != "8f83824"

    @property
    def later(self) -> bool:
        return self.generation in ("v2", "v3")

    @property
    def manifest(self) -> bool:
        return self.generation in ("902a0e1", "5f197cd", "v2", "v3")


def _rate(made, step):
    total = made.epochs * made.steps
    return made.lr * 0.5 * (1 + math.cos(math.pi * step / total))


def _rows(made):
    rng = np.random.default_rng(made.seed)
    base = np.linspace(0, made.spread, POOL)
    rows = []
    for epoch in range(1, made.epochs + 1):
        level = made.epe + 0.5 / epoch
        scores = level + rng.permutation(base) if made.noise > 1 else level + base
        scores = scores + made.noise * rng.random(POOL) * (made.spread > 0)
        if made.flat:
            scores = made.epe + base
        norms = made.norm * (1 + 0.2 * rng.standard_normal(1000))
        checks = made.steps * (1 if made.per_update else 3 * math.ceil(made.batch / made.micro))
        clipped = round(checks * float((norms > made.threshold).mean()))
        order = np.argsort(scores, kind="stable")
        row = {
            "epoch": epoch, "mean_epe_12": float(scores.mean()), "std_epe_12": float(scores.std()),
            "fairness_gap": 0.0, "lr": _rate(made, epoch * made.steps - (not made.ahead)),
            "bn_recal_batches": 8.0, "eval_batches_per_arch": 4.0,
            "train_loss_epoch_avg": 9.0 / epoch, "train_grad_norm_epoch_avg": float(norms.mean()),
            "train_grad_norm_p50": float(np.percentile(norms, 50)),
            "train_grad_norm_p90": float(np.percentile(norms, 90)),
            "train_grad_norm_p99": float(np.percentile(norms, 99)),
            "clip_trigger_count": float(clipped), "clip_trigger_rate": clipped / checks,
            "arch_rank_12": "|".join(
                f"{place}:{arch}:{scores[arch]:.4f}" for place, arch in enumerate(order, start=1)
            ),
        }  # fmt: skip
        if made.repeated and epoch == 3:
            row |= {name: rows[0][name] for name in ("train_loss_epoch_avg", "mean_epe_12",
                                                      "train_grad_norm_epoch_avg")}  # fmt: skip
        if made.nan and epoch == 2:
            row["train_loss_epoch_avg"] = math.nan
        rows.append(row)
    return rows


def _said(made, row):
    lr = f" lr={row['lr']:.2e}" if made.manifest else ""
    p90 = f" grad_p90={row['train_grad_norm_p90']:.4f}" if made.ranked else ""
    rank = f" arch_rank_12={row['arch_rank_12']}" if made.ranked else ""
    scores = f"mean_epe_12={row['mean_epe_12']:.6f} std_epe_12={row['std_epe_12']:.6f} "
    if row["epoch"] % made.every:
        scores, rank = "eval=skipped ", ""
    return (
        f"epoch={row['epoch']}{lr} loss={row['train_loss_epoch_avg']:.6f} {scores}"
        f"fairness_gap={row['fairness_gap']:.2f} grad_norm={row['train_grad_norm_epoch_avg']:.4f}"
        f"{p90} clip_count={int(row['clip_trigger_count'])} "
        f"clip_rate={row['clip_trigger_rate']:.4f}{rank}"
    )


def _log(made, rows):
    name = f"supernet {made.generation.upper()}" if made.later else "strict-fairness supernet"
    how = " with balanced irregular-space sampling" if made.later else ""
    opening = [f"start {name} training{how}",
               f"batch_size={made.batch} micro_batch_size={made.micro}",
               f"eval_every_epoch={made.every}",
               *(["eval_batches_per_arch=4"] * made.ranked),
               f"grad_clip_global_norm={made.threshold:.4f}",
               "train_source=/data/Flying Chairs2/train train_samples=23",
               "val_source=/data/Flying Chairs2/val val_samples=7"]  # fmt: skip
    if made.manifest:
        opening.append("epoch_mode=full_pass train_sampling_mode=shuffle_no_replacement "
                       f"train_samples=23 steps_per_epoch={made.steps}")  # fmt: skip
    lines = [*opening]
    for row in rows:
        if made.resumed and row["epoch"] == made.resumed:
            lines += [*opening, "resume checkpoint=/runs/a/checkpoints/supernet_last.ckpt "
                      f"start_epoch={made.resumed} global_step={made.steps}"]  # fmt: skip
        lines.append(_said(made, row))
    return lines + [f"{name} training finished"] * made.finished


def _counts(made, steps):
    each = {str(option): steps for option in range(3)}
    found = {str(block): dict(each) for block in range(9)}
    if made.later:
        found["9"] = {"0": steps + steps // 2, "1": steps + steps - steps // 2}
    if made.unfair:
        found["4"]["1"] -= 2
    return found


def write_edgeflownas(folder: Path, made: Made = Made()) -> Path:
    """Write what a run leaves."""
    rows = _rows(made)
    (folder / "checkpoints").mkdir(parents=True)
    stamp = "2026-02-17 10:00:00,123 | INFO | "
    text = "".join(f"{stamp}{line}\n" for line in _log(made, rows))
    (folder / "train.log").write_text(text)
    counts = _counts(made, made.epochs * made.steps)
    for which in ("last", "best"):
        scored = [row for row in rows if row["epoch"] % made.every == 0]
        row = rows[-1] if which == "last" else min(scored, key=lambda r: r["mean_epe_12"])
        extra = {"row": row} if row in scored else {"eval_skipped": True}
        meta = {
            "checkpoint_path": f"/runs/a/checkpoints/supernet_{which}.ckpt", "epoch": row["epoch"],
            "metric": row["mean_epe_12"], "global_step": row["epoch"] * made.steps,
            "best_metric": row["mean_epe_12"], "bad_epochs": 0, "fairness_counts": counts,
            "extra": extra,
        }  # fmt: skip
        (folder / f"checkpoints/supernet_{which}.ckpt.meta.json").write_text(json.dumps(meta))
    if made.manifest:
        _write_run_manifest(folder, made)
    if made.finished:
        _write_ending(folder, made, rows, counts)
    return folder


def _write_run_manifest(folder, made):
    manifest = {
        "manifest_type": "run_manifest", "git_commit": made.generation,
        "resume_signature": {
            "supernet_mode": "balanced_irregular_fairness" if made.later else "strict_fairness",
            "input_shape": [32, 48],
        },
        "train_snapshot": {
            "num_epochs": made.epochs, "epoch_mode": "full_pass", "steps_per_epoch": 50,
            "batch_size": made.batch, "micro_batch_size": made.configured_micro, "lr": made.lr,
            "lr_schedule": "cosine", "grad_clip_global_norm": made.threshold,
        },
        "eval_snapshot": {"eval_every_epoch": made.every, "eval_pool_size": POOL,
                          "bn_recal_batches": 8, "eval_batches_per_arch": 4},
    }  # fmt: skip
    (folder / "run_manifest.json").write_text(json.dumps(manifest))


def _write_ending(folder, made, rows, counts):
    old = {"eval_batches_per_arch", "train_grad_norm_p50", "train_grad_norm_p90",
           "train_grad_norm_p99", "arch_rank_12"}  # fmt: skip
    kept = [row for row in rows if row["epoch"] >= made.resumed and not row["epoch"] % made.every]
    names = [name for name in rows[0] if made.ranked or name not in old]
    with (folder / "eval_epe_history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    (folder / "fairness_counts.json").write_text(json.dumps(counts, indent=2))
    manifest = {"seed": 42, "git_commit": made.generation, "input_shape": [32, 48],
                "lr_schedule": "cosine", "grad_clip": made.threshold}  # fmt: skip
    (folder / "train_manifest.json").write_text(json.dumps(manifest))


def write_lightning(folder: Path, *, norm: float = 3.0, epochs: int = 3, steps: int = 5) -> Path:
    """Write ``metrics.csv`` as Lightning's CSVLogger does, with its columns and empty cells."""
    names = ["epoch", "lr-Adam", "step", "train_loss_step", "grad_2.0_norm_total", "val_epe",
             "train_loss_epoch"]  # fmt: skip
    rows = []
    for epoch in range(epochs):
        for step in range(epoch * steps, (epoch + 1) * steps):
            rows.append({"epoch": epoch, "step": step, "train_loss_step": 9 / (1 + step),
                         "grad_2.0_norm_total": norm * (1 + step / 50),
                         "lr-Adam": 1e-3})  # fmt: skip
        rows.append({"epoch": epoch, "step": step, "val_epe": 5 / (1 + epoch)})
        rows.append({"epoch": epoch, "step": step, "train_loss_epoch": 8 / (1 + epoch)})
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write_mmengine(folder: Path, *, norm: float = 3.0, by_epoch: bool = True) -> Path:
    """Write ``vis_data/scalars.json`` as MMEngine's LocalVisBackend does."""
    lines = []
    for epoch in range(1, 4):
        for step in range(1, 6):
            line = {"lr": 1e-3, "data_time": 0.01, "loss": 9.0 / (epoch * 5 + step),
                    "grad_norm": norm * (1 + epoch / 50 + step / 10), "time": 0.1}  # fmt: skip
            iteration = (epoch - 1) * 5 + step
            lines.append(line | ({"epoch": epoch} if by_epoch else {}) | {"iter": iteration,
                         "memory": 100, "step": iteration})  # fmt: skip
        lines.append({"EPE": 5.0 / epoch, "step": epoch})
    (folder / "vis_data").mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "vis_data" / "scalars.json").write_text(text)
    return folder
