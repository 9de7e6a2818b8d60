"""One evaluation in a process of its own, dense or ours: ``-m benchmarks.in_process TASK``.

TASK is a JSON file. Clocks start after imports and end with the result; then the same once more, in
the state that it left: files are decoded again, nothing is traced.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.plain_reader import plain_reader
from harness.config import load_config
from harness.environment import apply_environment

__all__ = ["main"]

Task = dict[str, Any]


def main(path: str) -> None:
    """Do what the file of a task says."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    found = {"dense": _dense, "ours": _ours}[task["do"]](task)
    Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")


def _clocked(function: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    wall, cpu = perf_counter(), process_time()
    result = function()
    return {"wall": perf_counter() - wall, "cpu": process_time() - cpu}, result


def _dense(task: Task) -> dict[str, Any]:
    """Evaluate by the dense reference, which scores as 2ef204e does; then by its own metric."""
    config = load_config(Path(task["run"], "config.yaml"))
    apply_environment(config)
    import tensorflow as tf

    from benchmarks.reference import Reference

    counts = {"train": config.eval.bn_recal_batches, "val": int(config.eval.eval_batches_per_arch)}
    readers = [
        plain_reader(config.data.split_dir(split), config.eval_crop, config.eval_batch_size, count)  # type: ignore[arg-type]
        for split, count in counts.items()
    ]

    def opened() -> Any:
        with np.load(task["weights"]) as arrays:
            names = [name for name in arrays if "/moving_" not in name]
            return Reference({name: tf.constant(arrays[name]) for name in names})

    def first() -> Any:
        reference = opened()
        reference.evaluate(task["pool"], *readers)
        return reference

    cold, reference = _clocked(first)
    steady, _ = _clocked(lambda: reference.evaluate(task["pool"], *readers))
    batches, still = readers[1](), reference.initial_statistics()
    scores = [
        float(np.mean([_batch_mean(reference.predict(arch, still, b), b.flow) for b in batches]))
        for arch in task["pool"]
    ]
    return {"cold": cold, "steady": steady, "scores": scores}


def _batch_mean(flow: Any, label: Any) -> float:
    """Return a batch's EPE by the formula of EdgeFlowNAS's ``engine/eval_step.py``, px."""
    return float(np.sqrt(np.square(flow - label).sum(axis=-1) + 1e-6).mean())


def _ours(task: Task) -> dict[str, Any]:
    """Evaluate by ``harness eval``, and once more with what it compiled."""
    apply_environment(load_config(Path(task["run"], "config.yaml")))
    # Imports are no part of what is timed; the second is of what compares rankings.
    import scipy.stats  # noqa: F401
    import tensorflow  # noqa: F401

    import harness.commands.evaluate
    import harness.commands.space
    import harness.evaluation.journal
    import harness.evaluation.scored_space
    import harness.reporting.terminal  # noqa: F401
    import harness.runs.session as sessions
    from harness.cli import main as harness_main
    from harness.evaluation.batches import FixedBatches

    opened, kept = sessions.open_session, []

    def keeping(*args: Any, **given: Any) -> Any:
        kept.append(opened(*args, **given))
        return kept[-1]

    sessions.open_session = keeping
    words = ["eval", "--run", task["run"], "--pool", task["asked"], "--json", task["result"]]
    cold, code = _clocked(lambda: harness_main(words))
    if code != 0:
        msg = f"harness {' '.join(words)}: expected exit code 0, got {code}"
        raise SystemExit(msg)
    result, session = json.loads(Path(task["result"]).read_text(encoding="utf-8")), kept[0]
    weights = session.model.weight_tensors()
    pool = [tuple(map(int, arch)) for arch in result["archs"]]

    def again() -> Any:
        protocol = FixedBatches(session.config).protocol(1, pool=tuple(pool))
        return session.evaluator.evaluate(weights, protocol)[0]

    steady, record = _clocked(again)
    if list(record.per_arch_epe) != result["per_arch_epe"]:
        msg = "the same evaluation twice in one process: expected equal scores"
        raise SystemExit(msg)
    return {"cold": cold, "steady": steady, "scores": result["per_arch_epe"]}


if __name__ == "__main__":
    main(sys.argv[1])
