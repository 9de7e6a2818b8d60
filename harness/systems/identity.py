"""A run's identity: the digest of every field that changes the weights training yields.

No TensorFlow here, so that a wrong configuration is refused before it starts.
"""

from pathlib import Path
from typing import Any

from harness.config import Config, field_kinds
from harness.evidence.digest import digest_strings

__all__ = ["dynamics_values", "gate_values", "identity_differences", "run_identity"]


def dynamics_values(config: Config, kinds: tuple[str, ...] = ("dynamics",)) -> dict[str, Any]:
    """Return every field of the given kinds by dotted key."""
    tree = config.model_dump(mode="json", by_alias=True)
    values: dict[str, Any] = {}
    for key, kind in sorted(field_kinds().items()):
        if kind in kinds:
            value: Any = tree
            for part in key.split("."):
                value = value[part]
            values[key] = value
    return values


def run_identity(config: Config) -> str:
    """Return the digest of all dynamics fields."""
    pairs = dynamics_values(config).items()
    return digest_strings([text for key, value in pairs for text in (key, repr(value))])


def gate_values(config: Config) -> dict[str, Any]:
    """Return everything that a gate file vouches for: dynamics, protocol, where data lie."""
    values = dynamics_values(config, ("dynamics", "protocol"))
    for split in ("train_dir", "val_dir"):
        values[f"data.{split}"] = str(
            Path(config.data.base_path, getattr(config.data, split)).resolve()
        )
    return values


def identity_differences(old: Config, new: Config) -> list[str]:
    """Return ``key: old -> new`` for every dynamics field that differs."""
    before, after = dynamics_values(old), dynamics_values(new)
    return [f"{key}: {before[key]} -> {after[key]}" for key in before if before[key] != after[key]]
