"""Every scenario, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from harness.scenarios import measuring, runs
from harness.scenarios.book import Book

__all__ = ["SCENARIOS"]

SCENARIOS: Mapping[str, Callable[[Book], Any]] = MappingProxyType(
    {
        name: getattr(module, name)
        for module in (measuring, runs)
        for name in module.__all__
        if name != "fresh_results"
    }
)
"""Name to function of the book."""
