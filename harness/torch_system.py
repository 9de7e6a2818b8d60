"""The base class of an adapter for a PyTorch trainer; see ``docs/pytorch.md``.

Importing it imports PyTorch, which nothing else of the harness does.
"""

from harness.systems.torch.adapter import NotApplicableError, TorchSystem
from harness.systems.torch.samples import FlowSample

__all__ = ["FlowSample", "NotApplicableError", "TorchSystem"]
