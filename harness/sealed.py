"""JSON files of ours that a later call reads back: a digest in them is of everything else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.devices import read_regular
from harness.digest import digest_strings
from harness.strict_json import parse_json

__all__ = ["NO_SEAL", "read_sealed", "sealed_values"]

NO_SEAL = "of an earlier version, without a digest: whether it was changed since is not known"
"""What is to be said of a file that has no seal."""

_SEAL = "seal"


def sealed_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with their seal, the digest of them as JSON."""
    return {**values, _SEAL: _seal_of(values)}


def read_sealed(path: Path) -> tuple[dict[str, Any], bool]:
    """Return what a file holds, without its seal, and whether it had one.

    Files of earlier versions have none: whether they were changed since is not known.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it holds no JSON object, or was changed since it was written.
    """
    content = parse_json(read_regular(path))
    if not isinstance(content, dict):
        msg = f"expected an object, found {type(content).__name__}"
        raise ValueError(msg)
    values = {name: value for name, value in content.items() if name != _SEAL}
    if _SEAL in content and content[_SEAL] != _seal_of(values):
        msg = "it was changed since it was written"
        raise ValueError(msg)
    return values, _SEAL in content


def _seal_of(values: Mapping[str, Any]) -> str:
    return digest_strings([json.dumps(values, sort_keys=True)])
