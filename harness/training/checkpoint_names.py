"""Names of checkpoints: what lies in their folder, what is kept of it, and what a pointer names."""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.devices import open_regular
from harness.errors import InputError

__all__ = [
    "ASIDE", "NAME", "OURS", "POINTER_ASIDE", "CheckpointError", "kept_names", "moved_pointers",
    "name_age", "pointed", "pointed_name",
]  # fmt: skip


NAME = re.compile(r"epoch-(?P<epoch>\d+)(-step-(?P<step>\d+)-attempt-(?P<attempt>\d+))?")
OURS = re.compile(rf"best|last|{NAME.pattern}")
ASIDE = re.compile(rf"\.{NAME.pattern}\.(\d+|gone)")
POINTER_ASIDE = re.compile(r"\.(best|last)\.\d+")
"""What the store itself makes, or made in an earlier version; anything else in its folder stays."""

_LONGEST = 200
"""Bytes of a pointer file that are looked at; a name is far shorter."""


class CheckpointError(InputError):
    """A checkpoint is absent, damaged or of another format; the message names it."""


def moved_pointers(is_best: bool) -> tuple[str, ...]:
    """Return the pointer files that a save moves to the new checkpoint, in their order."""
    # `last` comes last: before it is there, no save was completed (`is_empty`).
    return ("best", "last") if is_best else ("last",)


def kept_names(
    names: Sequence[str], *, best: str, last: str, epoch_end: str, keep_latest: int
) -> set[str]:
    """Return which checkpoints a save keeps.

    Parameters
    ----------
    names : sequence of str
        All that are there, the newest first.
    best, last : str
        The checkpoints that the pointer files name, empty where there is none.
    epoch_end : str
        Where the epoch began in which `last` stands, empty where at no checkpoint: a new
        segment starts from it.
    keep_latest : int
        How many are kept besides, counted from the newest.
    """
    return {best, last, epoch_end, *names[:keep_latest]}


def pointed_name(folder: Path, which: str) -> str:
    """Return the checkpoint that a folder's pointer file ``best`` or ``last`` names.

    Raises
    ------
    CheckpointError
        If it holds no name.
    """
    return pointed(folder / which)


def name_age(name: str) -> tuple[int, int, int]:
    """Return (attempt, epoch, step), which grows from save to save."""
    match = NAME.fullmatch(name)
    found = match.groupdict(default="0") if match else {}
    attempt, epoch, step = (int(found.get(key, 0)) for key in ("attempt", "epoch", "step"))
    return attempt, epoch, step


def pointed(pointer: Path) -> str:
    """Return the name in a pointer file, which a person may have written."""
    with open_regular(pointer) as file:
        content = file.read(_LONGEST).decode("utf-8", errors="replace").strip().rstrip("/")
    # No slash: it names what lies beside it, and leads nowhere else.
    plain = content.isprintable() and not set("/\ufffd") & set(content)
    # What does not end in so many bytes is the beginning of something else; a brace begins JSON.
    other = len(content.encode()) >= _LONGEST or content.startswith("{")
    if not content or other or not plain or content in ("best", "last"):
        msg = f"{pointer}: expected the name of a checkpoint beside it, found {content[:60]!r}"
        raise CheckpointError(msg)
    return content
