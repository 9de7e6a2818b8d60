"""Checkpoints: whole or not there.

A checkpoint is a directory with ``arrays.npz`` and ``manifest.json``, whole as
:mod:`harness.whole` writes it; ``best`` and ``last`` are small pointer files, each naming one
checkpoint directory and replaced atomically. Loading verifies every digest and never
falls back to another checkpoint.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.archives import ArchiveError, OtherNamesError, open_archive
from harness.asides import clear_asides
from harness.devices import open_regular, read_regular
from harness.digest import digest_arrays, digest_strings
from harness.errors import InputError, plain_line
from harness.records.declared import check_declared
from harness.strict_json import parse_json
from harness.whole import NotWrittenError, whole_folder, write_text
from harness.wording import quoted

__all__ = [
    "Checkpoint", "CheckpointError", "CheckpointStore", "StoreParts", "kept_names",
    "load_checkpoint", "moved_pointers", "pointed_name", "state_digest",
]  # fmt: skip

FORMAT = 1

Array = NDArray[Any]


class CheckpointError(InputError):
    """A checkpoint is absent, damaged or of another format; the message names it."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes
    ----------
    path : pathlib.Path
        Its directory.
    arrays : dict of str to numpy.ndarray
        Every variable by name.
    progress : dict
        JSON-able counters (:class:`harness.training.progress.Progress`).
    meta : dict
        Configuration, environment and identity of the run that wrote it.
    digest : str
        Of arrays and counters.
    """

    path: Path
    arrays: dict[str, Array]
    progress: dict[str, Any]
    meta: dict[str, Any]
    digest: str


def state_digest(arrays: Mapping[str, Array], progress: Mapping[str, Any]) -> str:
    """Return the digest of a training state, without its wall-clock log row."""
    counters = {key: value for key, value in progress.items() if key != "row"}
    text = json.dumps(counters, sort_keys=True, allow_nan=False)
    return digest_strings([digest_arrays(arrays), text])


def load_checkpoint(path: Path) -> Checkpoint:
    """Load one checkpoint directory and verify the digest of everything in it.

    Raises
    ------
    CheckpointError
        If it is absent, incomplete, damaged or of an unknown format.
    """
    manifest = _read_manifest(path)
    _require_own_name(path, manifest["progress"])
    recorded = manifest["arrays"]
    arrays = _read_arrays(path, recorded)
    # One by one, so that the damaged one is named.
    for name, array in arrays.items():
        found = digest_arrays({name: array})
        if found != recorded[name]:
            due = _shown(recorded[name])
            msg = f"{path}: {name} is damaged: expected digest {due}, found {found}"
            raise CheckpointError(msg)
    digest = state_digest(arrays, manifest["progress"])
    if digest != manifest["digest"]:
        due = _shown(manifest["digest"])
        msg = f"{path}: counters are damaged: expected digest {due}, found {digest}"
        raise CheckpointError(msg)
    return Checkpoint(path, arrays, manifest["progress"], manifest["meta"], digest)


def _require_own_name(path: Path, progress: Mapping[str, Any]) -> None:
    """Refuse a name of ours that says another place than the counters: a run goes by names."""
    match, at = _NAME.fullmatch(path.name), (progress.get("epoch"), progress.get("step"))
    # Of counters that are not there, whoever needs them says so.
    if match is None or match["step"] is None or None in at:
        return
    if (int(match["epoch"]), int(match["step"])) == at:
        return
    msg = (
        f"{path}: its counters say epoch {quoted(at[0])}, step {quoted(at[1])}, expected those of "
        "its name: it was renamed; give it its name again"
    )
    raise CheckpointError(msg)


def _shown(digest: str) -> str:
    """Return a digest that a damaged file names as a message can hold it."""
    return quoted(digest)[1:-1]


def _read_arrays(path: Path, names: Iterable[str]) -> dict[str, Array]:
    """Read the arrays of a checkpoint, which are those of the manifest and no other."""
    file = path / "arrays.npz"
    try:
        with open_archive(file) as archive:
            archive.require_names(names, "manifest")
            return {name: archive.read(name) for name in names}
    except OtherNamesError as error:
        msg = f"{path}: {error}"
        raise CheckpointError(msg) from None
    except (ArchiveError, OSError) as error:
        msg = f"{file}: not readable: {plain_line(str(error))}"
        raise CheckpointError(msg) from error


@dataclass(frozen=True)
class _Manifest:
    """What lies beside the arrays of a checkpoint.

    Attributes
    ----------
    digest : str
        Of arrays and counters (:func:`state_digest`).
    arrays : dict of str to str
        Digest of each array.
    progress, meta : dict
        Counters, with the log's row, and where the checkpoint is from.
    rest : str
        Digest of what `digest` leaves out.
    """

    format: int
    digest: str
    progress: dict[str, Any]
    meta: dict[str, Any]
    arrays: dict[str, str]
    rest: str


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    try:
        manifest = parse_json(read_regular(file))
    except FileNotFoundError:
        msg = f"{path}: no checkpoint here (no manifest.json)"
        raise CheckpointError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{file}: damaged: {plain_line(str(error))}"
        raise CheckpointError(msg) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        msg = f"{file}: expected checkpoint format {FORMAT}, found {quoted(found)}"
        raise CheckpointError(msg)
    try:
        check_declared(_Manifest, manifest, "manifest")
    except ValueError as error:
        msg = f"{file}: damaged: {error}"
        raise CheckpointError(msg) from None
    if manifest["rest"] != _rest_digest(manifest):
        msg = f"{file}: meta or log row are damaged: they do not match their digest"
        raise CheckpointError(msg)
    return manifest


def _rest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the digest of what :func:`state_digest` leaves out: meta and log row."""
    rest = {"meta": manifest["meta"], "row": manifest["progress"].get("row")}
    return digest_strings([json.dumps(rest, sort_keys=True, allow_nan=False)])


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
    return _pointed(folder / which)


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
        manifest["rest"] = _rest_digest(manifest)
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
            return path.resolve().parent / _pointed(path) if path.is_file() else path
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
        children = (child for child in self._folder.iterdir() if _NAME.fullmatch(child.name))
        # By attempt first: a later one may have gone back to an earlier epoch.
        return sorted((c.name for c in children if c.is_dir()), key=_age, reverse=True)

    def newest_attempt(self) -> int:
        """Return the newest attempt that the names of the checkpoints tell of; 0: of none."""
        return max((_age(name)[0] for name in self.names()), default=0)

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
        if not pointer.is_file() or _age(_pointed(pointer))[1:] <= restart:
            return None
        void = _pointed(pointer)
        for name in self.names():
            row = _read_manifest(self._folder / name)["progress"].get("row") or {}
            if (
                _age(name)[1:] <= restart
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
        last = _pointed(pointer)
        _, epoch, step = _age(last)
        ends = (name for name in self.names() if _age(name)[1:] == (epoch, 0))
        return last if step == 0 else next(ends, None)

    def best_name(self) -> str:
        """Return the checkpoint that the pointer file ``best`` names, empty where none is there.

        Raises
        ------
        CheckpointError
            If it holds no name.
        """
        pointer = self._folder / "best"
        return _pointed(pointer) if pointer.is_file() else ""

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
            names, best=self.best_name(), last=_pointed(pointer) if pointer.is_file() else "",
            epoch_end=self.newest_epoch_end() or "", keep_latest=self._keep_latest,
        )  # fmt: skip

    def _clean_up(self) -> None:
        """Remove what a save or a removal that was cut short has left."""
        if not self._folder.is_dir():
            return
        clear_asides(self._folder, _OURS.fullmatch)
        for child in self._folder.iterdir():
            if child.is_dir() and _ASIDE.fullmatch(child.name):
                shutil.rmtree(child, ignore_errors=True)
            elif child.is_file() and _POINTER_ASIDE.fullmatch(child.name):
                child.unlink()

    def _what_is_there(self) -> str:
        pointer = self._folder / "last"
        if not pointer.is_file():
            return "no checkpoint was saved before"
        return f"the last one that was saved is {_pointed(pointer)}"


_NAME = re.compile(r"epoch-(?P<epoch>\d+)(-step-(?P<step>\d+)-attempt-(?P<attempt>\d+))?")
_OURS = re.compile(rf"best|last|{_NAME.pattern}")
_ASIDE = re.compile(rf"\.{_NAME.pattern}\.(\d+|gone)")
_POINTER_ASIDE = re.compile(r"\.(best|last)\.\d+")
"""What the store itself makes, or made in an earlier version; anything else in its folder stays."""


def _age(name: str) -> tuple[int, int, int]:
    """Return (attempt, epoch, step), which grows from save to save."""
    match = _NAME.fullmatch(name)
    found = match.groupdict(default="0") if match else {}
    attempt, epoch, step = (int(found.get(key, 0)) for key in ("attempt", "epoch", "step"))
    return attempt, epoch, step


def _keywords(arrays: Mapping[str, Array]) -> dict[str, Any]:
    return dict(arrays)


def _pointed(pointer: Path) -> str:
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


_LONGEST = 200
"""Bytes of a pointer file that are looked at; a name is far shorter."""
