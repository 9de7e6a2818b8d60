"""Every scenario, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from harness.scenarios import altered, caching, measuring, resuming, runs, steps, sweep
from harness.scenarios.book import Book

__all__ = ["SCENARIOS"]

_HELPERS = (
    "SKIPPED", "odd_samples", "recomputed_rows", "served_in",
    "split_folder",
)  # fmt: skip

SCENARIOS: Mapping[str, Callable[[Book], Any]] = MappingProxyType(
    {
        name: getattr(module, name)
        for module in (altered, caching, measuring, resuming, runs, steps, sweep)
        for name in module.__all__
        if name not in _HELPERS
    }
)
"""Name to function of the book."""
