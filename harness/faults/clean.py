"""Clean systems under random configurations: none of them may raise an alarm."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.config import Config, parse_config
from harness.faults.matrix import JudgeProcess, plan_clean, run_all
from harness.faults.results import Finished, Result, Task, kept_results
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import write_dataset
from harness.promises.promise import Tier
from harness.promises.setting import link_samples
from harness.streams import integer, permutation
from harness.supernet.space import SKELETONS

__all__ = ["clean_task", "random_config", "run_clean"]

_GROUPS = 5
"""Processes, each with a thread count and a hash seed of its own."""

_SAMPLES = (1, 2, 3, 5, 7, 11)
"""Samples of a split, from everybody's first sanity check on; by turns, so that few
configurations have them all."""

_POOLS = {2: 1, 5: 2, 8: 20}
"""Pool sizes at the edges, by the last digit of the configuration's number."""

_ONE_BATCH = (1, 4)
"""Of seven configurations, those whose epochs are one batch."""


def _draw(seed: int, index: int, name: str, low: int, high: int) -> int:
    """Return an integer in [low, high], a function of (seed, index, name)."""
    return low + integer(seed, f"clean/{name}", 0, index, below=[high - low + 1])[0]


def random_config(index: int, *, seed: int, folder: Path, threads: int = 2) -> Config:
    """Write a random small data set and return a random configuration of it.

    Frame sizes, counts, batch, micro-batch, K, recal batches, pool, clip position and
    threshold, crop mode, the order in which files are made, nesting of folders and the run's
    name are drawn from (seed, index). What few draws would miss goes by turns with the index:
    skeleton, epoch mode, sample counts, pools of 1, 2 and 20, and epochs of one batch.

    Parameters
    ----------
    folder : pathlib.Path
        New folder for the data set.
    threads : int, default 2
        Intra-op threads; one value per process.
    """

    def draw(name: str, low: int, high: int) -> int:
        return _draw(seed, index, name, low, high)

    skeleton = tuple(SKELETONS)[index % len(SKELETONS)]
    step = SKELETONS[skeleton].stride
    # 16 px at least, which synthetic frames need, and never as wide as high, so that a mix-up of
    # the two shows.
    height, width = step * draw("h", 1, 2) + 16 - step, step * draw("w", 3, 4) + 16 - step
    rows, columns = height + draw("rows", 0, 9), width + draw("columns", 1, 11)
    train, val = _SAMPLES[index % len(_SAMPLES)], _SAMPLES[(index // 2 + 3) % len(_SAMPLES)]
    write_dataset(
        folder / "made", train=train, val=val, height=max(rows, 16), width=columns, seed=index
    )
    name = f"run-{draw('name', 0, 10**6)}"
    root = folder / name / ("deeper" if draw("nested", 0, 1) else "")
    for split in ("train", "val"):
        samples = [t.id for t in list_triplets(folder / "made" / split)]
        order = permutation(seed, f"clean/{split}", 0, index, n=len(samples))
        link_samples(folder / "made" / split, [samples[i] for i in order], root / split)
    one_batch, full = index % 7 in _ONE_BATCH, (index // 3) % 2 == 0
    # A whole split in a batch, and fewer samples than a batch has room for.
    batch = max(train, 2) if one_batch and full else draw("batch", 1, 5)
    return parse_config(
        {
            "runtime": {
                "seed": draw("seed", 0, 10**6), "threads": threads, "experiment_name": name,
            },
            "model": {"skeleton": skeleton, "width": 2},
            "data": {"base_path": str(root), "input_height": height, "input_width": width},
            "train": {
                "num_epochs": 2, "batch_size": batch,
                "steps_per_epoch": 1 if one_batch else draw("steps", 2, 3),
                "micro_batch_size": draw("micro", 1, batch),
                "epoch_mode": "full_pass" if full else "fixed_steps",
                "clip_position": ("micro_step", "update")[draw("position", 0, 1)],
                "grad_clip_global_norm": (0.5, 20.0, 60.0, 1e4)[draw("clip", 0, 3)],
                "train_crop_mode": ("random", "random", "center")[draw("crop", 0, 2)],
                "lr": (1e-4, 1e-3, 3e-3)[draw("lr", 0, 2)],
            },
            "eval": {
                "eval_pool_size": _POOLS.get(index % 10) or draw("pool", 3, 7),
                "bn_recal_batches": draw("recal", 1, 3),
                "eval_batches_per_arch": draw("k", 1, 3), "batch_size": draw("eval-batch", 1, 4),
                "recal_mode": ("fixed", "fixed", "fixed", "random")[draw("recal-mode", 0, 3)],
            },
        }
    )  # fmt: skip


def clean_task(index: int, config: Config | None = None, *, tier: Tier = "quick") -> Task:
    """Return the task of a clean system under one configuration, or before there is one."""
    tree = None if config is None else config.model_dump(mode="json", by_alias=True)
    return replace(plan_clean(tier=tier), id=f"clean configuration {index}", config=tree)


def run_clean(
    count: int, *, seed: int, folder: Path, jobs: int = 2, tier: Tier = "quick",
    on_result: Callable[[Result], None] = lambda _: None, finished: Finished | None = None,
) -> list[Result]:  # fmt: skip
    """Judge `count` clean systems in at least five processes, and return what fired.

    Each process has its own number of threads and its own hash seed.

    Parameters
    ----------
    on_result, finished
        As of :func:`harness.faults.matrix.run_matrix`.
    """
    tasks = [clean_task(index, tier=tier) for index in range(count)]
    found = kept_results(tasks, finished or {})
    for result in found.values():
        on_result(result)

    running: list[JudgeProcess] = []

    def work(group: int) -> None:
        left = [index for index in range(group, count, _GROUPS) if index not in found]
        if not left:
            return
        worker = JudgeProcess(
            folder, environment={**os.environ, "PYTHONHASHSEED": str(100 + group)}
        )
        running.append(worker)
        try:
            for index in left:
                config = random_config(
                    index,
                    seed=seed,
                    folder=folder / f"data-{index}",
                    threads=(1, 2, 3, 2, 1)[group],
                )
                found[index] = worker.judge(clean_task(index, config, tier=tier), index)
                on_result(found[index])
        finally:
            worker.close()

    run_all([partial(work, group) for group in range(min(_GROUPS, count))], jobs, running)
    return [found[index] for index in range(count)]
