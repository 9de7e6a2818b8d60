"""EdgeFlowNAS's own evaluation in its own interpreter: ``-m benchmarks.in_edgeflownas TASK``.

TASK is a JSON file. It names a checkout, a base width and either arrays to save as a checkpoint of
the checkout, or a configuration to evaluate, whose result goes to a file. Nothing of the checkout
is changed but the width. Beside NumPy, nothing is needed here that the checkout does not need.
"""

import functools
import json
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from harness.supernet.import_names import source_names, without_numbers
from harness.supernet.space import SKELETONS
from harness.systems.edgeflownas.checkout import load_checkout

__all__ = ["main"]


def main(path: str) -> None:
    """Do what the file of a task says."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    checkout = load_checkout(task["root"])
    module = checkout.standalone
    network = module.MultiScaleResNetSupernet
    module.MultiScaleResNetSupernet = lambda *args, **given: network(
        *args, **{**given, "init_neurons": task["width"]}
    )
    if task["do"] == "save":
        _save(checkout.tf, module, task)
    else:
        _evaluate(module, task)


def _save(tf: Any, module: Any, task: dict[str, Any]) -> None:
    """Save arrays by our names as the checkout's Saver does, each under the graph's own name."""
    with np.load(task["weights"]) as arrays:
        values = {source: arrays[ours] for ours, source in _sources(task["skeleton"]).items()}
    with tf.Graph().as_default():
        built = module._build_eval_graph(config=task["config"], batch_size=1)
        variables = {without_numbers(v.op.name): v for v in tf.compat.v1.global_variables()}
        if {n: v.shape for n, v in values.items()} != {
            n: tuple(v.shape) for n, v in variables.items()
        }:
            msg = (
                f"{task['root']}: its network is no {task['skeleton']!r} skeleton of width "
                f"{task['width']}; name a checkout up to commit 2ef204e"
            )
            raise SystemExit(msg)
        with tf.compat.v1.Session() as session:
            for name, variable in variables.items():
                variable.load(values[name], session)
            built["saver"].save(session, task["prefix"])


def _sources(skeleton: str) -> dict[str, str]:
    return source_names(SKELETONS[skeleton])


def _evaluate(module: Any, task: dict[str, Any]) -> None:
    """Time the evaluation's ``main``, and its pool once more in the session that it opened."""
    again: dict[str, float] = {}
    own = module._run_eval_pool

    @functools.wraps(own)
    def twice(**given: Any) -> Any:
        found = own(**given)
        wall, cpu = perf_counter(), process_time()
        own(**given)
        again.update(wall=perf_counter() - wall, cpu=process_time() - cpu)
        return found

    module._run_eval_pool = twice
    sys.argv = ["supernet_eval", *task["words"]]
    wall, cpu = perf_counter(), process_time()
    module.main()
    whole = {"wall": perf_counter() - wall, "cpu": process_time() - cpu}
    cold = {clock: whole[clock] - again[clock] for clock in whole}
    result = json.loads(Path(task["result"]).read_text(encoding="utf-8"))
    found = {"cold": cold, "steady": again, "scores": result["per_arch_epe"]}
    Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
