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
    task: Mapping[str, Any], config: Mapping[str, Any], kit: Any, server: Any
) -> dict[str, Any]:
    """Check a task's relations on its system; an error counts as fired and says so."""
    from harness.faults.matrix import NEEDS_FRESH
    from harness.relations import RELATIONS
    from harness.relations.base import NotApplicableError
    from harness.scenarios.book import Book
    from harness.scenarios.registry import SCENARIOS
    from harness.systems.opening import system_factory
    from harness.systems.spec import SystemSpec

    start, folder = time.perf_counter(), Path(task["folder"])
    folder.mkdir(parents=True)
    spec = SystemSpec("builtin", task["path"], task["arguments"])
    book = Book(
        system_factory(spec, kit), spec, config, folder, SCENARIOS,
        overlap=any(RELATIONS[r].needs in NEEDS_FRESH for r in task["relations"]),
        start=server.start,
        cuts=any(RELATIONS[r].needs.startswith("resume_") for r in task["relations"]),
    )  # fmt: skip
    fired, absent = {}, {}
    for relation in task["relations"]:
        try:
            found = RELATIONS[relation].check(book[RELATIONS[relation].needs])
        except NotApplicableError as error:
            absent[relation] = str(error)
        except Exception as error:  # noqa: BLE001 -- a gate is red then, and says why
            fired[relation] = f"error: {type(error).__name__}: {error}"[:500]
        else:
            if found.violations:
                fired[relation] = str(found.violations[0])
    book.close()
    shutil.rmtree(folder, ignore_errors=True)
    return {"fired": fired, "absent": absent, "seconds": time.perf_counter() - start}


def _main() -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    opening = json.loads(sys.stdin.readline())
    sys.path[:] = opening["path"]
    from harness.config import parse_config
    from harness.environment import apply_environment

    apply_environment(parse_config(opening["config"]))
    from harness.runs.kit import Kit
    from harness.systems.fresh import FreshServer

    kit, server = Kit(), FreshServer()
    try:
        for line in sys.stdin:
            task = json.loads(line)
            answer = judge(task, task["config"], kit, server)
            out.write(json.dumps(answer) + "\n")
            out.flush()
    finally:
        server.close()


if __name__ == "__main__":
    _main()
