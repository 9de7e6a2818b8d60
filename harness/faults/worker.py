"""A worker of the kill matrix: one task per line on standard input, one answer per line.

``python -m harness.faults.worker``; standard output belongs to the answers alone.
"""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["judge"]


def judge(
    task: Mapping[str, Any], config: Mapping[str, Any], cache: Any, server: Any
) -> dict[str, Any]:
    """Check a task's promises on its system; an error counts as fired and says so."""
    from harness.faults.matrix import NEEDS_CUTS, NEEDS_FRESH
    from harness.promises.bench import Bench
    from harness.promises.judge import judge as judge_promise
    from harness.promises.registry import PROMISES
    from harness.systems.spec import SystemSpec, system_factory

    start, folder = time.perf_counter(), Path(task["folder"])
    folder.mkdir(parents=True)
    spec = SystemSpec("builtin", task["path"], task["arguments"])
    asked = frozenset(task["promises"])
    bench = Bench(
        system_factory(spec, cache), spec, config, folder,
        overlap=not asked.isdisjoint(NEEDS_FRESH), start=server.start,
        cuts=not asked.isdisjoint(NEEDS_CUTS),
    )  # fmt: skip
    fired, absent = {}, {}
    for name in task["promises"]:
        found = judge_promise(PROMISES[name], bench)
        if found.verdict == "n/a":
            absent[name] = found.text
        elif found.verdict == "error":
            fired[name] = f"error: {found.text}"
        elif found.verdict == "BROKEN":
            fired[name] = found.text
    bench.close()
    shutil.rmtree(folder, ignore_errors=True)
    return {"fired": fired, "absent": absent, "seconds": time.perf_counter() - start}


def _main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    opening = json.loads(sys.stdin.readline())
    sys.path[:] = opening["path"]
    from harness.config import parse_config
    from harness.environment import apply_environment

    apply_environment(parse_config(opening["config"]))
    from harness.runs.session import CompiledCache
    from harness.systems.fresh import FreshServer

    cache, server = CompiledCache(), FreshServer()
    try:
        for line in sys.stdin:
            task = json.loads(line)
            answer = judge(task, task["config"], cache, server)
            out.write(json.dumps(answer) + "\n")
            out.flush()
    finally:
        server.close()


if __name__ == "__main__":
    _main()
