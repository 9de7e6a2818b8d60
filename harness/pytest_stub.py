"""What pytest loads in every repository where this is installed: options, and nothing else.

The gate itself (``harness.pytest_plugin``, with NumPy and all promises) is imported once a test
asks for it, so that other repositories pay for a few names alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.gate_options import OPTIONS

__all__ = ["samebits_gates"]

_PLUGIN = "harness.pytest_plugin"

_LISTS = (
    ("known_defects",
     "promises that may be broken, a line each, `ID: reason`; red once one is mended"),
    ("required", "promises that the verdict is about, a line each; default: all of the tier"),
)  # fmt: skip

_MARKERS = (
    "samebits: a promise of the gate",
    *(f"samebits_{tier}: a promise of this tier" for tier in ("smoke", "quick", "full", "nightly")),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, each also an ini key."""
    group = parser.getgroup("samebits", "samebits: invariants of supernet training")
    for name, metavar, default, text in OPTIONS:
        dest = f"samebits_{name.replace('-', '_')}"
        shown = f" (default: {default})" if default else ""
        group.addoption(f"--samebits-{name}", dest=dest, metavar=metavar, help=text + shown)
        parser.addini(dest, text, default=default)
    group.addoption(
        "--samebits-promise", dest="samebits_promise", metavar="ID", action="append",
        help="ask these promises alone, and give a verdict on them",
    )  # fmt: skip
    parser.addini("samebits_again", "the command that ran this gate, where it was not pytest's")
    for name, text in _LISTS:
        parser.addini(f"samebits_{name}", text, type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and look out for a test that asks for the gate."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(_LookOut(config), "samebits-look-out")


class _LookOut:
    """Loads the gate's plugin once a promise is collected here, or reported by a worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def _load(self) -> None:
        if not self._config.pluginmanager.has_plugin(_PLUGIN):
            self._config.pluginmanager.import_plugin(_PLUGIN)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if any("samebits_gates" in getattr(item, "fixturenames", ()) for item in items):
            self._load()
            plugin: Any = self._config.pluginmanager.get_plugin(_PLUGIN)
            plugin.select(self._config, items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        # Of a worker: nothing is collected in the process that hands out the tests.
        if any(name.startswith("samebits") for name, _ in report.user_properties):
            self._load()
            plugin: Any = self._config.pluginmanager.get_plugin(_PLUGIN)
            plugin.take_report(self._config, report)


@pytest.fixture(scope="session")
def samebits_gates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the gate of a system once, and gives it again."""
    from harness.gate import open_gates

    with open_gates(request.config, tmp_path_factory) as gates:
        yield gates
