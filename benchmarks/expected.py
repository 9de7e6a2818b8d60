"""How long the benchmarks will take, said before the first; and fewer of them for a first look.

Seconds are those that each took the last time in this folder, which pytest's cache keeps, or else
those in ``durations.json``. ``--samebits-write-durations`` writes that file anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.whole import write_text

__all__ = ["QUICK_ROUNDS", "is_quick"]

QUICK_ROUNDS = 2
_QUICK = ("test_decode_of_one_triplet", "test_eval", "test_bn_recal", "test_train_step")
"""Of which the fixtures, too, take seconds."""
_DURATIONS = Path(__file__).parent / "durations.json"
_CACHE = "samebits/benchmarks"
_TAKEN = pytest.StashKey[dict[str, float]]()


def is_quick(config: pytest.Config) -> bool:
    """Return whether a first look was asked for."""
    return bool(config.getoption("samebits_quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("samebits-benchmarks", "samebits: benchmarks")
    group.addoption(
        "--samebits-quick", action="store_true",
        help=f"a first look: {', '.join(_QUICK)}, with {QUICK_ROUNDS} rounds at most",
    )  # fmt: skip
    group.addoption(
        "--samebits-write-durations", action="store_true",
        help="write benchmarks/durations.json from what this session takes",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Take down what each benchmark takes."""
    config.stash[_TAKEN] = {}
    config.pluginmanager.register(_Recorder(config), "samebits-durations")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, where a first look was asked for."""
    if is_quick(config):
        left = [item for item in _ours(items) if getattr(item, "originalname", "") not in _QUICK]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str:
    """Say how long what was collected will take."""
    names = [item.nodeid for item in _ours(items)]
    return expected_line(names, _known(config), _written(), _key(config))


def _ours(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.path.parent == Path(__file__).parent]


def expected_line(
    names: list[str], last: dict[str, float], written: dict[str, float], kind: str = ""
) -> str:
    """Return the line about the time to come.

    Parameters
    ----------
    names : list of str
        Node ids of the benchmarks.
    last, written : dict of str to float
        Seconds that each took here the last time, and those of the file.
    kind : str
        What is behind a name in both, for sessions that take less.
    """
    keys = [f"{name}{kind}" for name in names]
    found = [last.get(key, written.get(key)) for key in keys]
    seconds = sum(taken for taken in found if taken is not None)
    here = sum(key in last for key in keys)
    unknown = found.count(None)
    if unknown == len(names):
        return f"samebits: {len(names)} benchmarks; how long they take is not known yet"
    sources = [f"{here} as last time here"] * bool(here)
    sources += [f"{len(keys) - here - unknown} as on another machine"] * (
        here + unknown < len(keys)
    )
    sources += [f"{unknown} not known"] * bool(unknown)
    minutes, rest = divmod(round(seconds), 60)
    return f"samebits: {len(names)} benchmarks, about {minutes} min {rest} s ({', '.join(sources)})"


class _Recorder:
    """Adds up what each benchmark takes, set-up and tear-down included."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        taken = self._config.stash[_TAKEN]
        name = f"{report.nodeid}{_key(self._config)}"
        taken[name] = taken.get(name, 0.0) + report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what was taken for the next session; write the file where that was asked for."""
    config, taken = session.config, session.config.stash[_TAKEN]
    cache: Any = getattr(config, "cache", None)
    if cache is not None and taken:
        cache.set(_CACHE, {**_known(config), **taken})
    if config.getoption("samebits_write_durations") and taken:
        rounded = {name: round(seconds, 1) for name, seconds in {**_written(), **taken}.items()}
        write_text(_DURATIONS, json.dumps(rounded, indent=1, sort_keys=True) + "\n")


def _known(config: pytest.Config) -> dict[str, float]:
    cache: Any = getattr(config, "cache", None)
    found = {} if cache is None else cache.get(_CACHE, {})
    return {str(name): float(seconds) for name, seconds in found.items()}


def _written() -> dict[str, float]:
    if not _DURATIONS.exists():
        return {}
    return dict(json.loads(_DURATIONS.read_text(encoding="utf-8")))


def _key(config: pytest.Config) -> str:
    return " quick" if is_quick(config) else ""
