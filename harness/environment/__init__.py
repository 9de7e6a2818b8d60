"""The environment is set, not inherited, and what is inherited all the same is recorded.

Threads, oneDNN, TF32 and determinism come from the configuration and are applied before
TensorFlow starts. Processor, GPU and the variables that TensorFlow reads are as they are; each
of them changes the last bits. Bit equality is therefore promised within one environment, and
each record of a run names it whole.
"""

from harness.environment.applying import EnvironmentMismatchError, apply_environment
from harness.environment.record import Environment

__all__ = ["Environment", "EnvironmentMismatchError", "apply_environment"]
