"""A run's variables, counters and generators, and its checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from .checkout import Checkout
from .run import Run

__all__ = ["progress", "set_and_get", "write_checkpoint"]


def set_and_get(run: Run, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set the named variables and return all of them.

    Raises
    ------
    KeyError
        If there is no variable of a name.
    """
    variables = run.facts.variables
    unknown = sorted(set(changes) - set(variables))
    if unknown:
        raise KeyError(f"no variable {unknown[0]}, expected names of state()")
    # An initializer assigns its second input: fed with a value, it adds nothing to the graph.
    initializers = {name: variables[name].initializer for name in changes}
    with run.unwatched() as session:
        session.run(
            list(initializers.values()),
            {op.inputs[1]: changes[name] for name, op in initializers.items()},
        )
        return dict(session.run(dict(variables)))


def progress(run: Run) -> dict[str, Any]:
    """Return the counters and the generators' states, as bytes of text under ``progress/``."""
    texts = {
        "epoch": repr(run.finished),
        "global_step": repr(run.steps.global_step),
        "best_metric": repr(run.saved.get("best_metric")),
        "bad_epochs": repr(run.saved.get("bad_epochs")),
        "fairness_counts": json.dumps(run.saved.get("fairness_counts"), sort_keys=True),
        "fair_cycle_generator": repr(run.sampler.getstate() if run.sampler else None),
    }
    for name, text in run.training_provider().counters(over=run.over).items():
        texts["train_provider_" + name] = text
    return {
        "progress/" + name: np.frombuffer(text.encode("utf-8"), np.uint8)
        for name, text in texts.items()
    }


def write_checkpoint(checkout: Checkout, run: Run, path: str) -> None:
    """Write a checkpoint with the trainer's own function, beside its run manifest."""
    os.makedirs(path)
    kept = {
        "epoch": run.finished, "metric": float("inf"), "global_step": run.steps.global_step,
        "best_metric": float("inf"), "bad_epochs": 0, "fairness_counts": {},
    }  # fmt: skip
    kept.update(run.saved)
    prefix = checkout.checkpoints.build_checkpoint_paths(path)["last"]
    saver = run.facts.handles["saver"]
    # One graph, and with it one saver, writes all that is asked for: of six checkpoints it would
    # delete the first, as it does with those of one run (max_to_keep).
    saver.set_last_checkpoints_with_time([])
    kept.update(sess=run.session, saver=saver, path_prefix=prefix)
    checkout.checkpoints.save_checkpoint(**kept)
    graph = str(prefix) + ".meta"
    if os.path.exists(graph):
        os.remove(graph)  # the graph once more, which no restoring reads
    manifest = os.path.join(run.folder, "run", "run_manifest.json")
    if os.path.exists(manifest):
        shutil.copy(manifest, path)
