"""Scores one arch of a checkpoint: the script that a search calls in a process for each."""

import argparse
import json
from pathlib import Path

import numpy as np
from PACKAGE.data.dataloader_builder import build_fc2_provider
from PACKAGE.data.prefetch_provider import PrefetchBatchProvider
from PACKAGE.data.transforms_180x240 import standardize_image_tensor
from PACKAGE.engine.supernet_v3_evaluator import setup_supernet_v3_eval_model


def _build_parser():
    parser = argparse.ArgumentParser()
    for name in ("config", "fixed_arch", "experiment_dir", "output_dir"):
        parser.add_argument("--" + name)
    parser.add_argument("--checkpoint_type", default="best")
    parser.add_argument("--max_fc2_val_samples", type=int)
    return parser


def _build_overrides(args):
    return {}


def run_fixed_subnet_eval_v3(config_path, overrides, args):
    """Recalibrate for the arch, and score it on the split from its start."""
    config = json.loads(Path(config_path).read_text())
    arch, size = [int(text) for text in args.fixed_arch.split(",")], config["train"]["batch_size"]
    train = build_fc2_provider(config=config, split="train", seed_offset=0, provider_mode="train")
    val = build_fc2_provider(config=config, split="val", seed_offset=1, provider_mode="eval")
    train = PrefetchBatchProvider(train, prefetch_batches=config["data"]["prefetch_batches"])
    g = setup_supernet_v3_eval_model(
        experiment_dir=args.experiment_dir,
        checkpoint_type=args.checkpoint_type,
        size=(config["data"]["input_height"], config["data"]["input_width"]),
    )
    scores = []
    try:
        g["saver"].restore(g["sess"], g["checkpoint_path"])
        for _ in range(config["eval"]["bn_recal_batches"]):
            feed = {g["input_ph"]: standardize_image_tensor(train.next_batch(batch_size=size)[0])}
            feed.update({g["arch_code_ph"]: arch, g["is_training_ph"]: True})
            g["sess"].run(g["update_ops"], feed_dict=feed)
        for start in range(0, min(len(val), args.max_fc2_val_samples), size):
            val.reset_cursor(start)
            frames, _, _, label = val.next_batch(batch_size=size)
            feed = {g["input_ph"]: standardize_image_tensor(frames), g["label_ph"]: label}
            feed.update({g["arch_code_ph"]: arch, g["is_training_ph"]: False})
            scores.append(float(g["sess"].run(g["epe_tensor"], feed_dict=feed)))
    finally:
        g["sess"].close()
    return {"fc2_epe": float(np.mean(scores))}
