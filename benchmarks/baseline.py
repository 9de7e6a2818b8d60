"""Seconds of an earlier session on the same machine, and tests that fail where today's are longer.

pytest-benchmark's own comparison ends a session in a traceback of its summary and tells JUnit of
no failure; here the benchmark that has become slower is the test that fails.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.utils import get_commit_info

from harness.digest import digest_strings
from harness.whole import write_text

__all__ = [
    "Baseline",
    "baseline",
    "machine",
    "pytest_addoption",
    "pytest_sessionfinish",
    "pytest_sessionstart",
    "pytest_terminal_summary",
]

_BASELINE = pytest.StashKey["Baseline | None"]()
_MOST = 1.2


def machine() -> str:
    """Return what this machine is known by: its name, processor and number of cores."""
    cpuinfo, model = Path("/proc/cpuinfo"), platform.processor()
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return f"{platform.node()}, {platform.machine()}, {model}, {os.cpu_count()} cores"


@dataclass
class Baseline:
    """What a file says of this machine, and what this session adds to it.

    Attributes
    ----------
    path : pathlib.Path
        JSON: machine to benchmark (and a digest of its options) to seconds, commit, options.
    most : float
        How many times as long a benchmark may take.
    machine : str
        Of this session.
    commit : mapping
        Of this session: id, branch and whether files were changed.
    """

    path: Path
    most: float
    machine: str
    commit: Mapping[str, Any]
    compared: dict[str, float] = field(default_factory=dict)
    saved: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = self._read().get(self.machine, {})

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            msg = f"{self.path}: not a baseline: {error}"
            raise pytest.UsageError(msg) from None
        if not isinstance(found, dict):
            msg = f"{self.path}: expected machines by name, found a {type(found).__name__}"
            raise pytest.UsageError(msg)
        return found

    def judge(self, name: str, seconds: float, options: Mapping[str, Any]) -> None:
        """Hold the seconds of a benchmark against the baseline; save them where there are none.

        Parameters
        ----------
        seconds : float
            The shortest round, which other work on the machine moves least.
        options : mapping
            What the seconds depend on besides the machine. A benchmark under other options is
            another one.
        """
        plain = json.loads(json.dumps(options, sort_keys=True, default=str))
        key = f"{name} under {digest_strings([json.dumps(plain)])[:8]}"
        known = self._known.get(key)
        if known is None:
            self.saved[key] = {"seconds": seconds, "commit": dict(self.commit), "options": plain}
            return
        ratio = seconds / known["seconds"]
        self.compared[name] = ratio
        if ratio > self.most:
            commit = str(known["commit"].get("id"))[:12]
            pytest.fail(
                f"{name}: expected at most {self.most:g} times the {known['seconds']:.4g} s of "
                f"commit {commit}, found {seconds:.4g} s, {ratio:.2f} times",
                pytrace=False,
            )

    def line(self) -> str:
        """Return what the session has come to."""
        told = []
        if self.compared:
            worst = max(self.compared, key=lambda name: self.compared[name])
            slower = sum(ratio > self.most for ratio in self.compared.values())
            told.append(
                f"{len(self.compared)} compared, {slower} over {self.most:g} times; the worst is "
                f"{worst}, {self.compared[worst]:.2f} times"
            )
        if self.saved:
            told.append(f"{len(self.saved)} saved, nothing to compare")
        return f"{'; '.join(told)} ({self.path}, {self.machine})" if told else ""

    def write(self) -> None:
        """Add what was saved to the file, which other machines may share."""
        if not self.saved:
            return
        everything = self._read()
        everything[self.machine] = {**everything.get(self.machine, {}), **self.saved}
        write_text(self.path, json.dumps(everything, indent=1, sort_keys=True) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("samebits-benchmarks", "samebits: benchmarks against a baseline")
    group.addoption(
        "--samebits-baseline", metavar="FILE", type=Path,
        help="compare with this machine's seconds in FILE; what it lacks is saved there",
    )  # fmt: skip
    group.addoption(
        "--samebits-max-slower",
        metavar="TIMES",
        type=float,
        help=f"fail a benchmark that takes more than TIMES as long (default: {_MOST})",
    )


def _opened(config: pytest.Config) -> Baseline | None:
    path, most = (config.getoption(f"samebits_{name}") for name in ("baseline", "max_slower"))
    if path is None:
        if most is not None:
            msg = "--samebits-max-slower needs --samebits-baseline FILE to compare with"
            raise pytest.UsageError(msg)
        return None
    if most is not None and not most > 0:
        msg = f"--samebits-max-slower: expected a positive number, got {most}"
        raise pytest.UsageError(msg)
    return Baseline(path, _MOST if most is None else most, machine(), get_commit_info())


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read the baseline, so that wrong options end the session before it measures."""
    session.config.stash[_BASELINE] = _opened(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was saved."""
    opened = session.config.stash.get(_BASELINE, None)
    if opened is not None:
        opened.write()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was compared and what was saved."""
    opened = config.stash.get(_BASELINE, None)
    if opened is not None and opened.line():
        terminalreporter.write_line(f"baseline: {opened.line()}")


@pytest.fixture(scope="session")
def baseline(request: pytest.FixtureRequest) -> Baseline | None:
    """Return the baseline that was asked for, or None."""
    return request.config.stash[_BASELINE]
