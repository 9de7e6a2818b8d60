"""Which score is the best so far, and how long none has improved."""

__all__ = ["is_best", "is_save_due", "is_used_up", "track_patience"]


def is_best(metric: float, best: float | None) -> bool:
    """Return whether a mean EPE is lower than every one before, of which `best` is the lowest."""
    return best is None or metric < best


def is_save_due(step: int, every: int, steps: int) -> bool:
    """Return whether a checkpoint is saved within an epoch after a step of it, counted from 1.

    Not after the last one, where the checkpoint follows the evaluation.

    Parameters
    ----------
    every : int
        ``checkpoint.every_steps``; 0 for none.
    steps : int
        Of the epoch.
    """
    return every > 0 and step % every == 0 and step < steps


def track_patience(
    metric: float, reference: float | None, bad_epochs: int, *, min_delta: float
) -> tuple[float, int]:
    """Return what early stopping compares with from here on, and evaluations since it improved.

    Small steps add up: the reference is the score of the last improvement by `min_delta`, and
    not the best one.

    Parameters
    ----------
    metric : float
        Mean EPE of this evaluation, px.
    reference : float or None
        That of the last improvement, px; None before the first evaluation.
    bad_epochs : int
        Evaluations since.
    min_delta : float
        What an improvement is more than, px.
    """
    if reference is None or metric < reference - min_delta:
        return metric, 0
    return reference, bad_epochs + 1


def is_used_up(bad_epochs: int, patience: int) -> bool:
    """Return whether so many evaluations without an improvement end training."""
    return bad_epochs >= patience
