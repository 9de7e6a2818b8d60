"""Checkpoints: whole or not there.

A checkpoint is a directory with ``arrays.npz`` and ``manifest.json``, whole as
:mod:`harness.whole` writes it; ``best`` and ``last`` are small pointer files, each naming one
checkpoint directory and replaced atomically. Loading verifies every digest and never
falls back to another checkpoint.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.asides import clear_asides
from harness.digest import digest_arrays
from harness.training.checkpoint_files import (
    FORMAT,
    Checkpoint,
    load_checkpoint,
    read_manifest,
    rest_digest,
    state_digest,
)
from harness.training.checkpoint_names import (
    ASIDE,
    NAME,
    OURS,
    POINTER_ASIDE,
    CheckpointError,
    kept_names,
    moved_pointers,
    name_age,
    pointed,
    pointed_name,
)
from harness.whole import NotWrittenError, whole_folder, write_text

__all__ = [
    "Checkpoint", "CheckpointError", "CheckpointStore", "StoreParts", "kept_names",
    "load_checkpoint", "moved_pointers", "pointed_name", "state_digest",
]  # fmt: skip

Array = NDArray[Any]


@dataclass(frozen=True)
class StoreParts:
    """The functions that say what a store keeps, and which checkpoint is asked for."""

    moved: Callable[[bool], tuple[str, ...]] = moved_pointers
    kept: Callable[..., set[str]] = kept_names
    pointed: Callable[[Path, str], str] = pointed_name


class CheckpointStore:
    """The checkpoints of one run.

    Parameters
    ----------
    folder : pathlib.Path
        ``RUN/checkpoints``; made when first saved to.
    keep_latest : int, default 0
        Checkpoints to keep, counted from the newest, besides ``best``, ``last`` and the
        newest one of an epoch's end, from which a new segment starts.
    keep_all : bool, default False
        Keep every checkpoint.
    parts : StoreParts, optional
        What decides which checkpoint is kept, and which is meant.
    """

    def __init__(
        self, folder: Path, *, keep_latest: int = 0, keep_all: bool = False,
        parts: StoreParts | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._keep_latest, self._keep_all = folder, keep_latest, keep_all
        self._parts = parts or StoreParts()

    @property
    def folder(self) -> Path:
        """Where the checkpoints lie."""
        return self._folder

    def save(
        self,
        name: str,
        arrays: Mapping[str, Array],
        progress: Mapping[str, Any],
        meta: Mapping[str, Any],
        *,
        best: bool = False,
        replaces: str = "",
    ) -> str:
        """Write a checkpoint, point ``last`` (and ``best``) at it, and return its digest.

        Parameters
        ----------
        replaces : str, default ""
            Name of a checkpoint whose place it takes: that one goes, whatever else is kept.

        Raises
        ------
        CheckpointError
            If it cannot be written, for example because the disk is full; what was there
            before is untouched.
        """
        # First: a counter that is not finite raises here, before anything is written.
        digest = state_digest(arrays, progress)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "digest": digest,
            "progress": progress,
            "meta": meta,
            "arrays": {key: digest_arrays({key: value}) for key, value in arrays.items()},
        }
        manifest["rest"] = rest_digest(manifest)
        try:
            self._write(name, arrays, json.dumps(manifest, allow_nan=False))
            for pointer in self._parts.moved(best):
                self._point(pointer, name)
            if replaces or not self._keep_all:
                self._discard_others(replaces)
        except OSError as error:
            self._clean_up()
            why = error.strerror if isinstance(error, NotWrittenError) else error
            msg = f"{self._folder / name}: not saved: {why}; {self._what_is_there()}"
            raise CheckpointError(msg) from error
        return digest

    def _write(self, name: str, arrays: Mapping[str, Array], manifest: str) -> None:
        with whole_folder(self._folder / name) as folder:
            with (folder / "arrays.npz").open("wb") as file:
                np.savez(file, **_keywords(arrays))
            (folder / "manifest.json").write_text(manifest, encoding="utf-8")

    def resolve(self, which: str) -> Path:
        """Return the checkpoint directory that ``best``, ``last`` or a path names.

        A path may also be a pointer file or a run directory, whose ``last`` is meant.

        Raises
        ------
        CheckpointError
            If there is none.
        """
        if which not in ("best", "last"):
            path = Path(which)
            if (path / "checkpoints").is_dir():
                return CheckpointStore(path / "checkpoints").resolve("last")
            # A link to a pointer names what lies beside that, and not beside the link.
            return path.resolve().parent / pointed(path) if path.is_file() else path
        pointer = self._folder / which
        if not pointer.is_file():
            msg = f"{pointer}: no such checkpoint pointer; has the run finished an epoch?"
            raise CheckpointError(msg)
        return self._folder / self._parts.pointed(self._folder, which)

    def load(self, which: str = "last") -> Checkpoint:
        """Load the checkpoint that ``best``, ``last`` or a path names.

        Raises
        ------
        CheckpointError
            If there is none or it is damaged; nothing else is loaded in its place.
        """
        path = self.resolve(which)
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            others = [name for name in self.names() if name != path.name]
            if which not in ("best", "last") or not others:
                raise
            msg = (
                f"{error}. Others are there: {', '.join(others[:5])}; to use one of them, write "
                f"its name into {self._folder / which}"
            )
            raise CheckpointError(msg) from None

    def names(self) -> list[str]:
        """Return the names of the checkpoints that are there, the newest first."""
        if not self._folder.is_dir():
            return []
        children = (child for child in self._folder.iterdir() if NAME.fullmatch(child.name))
        # By attempt first: a later one may have gone back to an earlier epoch.
        return sorted((c.name for c in children if c.is_dir()), key=name_age, reverse=True)

    def newest_attempt(self) -> int:
        """Return the newest attempt that the names of the checkpoints tell of; 0: of none."""
        return max((name_age(name)[0] for name in self.names()), default=0)

    def is_empty(self) -> bool:
        """Return whether no save was ever completed here: ``last``, written last, is absent."""
        return not (self._folder / "last").exists()

    def forget_void_best(self, restart: tuple[int, int], metric: float | None) -> str | None:
        """Take ``best`` off a checkpoint beyond the one that a run restarts from.

        Parameters
        ----------
        restart : (int, int)
            Epochs completed, and steps in the next.
        metric : float or None
            The best mean EPE so far, px; ``best`` goes to the checkpoint that had it, if it is
            still there, and otherwise away, until a score is better.

        Returns
        -------
        str or None
            What was done, None where ``best`` is as it should be.
        """
        pointer = self._folder / "best"
        if not pointer.is_file() or name_age(pointed(pointer))[1:] <= restart:
            return None
        void = pointed(pointer)
        for name in self.names():
            row = read_manifest(self._folder / name)["progress"].get("row") or {}
            if (
                name_age(name)[1:] <= restart
                and metric is not None
                and row.get("mean_epe_12") == metric
            ):
                self._point("best", name)
                return f"`best` named {void}, which is void now, and names {name} again"
        pointer.unlink()
        return f"`best` named {void}, which is void now, and is gone until a score is better"

    def newest_epoch_end(self) -> str | None:
        """Return where the epoch began in which ``last`` stands; None: at no checkpoint."""
        pointer = self._folder / "last"
        if not pointer.is_file():
            return None
        last = pointed(pointer)
        _, epoch, step = name_age(last)
        ends = (name for name in self.names() if name_age(name)[1:] == (epoch, 0))
        return last if step == 0 else next(ends, None)

    def best_name(self) -> str:
        """Return the checkpoint that the pointer file ``best`` names, empty where none is there.

        Raises
        ------
        CheckpointError
            If it holds no name.
        """
        pointer = self._folder / "best"
        return pointed(pointer) if pointer.is_file() else ""

    def _point(self, pointer: str, name: str) -> None:
        write_text(self._folder / pointer, name + "\n")

    def _discard_others(self, replaced: str) -> None:
        """Remove what need not be kept; a name disappears before its content does."""
        there = self.names()
        names = [name for name in there if name != replaced]
        kept = set(names) if self._keep_all else self._kept(names)
        for name in there:
            if name not in kept:
                gone = self._folder / f".{name}.gone"
                (self._folder / name).rename(gone)
        self._clean_up()

    def _kept(self, names: Sequence[str]) -> set[str]:
        pointer = self._folder / "last"
        return self._parts.kept(
            names, best=self.best_name(), last=pointed(pointer) if pointer.is_file() else "",
            epoch_end=self.newest_epoch_end() or "", keep_latest=self._keep_latest,
        )  # fmt: skip

    def _clean_up(self) -> None:
        """Remove what a save or a removal that was cut short has left."""
        if not self._folder.is_dir():
            return
        clear_asides(self._folder, OURS.fullmatch)
        for child in self._folder.iterdir():
            if child.is_dir() and ASIDE.fullmatch(child.name):
                shutil.rmtree(child, ignore_errors=True)
            elif child.is_file() and POINTER_ASIDE.fullmatch(child.name):
                child.unlink()

    def _what_is_there(self) -> str:
        pointer = self._folder / "last"
        if not pointer.is_file():
            return "no checkpoint was saved before"
        return f"the last one that was saved is {pointed(pointer)}"


def _keywords(arrays: Mapping[str, Array]) -> dict[str, Any]:
    return dict(arrays)
