"""The builtin system as a worker serves it: one kit for all systems of the process."""

from functools import partial

from harness.runs.kit import Kit
from harness.systems.builtin import BuiltinSystem

__all__ = ["HostedBuiltin"]

HostedBuiltin = partial(BuiltinSystem, None, Kit())
"""Makes builtin systems; only a worker process imports this."""
