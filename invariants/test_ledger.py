"""What a run records is consistent with itself, so that its ledger can be audited later."""

import pytest

from harness.pytest_plugin import Gate
from harness.relations import RELATIONS


@pytest.mark.parametrize("promise", [r.id for r in RELATIONS.values() if r.offline])
def test_the_ledger_keeps_a_promise(gate: Gate, promise: str) -> None:
    """Recomputed from the records alone, by code that shares nothing with the trainer."""
    gate.check(promise)
