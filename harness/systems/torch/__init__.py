"""The base of an adapter for a PyTorch trainer; :mod:`harness.torch_system` is its public name.

Runs in the interpreter of the trainer, which need not be the harness's own: nothing here imports
the rest of the harness, and it needs PyTorch and NumPy alone.
"""

from __future__ import annotations

__all__: list[str] = []
