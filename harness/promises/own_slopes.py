"""What cannot be judged of a training whose gradients are no slopes of its loss, by its design."""

from harness.errors import NotApplicableError
from harness.systems.protocol import Description

__all__ = ["no_slope", "require_norm_clip"]

_OWN_CLIP = (
    "the system clips in a way of its own (describe()['clip']): what is applied is no multiple of "
    "its loss's gradient"
)
_DETACHED = (
    "part of the system's loss is detached by design (describe()['loss']): its gradient is not the "
    "slope"
)


def no_slope(clip: str, loss: str) -> str:
    """Return why an applied gradient is not the slope of the loss; empty where it is to be.

    Parameters
    ----------
    clip, loss : str
        As the system declares.
    """
    if clip == "own":
        return _OWN_CLIP
    return _DETACHED if loss == "detached" else ""


def require_norm_clip(about: Description) -> None:
    """Require gradients to be clipped by the norm of all of them, or not at all.

    Raises
    ------
    NotApplicableError
        If the system declares another way.
    """
    if about.clip == "own":
        raise NotApplicableError(_OWN_CLIP)
