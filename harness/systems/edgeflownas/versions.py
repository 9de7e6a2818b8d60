"""What tells one version of EdgeFlowNAS from another."""

from __future__ import annotations

import os
from typing import Any

from .checkout import Checkout
from .graph import GraphFacts, skeleton
from .providers import FLOW_CLIP
from .run import Graphs, Run

__all__ = ["probe", "settings", "version"]


def probe(checkout: Checkout, graphs: Graphs) -> GraphFacts:
    """Build the smallest graph, to see what this version is; once per process."""
    config: dict[str, Any] = {
        "runtime": {"seed": 0, "threads": 1},
        "train": {"weight_decay": 4e-5, "grad_clip_global_norm": 5.0},
        "data": {
            # 16 is the largest stride of a skeleton.
            "input_height": 16, "input_width": 32, "flow_channels": 2, "base_path": "",
            "train_dir": "", "val_dir": "",
        },
        "eval": {}, "checkpoint": {}, "model": {"width": 1},
    }  # fmt: skip
    run = Run(checkout, graphs, config)
    try:
        if run.place["facts"] is None:
            checkout.bind(run)
            with run.place["graph"].as_default():
                checkout.trainer._build_graph(run.config)
    finally:
        checkout.bind(None)
        run.abandon()
    return run.facts


def settings(checkout: Checkout, facts: GraphFacts) -> dict[str, Any]:
    """Return the configuration keys that this version cannot vary, with their values."""
    found: dict[str, Any] = {
        "model.skeleton": skeleton(facts.graph, facts.variables),
        "train.clip_position": facts.position, "data.flow_clip": FLOW_CLIP,
        "eval.flow_clip": FLOW_CLIP, "eval.batch_size": None, "eval.crop": None,
        "eval.recal_mode": "fixed",
    }  # fmt: skip
    if "eval_batches_per_arch" not in checkout.evaluation_parameters:
        # Before commit 3261988 an evaluation takes one batch.
        found["eval.eval_batches_per_arch"] = 1
    if not hasattr(checkout.provider_class(), "start_epoch"):
        # Full passes without replacement came with commit 902a0e1.
        found["train.epoch_mode"] = "fixed_steps"
        found["train.train_sampling_mode"] = None
        found["train.train_crop_mode"] = "random"
    return found


def version(folder: str) -> str:
    """Return the commit that a checkout is at, if its git folder tells, else nothing."""
    git = os.path.join(folder, os.pardir, ".git")
    if os.path.isfile(git):  # a worktree, whose folder lies in the repository that it is of
        git = os.path.join(folder, os.pardir, _line(git)[len("gitdir: ") :])
    text = _line(os.path.join(git, "HEAD"))
    if text.startswith("ref: "):
        common = os.path.join(git, _line(os.path.join(git, "commondir")) or os.curdir)
        text = _line(os.path.join(common, *text[5:].split("/"))) or _packed(common, text[5:])
    return text[:12]


def _packed(git: str, reference: str) -> str:
    """Return the commit of a reference that git has packed away."""
    path = os.path.join(git, "packed-refs")
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        found = [line.split()[0] for line in file if line.rstrip().endswith(" " + reference)]
    return found[0] if found else ""


def _line(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.readline().strip()
