"""Which code was tested: its commit, and whether it is what was committed."""

import os
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.systems.spec import SystemSpec

__all__ = ["CodeState", "code_place", "code_state", "short_name"]


@dataclass(frozen=True)
class CodeState:
    """A folder of code as git knows it.

    Attributes
    ----------
    commit : str
        Full hash of what is checked out; empty if it is not known.
    changed, untracked : int or None
        Files that differ from the commit, and that it does not have; None: not
        known.
    reason : str
        Why nothing is known.
    """

    commit: str = ""
    changed: int | None = None
    untracked: int | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping of the fields, with ``dirty`` (None: not known)."""
        known = self.changed is not None and self.untracked is not None
        dirty = bool(self.changed or self.untracked) if known else None
        return {**asdict(self), "dirty": dirty}

    def __str__(self) -> str:
        if not self.commit:
            return f"commit not known: {self.reason}"
        counts = ((self.changed, "changed"), (self.untracked, "untracked"))
        found = [f"{number} {what}" for number, what in counts if number]
        return f"commit {self.commit[:12]}, {'dirty: ' + ', '.join(found) if found else 'clean'}"


def short_name(spec: SystemSpec) -> str:
    """Return the system's name without the folder that its file lies in."""
    place, colon, name = spec.system.rpartition(":")
    return f"{Path(place).name}{colon}{name}" if place.endswith(".py") else spec.system


def code_place(spec: SystemSpec, source: str = "") -> Path | None:
    """Return where the code of a system lies.

    Parameters
    ----------
    spec : SystemSpec
    source : str, optional
        File that its class was loaded from, as its process says.
    """
    if spec.root:
        return Path(spec.root).absolute()
    if spec.system == "builtin":
        return Path(__file__).parents[1]
    place, _, _ = spec.system.rpartition(":")
    if place.endswith(".py"):
        return Path(place).absolute()
    return Path(source) if source else None


def code_state(place: Path | None) -> CodeState:
    """Return what git says of a folder, or of the whole repository of a file.

    A worktree, whose ``.git`` is a file, is asked like any other. An installed copy that a
    repository around it does not track has no commit of its own.
    """
    if place is None:
        return CodeState(reason="the system does not say where its code lies")
    git, folder = shutil.which("git"), place if place.is_dir() else place.parent
    if git is None:
        return CodeState(reason="git is not installed")
    where = "." if folder == place else ":/"
    commit, error = _asked(git, folder, "rev-parse", "HEAD")
    if not commit:
        return CodeState(reason=_first_line(error) or "git knows no commit")
    tracked, _ = _asked(git, folder, "ls-files", "--", place.name if place != folder else ".")
    if not tracked:
        return CodeState(reason="it lies in a repository that does not track it")
    # Beside an adapter's file lies the trainer, in whichever folder of the repository.
    status, error = _asked(git, folder, "status", "--porcelain", "--", where)
    if error:
        return CodeState(commit.strip(), reason=_first_line(error))
    lines = status.splitlines()
    untracked = sum(line.startswith("??") for line in lines)
    return CodeState(commit.strip(), len(lines) - untracked, untracked)


_SECONDS = 60.0
"""Most that git may take to look through a working tree, s."""


def _asked(git: str, folder: Path, *arguments: str) -> tuple[str, str]:
    """Return what git prints and, if it fails, why."""
    # A hook that runs the gate sets these for its own repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    # The gate looks: it does not refresh an index that somebody else may be writing.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [git, "-C", str(folder), *arguments], env=environment, capture_output=True,
            text=True, errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return (done.stdout, "") if done.returncode == 0 else ("", done.stderr or "git failed")


def _first_line(text: str) -> str:
    """Return what git complains of, without the path that it quotes: the record has none."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    return re.sub(r"'[^']*/[^']*'", "it", first).removeprefix("fatal: ").partition(" (")[0]
