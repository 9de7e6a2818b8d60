"""What somebody writes of a PyTorch trainer's adapter, and what each of it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.systems.torch.samples import FlowSample
from harness.systems.torch.trained import told_apart

__all__ = ["OPENED_BY", "Written"]

OPENED_BY = {
    "evaluate": "validate",
    "train": "loop",
    "predict": "flow",
    "batches": "read",
    "score": "epe",
    "training_samples": "loop",
}
"""Call of the protocol to the method that it is made of."""


class Written:
    """The methods that a subclass may write; what it does not write is not asked of it.

    Attributes
    ----------
    name : str
        For people. Default: the class's.
    archs : sequence of str
        Names that an evaluation scores where none are asked.
    threads : int
        Of PyTorch's arithmetic; two make a small net slower on a busy machine.
    paths : sequence of str
        Folders below ``root`` that are put on ``sys.path``.
    """

    name = ""
    archs: Sequence[str] = ("net",)
    threads = 1
    paths: Sequence[str] = ()
    supports: Sequence[str] = ()

    def setup(self, config: dict[str, Any]) -> None:
        """Get ready under a configuration; what is set on `self` here belongs to the state."""

    def validate(self, samples: list[FlowSample]) -> Any:
        """Return the EPE of the trainer's own validation on samples, px: one number, or one each.

        Of one number the EPE of each sample is what the validation gives for it alone.
        """
        raise NotImplementedError

    def loop(self) -> None:
        """Run the trainer's own training loop, from its start to its end."""
        raise NotImplementedError

    def flow(self, image1: Any, image2: Any) -> Any:
        """Return the predicted flow, (B, 2, H, W), px; modules are in evaluation mode.

        Parameters
        ----------
        image1, image2 : torch.Tensor
            Shape (B, 3, H, W), float32, RGB from 0 to 255.
        """
        raise NotImplementedError

    def read(self, sample: FlowSample) -> tuple[Any, ...]:
        """Return image1, image2, flow, and where it is known, as the trainer validates on them.

        Shapes (3, H, W), RGB from 0 to 255, twice; (2, H, W), px; and (H, W), which may be left
        out.
        """
        raise NotImplementedError

    def trained_on(self, batch: Any) -> tuple[Any, ...]:
        """Return image1, image2, flow, and where it is known, of a batch of a DataLoader's.

        Shapes (B, 3, H, W), in any range, twice; (B, 2, H, W), px; and (B, H, W), which may be
        left out. Asked where training declares an augmentation; without a method of yours, arrays
        are told apart by their shapes.

        Raises
        ------
        NotApplicableError
            If shapes do not tell.
        """
        return told_apart(batch)

    def epe(self, flow: Any, label: Any, valid: Any) -> Any:
        """Return the trainer's metric of each sample, (B,), px.

        Parameters
        ----------
        flow, label : torch.Tensor
            Shape (B, 2, H, W), float32, px.
        valid : torch.Tensor
            Shape (B, H, W), bool.
        """
        raise NotImplementedError

    def trained_archs(self) -> Sequence[str]:
        """Return the archs that the step just made has trained, in order; asked behind each step.

        Without a method of yours they are ``archs``, of a supernet (``options``, ``space``) none:
        which of them a step draws is not told.
        """
        supernet = getattr(self, "options", None) or getattr(self, "space", None)
        return () if supernet else self.archs

    def choose(self, arch: str) -> None:
        """Run this arch from here on; of a net that is no supernet there is but one."""
