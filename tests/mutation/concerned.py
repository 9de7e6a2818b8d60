"""Judge a mutant of ``harness/promises/`` by the part of the kill matrix that it can reach.

``python tests/mutation/concerned.py [--all] [FILE ...]``: FILE is what was mutated; by default
what git says has changed. Exit code 1, the mutant is killed, if a promise that depends on the file
breaks on the clean system, or no longer breaks on a fault that it should notice. Code 0: it
survives. With ``--all`` every fault that one of them should notice is asked, under both epoch
modes, and not few that break them all: that takes minutes, and is for what has survived those.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grimp

from harness.config import Config
from harness.environment import apply_environment


def downstream(path: str) -> set[str]:
    """Return the modules that import a file, directly or not, and its own."""
    module = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    graph = grimp.build_graph("harness")
    return {module, *graph.find_downstream_modules(module)}


def reached(modules: set[str]) -> list[str]:
    """Return the quick promises whose check or evidence stands in one of the modules."""
    from harness.promises.registry import PROMISES

    return [
        promise.id for promise in PROMISES.values() if promise.in_quick
        and {promise.check.__module__, getattr(promise.evidence, "__module__", "")} & modules
    ]  # fmt: skip


def all_tasks(path: str) -> Iterator:
    """Yield the clean system and every fault that what is reached should notice, in both modes."""
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import in_modes, plan_clean, plan_fault

    asked = reached(downstream(path))
    faults = [plan_fault(fault_path(f)) for f in FAULTS.values() if not f.slow]
    concerned = [
        replace(task, promises=tuple(p for p in task.expected if p in asked),
                expected=tuple(p for p in task.expected if p in asked))
        for task in faults if set(asked).intersection(task.expected)
    ]  # fmt: skip
    clean = plan_clean()
    clean = replace(clean, promises=tuple(p for p in clean.promises if p in asked))
    yield from in_modes([clean, *concerned])


def tasks(path: str) -> Iterator:
    """Yield the clean system, few faults that break all that is reached, and the file's own."""
    from harness.faults.base import fault_path
    from harness.faults.catalog import FAULTS
    from harness.faults.matrix import plan_clean, plan_fault

    left = set(reached(downstream(path)))
    own = set(reached({path.removesuffix(".py").replace("/", ".")}))
    yield replace(plan_clean(), promises=tuple(p for p in plan_clean().promises if p in left))
    faults = [f for f in FAULTS.values() if not f.slow and "full_pass" in f.modes]
    every = [plan_fault(fault_path(f)) for f in faults]
    for task in every:
        if own.intersection(task.expected):
            left -= set(task.expected)
            yield replace(task, promises=task.expected)
    while left:
        best = max(every, key=lambda task: len(left.intersection(task.expected)))
        if not left.intersection(best.expected):
            return  # the rest needs a fault that takes a minute
        left -= set(best.expected)
        yield replace(best, promises=best.expected)


def _tree(frames: Path, mode: str) -> dict:
    from harness.promises.setting import matrix_config

    tree = matrix_config(frames, mode).model_dump(mode="json", by_alias=True)
    tree["runtime"]["threads"] = 1
    return tree


def main() -> int:
    """Judge until the mutant is noticed."""
    apply_environment(Config())  # before TensorFlow
    from harness.faults.matrix import JudgeProcess
    from harness.fc2.synthetic import write_dataset
    from harness.promises import setting

    changed = subprocess.run(
        ["git", "diff", "--name-only"], check=True, capture_output=True, text=True
    ).stdout.split()
    path = next(p for p in (*sys.argv[1:], *changed) if p.startswith("harness/promises/"))
    planned = all_tasks(path) if "--all" in sys.argv else tasks(path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        height, width = setting.MATRIX_SIZE
        write_dataset(folder / "frames", train=setting.MATRIX_TRAIN, val=setting.MATRIX_VAL,
                      height=height, width=width)  # fmt: skip
        trees = {mode: _tree(folder / "frames", mode) for mode in setting.EPOCH_MODES}
        with closing(JudgeProcess(folder)) as process:
            for number, task in enumerate(planned):
                tree = trees[task.mode or setting.EPOCH_MODES[0]]
                found = process.judge(replace(task, config=tree), number)
                if found.fired if not task.path else found.survived:
                    print(f"killed by {task.id}: {found.fired or found.survived}")  # noqa: T201
                    return 1
    print("survived")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
