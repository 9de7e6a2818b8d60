"""Builds the provider of a split."""

from pathlib import Path

from PACKAGE.data.fc2_dataset import list_samples
from PACKAGE.history import EVAL_FIXED, FULL_PASS


def _build(config, split, seed_offset, mode):
    data, train = config["data"], config.get("train", {})
    if mode == "train":
        mode = "random"
        if FULL_PASS and train.get("epoch_mode") == "full_pass":
            mode = "center" if train.get("train_crop_mode") == "center" else "shuffle"
    folder = Path(data["base_path"]) / data[f"{split}_dir"]
    crop = int(data["input_height"]), int(data["input_width"])
    seed = int(config["runtime"]["seed"]) + seed_offset
    return _Provider(list_samples(folder), crop, seed, mode)


if FULL_PASS:
    from PACKAGE.data.fc2_dataset import EpochProvider as _Provider
elif EVAL_FIXED:
    from PACKAGE.data.fc2_dataset import CursorProvider as _Provider
else:
    from PACKAGE.data.fc2_dataset import FC2BatchProvider as _Provider

if EVAL_FIXED:

    def build_fc2_provider(config, split, seed_offset=0, provider_mode="train"):
        """Build the provider of a split, for training or for evaluation."""
        return _build(config, split, seed_offset, provider_mode)

else:

    def build_fc2_provider(config, split, seed_offset=0):
        """Build the provider of a split."""
        return _build(config, split, seed_offset, "train")
