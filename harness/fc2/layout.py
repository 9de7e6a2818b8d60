"""Which files make a FlyingChairs2 sample, and finding them.

A sample is three files beside one another: ``NNNNNNN-img_0.png``, ``NNNNNNN-img_1.png``
and ``NNNNNNN-flow_01.flo``. The data set ships some twenty companions of each (backward
flow, occlusions, object ids); they are passed over.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MEMBERS", "Triplet", "list_triplets", "member_name"]

MEMBERS = ("img_0.png", "img_1.png", "flow_01.flo")

_MEMBER = re.compile(r"^(?P<stem>.*)-(?P<member>img_0\.png|img_1\.png|flow_01\.flo)$")
_STEM = re.compile(r"^[0-9]{7}$")
_SHOWN = 10


@dataclass(frozen=True)
class Triplet:
    """One sample: two frames and the flow from the first to the second.

    Attributes
    ----------
    id : str
        Path relative to the split's root, with forward slashes and without the
        member's suffix: ``"0000007"`` or ``"part3/0000007"``.
    img_0, img_1, flow : pathlib.Path
        The three files.
    """

    id: str
    img_0: Path
    img_1: Path
    flow: Path


def member_name(index: int, member: str) -> str:
    """Return the file name of one member of sample `index`, as ``0000007-img_0.png``."""
    return f"{index:07d}-{member}"


def list_triplets(root: Path) -> tuple[Triplet, ...]:
    """Find every sample below `root` in one walk of the tree.

    Parameters
    ----------
    root : pathlib.Path
        Folder of one split, such as ``FlyingChairs2/train``. Linked folders below it
        are followed once.

    Returns
    -------
    tuple of Triplet
        Sorted by id, so that no file system's order matters.

    Raises
    ------
    FileNotFoundError
        If the folder is absent, holds no sample, or a sample lacks a member.
    ValueError
        If a member's name does not start with seven digits.
    """
    if not root.is_dir():
        msg = f"no such folder: {root} (expected a FlyingChairs2 split such as train/ or val/)"
        raise FileNotFoundError(msg)
    found = _walk(root)
    _require_complete(root, found)
    return tuple(
        Triplet(sample, *(_member_path(root, sample, member) for member in MEMBERS))
        for sample in sorted(found)
    )


def _refuse(error: OSError) -> None:
    raise error


def _walk(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    visited: set[str] = set()
    # Without `onerror`, os.walk passes over a folder that it cannot read.
    for folder, subfolders, files in os.walk(root, onerror=_refuse, followlinks=True):
        # The first of two ways to a folder gives its ids: the same one on every file system.
        subfolders.sort()
        real = os.path.realpath(folder)
        # A loop of links would never end, and samples be served twice.
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        for name in files:
            match = _MEMBER.match(name)
            if match is None:
                continue
            if not _STEM.match(match["stem"]):
                msg = f"{Path(folder, name)}: expected seven digits before -{match['member']}"
                raise ValueError(msg)
            found.setdefault(prefix + match["stem"], set()).add(match["member"])
    return found


def _require_complete(root: Path, found: dict[str, set[str]]) -> None:
    missing = [
        f"{sample}-{member}"
        for sample in sorted(found)
        for member in MEMBERS
        if member not in found[sample]
    ]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        msg = (
            f"{root}: {len(missing)} missing members in {len(found)} samples: {shown}. "
            "Restore the files or remove the incomplete samples; none is skipped."
        )
        raise FileNotFoundError(msg)
    if not found:
        msg = f"{root}: no sample found, expected files named like 0000000-img_0.png"
        raise FileNotFoundError(msg)


def _member_path(root: Path, sample: str, member: str) -> Path:
    return root / f"{sample}-{member}"
