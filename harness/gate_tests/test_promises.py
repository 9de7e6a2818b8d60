"""Every promise, on whatever system was asked for; its id selects it: ``-k metric-alive``."""

from harness.testing import each_promise

__all__ = ["test_promise"]

test_promise = each_promise()
