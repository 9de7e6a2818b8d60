"""A run whose every step sees one batch, so that its steps can be recomputed."""

from pathlib import Path
from typing import Any

from harness.errors import NotApplicableError
from harness.promises.bench import Bench, Tree, changed, stands_for
from harness.promises.samples import copy_samples, listed_samples, odd_samples

__all__ = ["crop_of_random_draws", "one_batch_folder", "one_batch_sections"]


_NO_CLIP = 1e9


def crop_of_random_draws(bench: Bench) -> tuple[int, int] | None:
    """Return the training crop of a system that cannot but draw at random; None of another.

    On copies of one sample, no larger than the crop, every draw of it is the same.
    """
    fixed, data = bench.describe().settings, bench.config["data"]
    draws = fixed.get("train.epoch_mode") == "fixed_steps"
    if draws or fixed.get("train.train_crop_mode") == "random":
        return data["input_height"], data["input_width"]
    return None


def one_batch_folder(bench: Bench, name: str) -> Path:
    """Write the odd samples that are one batch, under a name; return their folder.

    Of a system that draws at random they are copies of one sample: whichever is drawn, it is the
    same batch.
    """
    folder, crop = odd_samples(bench, name), crop_of_random_draws(bench)
    if crop is None:
        return folder
    samples, copies = listed_samples(folder / "train"), bench.folder / f"{name}-copies"
    copy_samples(folder / "train", dict.fromkeys(samples, samples[0]), copies, crop=crop)
    return copies


def one_batch_sections(
    bench: Bench, folder: Path, size: int, *, micro: int, position: str = "", clip: float = _NO_CLIP
) -> dict[str, dict[str, Any]]:
    """Return the sections of a run whose every step sees one batch of the split, centre crop.

    Where a system has a mode that it cannot vary, the run is asked for in that one.

    Parameters
    ----------
    position : str, optional
        Where to clip. Default: once per update, or where the system clips.

    Raises
    ------
    NotApplicableError
        If the system cannot be asked for such a batch.
    """
    train = {
        "num_epochs": 3, "epoch_mode": "full_pass", "train_sampling_mode": None,
        "train_crop_mode": "center", "batch_size": size, "micro_batch_size": micro,
        "clip_position": position or "update", "grad_clip_global_norm": clip,
    }  # fmt: skip
    # One recalibration batch, with the samples and the crop of the training batch: `predict`
    # then normalises as training does, and its outputs are those of the loss (decision 0006).
    evaluation = {
        "bn_recal_batches": 1, "batch_size": size, "crop": None, "recal_mode": "fixed",
        "eval_batches_per_arch": 1,
    }  # fmt: skip
    sections: dict[str, dict[str, Any]] = {
        "data": {"base_path": str(folder), "train_dir": "train", "val_dir": "val"},
        "train": train, "eval": evaluation,
    }  # fmt: skip
    for key, only in bench.describe().settings.items():
        section, name = key.split(".")
        if name not in sections.get(section, {}):
            continue
        if key in _NEEDED or (position and key == "train.clip_position"):
            _require_setting(bench, sections, key, only)
        sections[section][name] = only
    if train["epoch_mode"] == "fixed_steps":
        train["steps_per_epoch"] = 1
    return sections


_NEEDED = (
    "data.base_path", "data.train_dir", "data.val_dir", "train.num_epochs", "train.batch_size",
    "train.micro_batch_size", "train.grad_clip_global_norm", "eval.bn_recal_batches",
)  # fmt: skip
"""Keys of which one value alone makes a step that can be recomputed."""


def _require_setting(bench: Bench, sections: Tree, key: str, only: Any) -> None:
    section, name = key.split(".")
    if key == "eval.bn_recal_batches" and "recalibrate" not in bench.describe().can:
        return  # nothing depends on it
    asked, tree = sections[section][name], changed(bench.config, **sections)
    if stands_for(tree, key, asked) != stands_for(tree, key, only):
        msg = f"{key} must be {asked!r} to recompute a step, and the system has {only!r} alone"
        raise NotApplicableError(msg)
