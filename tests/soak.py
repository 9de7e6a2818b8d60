"""Trains tiny epochs with evaluation, and writes what each one leaves in the process.

``python tests/soak.py EPOCHS OUT FOLDER``; run in a process of its own.
"""

import gc
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from harness.commands.common import with_fc2_root
from harness.commands.observers import run_observers
from harness.config import parse_config
from harness.fc2.synthetic import write_dataset
from harness.records.records import EpochRecord
from harness.runs.run_directory import RunOptions, train_run


def tiny(epochs):
    return {
        "runtime": {"seed": 7},
        "model": {"width": 8, "skeleton": "bilinear"},
        "data": {"input_height": 32, "input_width": 64},
        "train": {
            "num_epochs": epochs, "epoch_mode": "fixed_steps", "steps_per_epoch": 1,
            "batch_size": 3, "micro_batch_size": 2,
        },
        "eval": {
            "eval_pool_size": 2, "bn_recal_batches": 1, "eval_batches_per_arch": 2,
            "batch_size": 2, "early_stop_patience": 10 * epochs, "recal_mode": "random",
        },
    }  # fmt: skip


def private_bytes():
    """Return the bytes of the process that are no file's, which a leak adds to."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def watch(write):
    """Return an observer that writes a line an epoch."""
    known = set()

    def sample(record):
        if not isinstance(record, EpochRecord):
            return
        threads = {path.name for path in Path("/proc/self/task").iterdir()}
        known.update(threads)
        found = {
            "epoch": record.epoch, "private_bytes": private_bytes(), "threads": len(threads),
            "files": len(list(Path("/proc/self/fd").iterdir())), "threads_ever": len(known),
        }  # fmt: skip
        if record.epoch <= 100:  # it takes as long as an epoch, and frees what would be found
            found |= {"in_circles": gc.collect()}
        write(found)

    return sample


def main(epochs, out, folder):
    write_dataset(folder / "fc2", train=5, val=3, height=48, width=80)
    config = with_fc2_root(parse_config(tiny(epochs)), folder / "fc2")
    os.fsync = lambda _: None  # the disk is not what is tried
    with out.open("w", encoding="utf-8") as file:

        def write(found):
            file.write(json.dumps(found) + "\n")
            file.flush()

        @contextmanager
        def observers(*given):
            with run_observers(*given) as inner:
                yield (*inner, watch(write))

        train_run(config, folder / "run", RunOptions(observers=observers))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
