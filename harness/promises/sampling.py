"""Whether training draws the order of its samples, by the name of its mode."""

from collections.abc import Mapping
from typing import Any

__all__ = ["shuffles"]


def shuffles(train: Mapping[str, Any]) -> bool:
    """Return whether a ``train`` section draws its order: a mode of its own name is no shuffle."""
    return train.get("train_sampling_mode") in (None, "random", "shuffle_no_replacement")
