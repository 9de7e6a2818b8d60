"""A sample that comes into a split while nobody looks: whoever keeps the list misses it."""

from collections.abc import Sequence
from pathlib import Path

from harness.promises.bench import Bench
from harness.promises.samples import listed_samples, split_folder
from harness.promises.setting import link_samples

__all__ = ["add_sample"]


def add_sample(bench: Bench, folder: Path, served: Sequence[str]) -> str:
    """Link a copy of a sample into a split behind all others, and return its name.

    Of a system that serves whole batches alone, or fewer samples than there are, none is added.
    """
    evaluation, last = bench.config["eval"], served[-1]
    asked = evaluation.get("eval_batches_per_arch", "full")
    size = evaluation.get("batch_size") or bench.config["train"]["batch_size"]
    there = list(listed_samples(folder))
    place, number = last.rpartition("/")[0], last.rpartition("/")[2]
    enough = asked == "full" or int(asked) * size > len(there)
    name = str(int(number) + 1) if number.isdecimal() else ""
    if served != there or not enough or len(name) > len(number) or not name or (
        bench.describe().whole_batches
    ):  # fmt: skip
        return ""
    added = f"{place}/" * bool(place) + name.zfill(len(number))
    link_samples(split_folder(bench, "val"), [served[0]], folder, names=[added])
    return added
