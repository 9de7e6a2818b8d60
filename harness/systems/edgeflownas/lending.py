"""A watched session of EdgeFlowNAS, lent to calls that are none of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["unwatched"]


@contextmanager
def unwatched(session: Any) -> Iterator[Any]:
    """Lend a session with nobody watching."""
    watcher, session.watcher = session.watcher, None
    try:
        yield session
    finally:
        session.watcher = watcher
