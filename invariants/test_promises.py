"""Every promise, on whatever system was asked for; its id selects it: ``-k metric-alive``."""

import pytest

from harness.gate import Gate
from harness.promises.registry import PROMISES


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(gate: Gate, promise: str) -> None:
    """The system keeps it; what is not applicable is skipped by name."""
    gate.check(promise)
