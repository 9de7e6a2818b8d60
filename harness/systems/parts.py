"""Where faults of other people import the builtin system's parts from: see docs/faults.md."""

from harness.runs.parts import Parts

__all__ = ["Parts"]
