"""The kill matrix runs beside the tests: it takes minutes, and another core is idle."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# What an example takes is told by benchmarks: on a busy machine a deadline fails sound code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@dataclass(frozen=True)
class RunningMatrix:
    """The process, what it prints to, and where it writes its results."""

    process: "subprocess.Popen[str]"
    log: Path
    results: Path


def pytest_configure() -> None:
    """Answer Ctrl-C and a hangup also under ``nohup`` and ``&``, which ignore them.

    Processes inherit what is ignored, so that theirs are not answered either.
    """
    for number, usual in ((signal.SIGINT, signal.default_int_handler),
                          (signal.SIGHUP, signal.SIG_DFL)):  # fmt: skip
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def _waits(item: pytest.Item) -> bool:
    return "whole_matrix" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those that wait for the matrix come last: the others run beside it."""
    items.sort(key=_waits)


@pytest.fixture(scope="session", autouse=True)
def running_matrix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningMatrix | None]:
    """Start with the first test what a later one waits for; end what nobody waited for."""
    if not any(map(_waits, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("matrix")
    log, results = folder / "log.txt", folder / "matrix.json"
    words = "--within-tier", "--mode", "either", "--json", str(results)
    command = [sys.executable, "-m", "harness", "faults", *words]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, text=True, cwd=folder
        )
    yield RunningMatrix(process, log, results)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def whole_matrix(running_matrix: RunningMatrix) -> dict[str, Any]:
    """Wait for the matrix; return what it wrote, and its exit code."""
    code = running_matrix.process.wait()
    print(running_matrix.log.read_text()[-5000:])  # noqa: T201 -- shown with a failure
    return {"exit": code, **json.loads(running_matrix.results.read_text())}
