"""Checkpoints: a Saver's files and a JSON file beside them."""

import json
from pathlib import Path


def build_checkpoint_paths(experiment_dir):
    """Return the prefixes of both checkpoints."""
    root = Path(experiment_dir) / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    return {name: root / f"supernet_{name}.ckpt" for name in ("best", "last")}


def save_checkpoint(sess, saver, path_prefix, epoch, metric, global_step, best_metric, bad_epochs,
                    fairness_counts, extra_payload=None):  # fmt: skip
    """Write a checkpoint."""
    saver.save(sess, str(path_prefix))
    meta = {
        "epoch": epoch, "metric": metric, "global_step": global_step, "best_metric": best_metric,
        "bad_epochs": bad_epochs, "fairness_counts": fairness_counts, "extra": extra_payload or {},
    }  # fmt: skip
    Path(f"{path_prefix}.meta.json").write_text(json.dumps(meta))


def restore_checkpoint(sess, saver, path_prefix):
    """Read a checkpoint."""
    saver.restore(sess, str(path_prefix))
    return {"meta": json.loads(Path(f"{path_prefix}.meta.json").read_text())}
