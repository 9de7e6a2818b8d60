"""Kill matrices that run beside the tests: they take minutes, and another core is idle."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

import pytest

MATRICES = {"cover_matrix": ("--cover",), "whole_matrix": ()}
"""Fixture of ``test_kill_matrix.py`` to the options of the matrix that it waits for."""

Started = dict[tuple[str, ...], tuple["subprocess.Popen[str]", IO[str]]]


@pytest.fixture(scope="session", autouse=True)
def running_matrices(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    """Start with the first test what a later one waits for; end what nobody waited for."""
    asked = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    started: Started = {}
    for name in asked & MATRICES.keys():
        folder = tmp_path_factory.mktemp("matrix")
        log = (folder / "log.txt").open("w+")
        command = [sys.executable, "-m", "harness", "faults", *MATRICES[name]]
        command += ["--json", str(folder / "matrix.json")]
        started[MATRICES[name]] = (
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, cwd=folder),
            log,
        )
    yield started
    for process, log in started.values():
        process.kill()
        process.wait()
        log.close()


@pytest.fixture(scope="session")
def matrices(running_matrices: Started) -> Callable[..., dict[str, Any]]:
    """Return a function that waits for a matrix and returns what it wrote, and its exit code."""

    def wait(*options: str) -> dict[str, Any]:
        process, log = running_matrices[options]
        code = process.wait()
        log.seek(0)
        print(log.read()[-5000:])  # noqa: T201 -- shown with a failure: the readable table
        path = process.args[-1]  # type: ignore[index]
        with open(path) as file:  # noqa: PTH123 -- an argument
            return {"exit": code, **json.load(file)}

    return wait
