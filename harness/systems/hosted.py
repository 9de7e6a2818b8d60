"""The builtin system as a worker serves it: one cache for all systems of the process."""

from functools import partial

from harness.runs.session import CompiledCache
from harness.systems.builtin import BuiltinSystem

__all__ = ["HostedBuiltin"]

HostedBuiltin = partial(BuiltinSystem, None, CompiledCache())
"""Makes builtin systems; only a worker process imports this."""
