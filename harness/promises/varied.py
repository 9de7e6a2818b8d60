"""The other setting that a system is judged under, beside the gate's own.

What works in one epoch mode may be broken in the other, and statistics of batches of one size
say nothing of how batches of several sizes are pooled. A researcher's configuration has one
of each; the trainer that it stops on day one may be run with the others next week.
"""

import math
from typing import Any

from harness.promises.bench import Bench, Tree, changed
from harness.promises.recorded_run import training_samples
from harness.promises.second_process import cut_mid_epoch

__all__ = ["varied_bench"]

_STEPS = 2


def varied_bench(bench: Bench) -> Bench | None:
    """Return a bench for the same system under the other setting; None if it has one alone.

    The other epoch mode, and recalibration over the whole split, its last batch smaller.
    """
    config = changed(bench.config, train=_other_mode(bench), eval=_whole_split(bench))
    if config == bench.config:
        return None
    folder = bench.folder / "varied"
    folder.mkdir(parents=True)
    return Bench(
        bench.factory, bench.spec, config, folder, (cut_mid_epoch,), bench.second_process(),
        parks=not bench.spec.foreign, setting=_in_words(bench.config, config),
    )  # fmt: skip


def _other_mode(bench: Bench) -> dict[str, Any]:
    if "train.epoch_mode" in bench.describe().settings:
        return {}
    if bench.config["train"].get("epoch_mode") == "full_pass":
        few = bench.settable("train", {"steps_per_epoch": _STEPS})
        mode: dict[str, Any] = {"epoch_mode": "fixed_steps", **few}
    else:
        mode = {"epoch_mode": "full_pass"}
    # None: it follows from the epoch mode, and a value for the other mode is refused.
    return mode | bench.settable("train", {"train_sampling_mode": None})


def _whole_split(bench: Bench) -> dict[str, Any]:
    about = bench.describe()
    evaluation, train = bench.config.get("eval", {}), bench.config["train"]
    size = evaluation.get("batch_size") or train["batch_size"]
    samples = training_samples(bench.config)
    if about.whole_batches or "eval.batch_size" in about.settings or samples % size == 0:
        return {}
    return bench.settable("eval", {"bn_recal_batches": math.ceil(samples / size)})


def _in_words(before: Tree, after: Tree) -> str:
    """Return what of the other setting differs from the gate's own."""
    words = {
        ("train", "epoch_mode"): "{}", ("eval", "bn_recal_batches"): "{} recalibration batches",
    }  # fmt: skip
    return " and ".join(
        text.format(after[section][key])
        for (section, key), text in words.items()
        if after.get(section, {}).get(key) != before.get(section, {}).get(key)
    )
