"""Every path that a command names, looked at before it does any work.

What a command writes must neither be what it reads, nor one of the files that a run or a data set
is made of, and it must be possible to write it: all of that is known at once.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from pathlib import Path

from harness.devices import check_stream, is_stream, kind_of, open_regular
from harness.errors import InputError
from harness.fc2.layout import MEMBERS
from harness.whole import NotWrittenError, check_target
from harness.wording import is_utf_8

__all__ = ["Named", "PathKind", "check_paths", "own_file_of_run"]


class PathKind(Enum):
    """What a path is for."""

    FILE = auto()
    """A file that is read."""
    PREFIX = auto()
    """What the names of several files that are read begin with."""
    RUN = auto()
    """A run directory that is read, or its ledger."""
    DATA = auto()
    """A folder with ``train/`` and ``val/``."""
    FOLDER = auto()
    """A folder that is read, and into which nothing may be written."""
    PLACE = auto()
    """A folder that is looked at; it may be written into."""
    CODE = auto()
    """A folder of code, or a file in it; it may be written into."""
    NEW_FILE = auto()
    """A file that is written."""
    ADDED = auto()
    """A file that is written and replaces nothing, whatever it holds."""
    NEW_FOLDER = auto()
    """A folder that is made."""
    NEW_RUN = auto()
    """A run directory that is trained in."""
    FILLED = auto()
    """A folder that is there, and gets files."""


_NEW_FILES = (PathKind.NEW_FILE, PathKind.ADDED)
_WRITTEN = (*_NEW_FILES, PathKind.NEW_FOLDER, PathKind.NEW_RUN, PathKind.FILLED)
_FOLDERS = (PathKind.DATA, PathKind.FOLDER, PathKind.PLACE, PathKind.FILLED)

_OWN = (
    "ledger.jsonl", "config.yaml", "epochs.csv", "checkpoints", "pictures", "tensorboard",
    ".lock", ".clip-study.json",
)  # fmt: skip
_OWN_ENDS = (".scores.jsonl",)
"""Names in a run directory of what the run itself writes."""


_SAMPLES = tuple(f"-{member}" for member in MEMBERS)
_LOOKED_AT = 200
"""Entries of a folder that are looked at: one of samples holds hardly anything else."""

_LONGEST_LINE = 2**20
"""Bytes of a first line that are looked at."""

_RESULTS = (".json", ".html", ".htm", ".svg", ".png", ".npz")
_BEGINNINGS = (b"{", b"[", b"<", b"arch,epe_px,")
"""What results end and begin with; a table of archs would be anybody's by its ending."""
_CHAIN = b',"chain":"'


@dataclass(frozen=True)
class Named:
    """A path, the option that names it, and what it is for."""

    option: str
    path: Path
    kind: PathKind

    def __str__(self) -> str:
        return f"{self.option} {self.path}"


def check_paths(named: Iterable[Named]) -> None:
    """Refuse paths that cannot be what they are named for; nothing is opened or made.

    An input that is not there is left to whoever reads it.

    Raises
    ------
    InputError
        If an input is of another kind of file; if an output cannot be written, is an input or
        another output, lies in data that are read, or is a file of a run's own. Names the option.
    OSError
        If the system does not even say what is there.
    """
    every = list(named)
    for one in every:
        if one.kind not in _WRITTEN:
            _check_input(one)
        elif _is_stream(one):
            _require_open(one)
    outputs = [one for one in every if one.kind in _WRITTEN and not _is_stream(one)]
    runs = [_real(one.path) for one in outputs if one.kind is PathKind.NEW_RUN]
    for place, one in enumerate(outputs):
        if one.kind in _NEW_FILES and one.path.is_dir():
            raise _wrong(one, "is a folder, expected a file's name")
        _refuse_inputs(one, every)
        _refuse_own_files(one, every)
        _refuse_among_samples(one)
        _refuse_others(one, outputs[:place])
        _require_writable(one, runs)
        _refuse_something_else(one)


def own_file_of_run(path: Path, runs: Sequence[Path] = ()) -> Path | None:
    """Return the run directory that a path is one of the own files of, or lies in one of.

    Parameters
    ----------
    path : pathlib.Path
        As the system resolves it.
    runs : sequence of pathlib.Path, optional
        Run directories that are none yet.
    """
    for folder in path.parents:
        name = path.relative_to(folder).parts[0]
        if (name in _OWN or name.endswith(_OWN_ENDS)) and (folder in runs or _is_run(folder)):
            return folder
    return None


def _is_run(folder: Path) -> bool:
    configured = (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir()
    return configured or (folder / "ledger.jsonl").is_file()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_stream(one: Named) -> bool:
    return one.kind in _NEW_FILES and is_stream(one.path)


def _require_open(one: Named) -> None:
    try:
        check_stream(one.path)
    except OSError as error:
        raise _wrong(one, f"not written: {error.strerror}") from None


def _check_input(one: Named) -> None:
    index = Path(f"{one.path}.index")
    if one.kind is PathKind.PREFIX and not index.is_file():
        text = (
            f"{index}: no such file; PREFIX is what the checkpoint's files have in common, such "
            "as checkpoints/supernet_best.ckpt with .index, .data-00000-of-00001 and .meta.json"
        )
        raise InputError(text)
    try:
        mode = one.path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    folder, file = stat.S_ISDIR(mode), stat.S_ISREG(mode)
    if one.kind in _FOLDERS and not folder:
        raise _wrong(one, "expected a folder, found a file" if file else _special(mode))
    if one.kind is PathKind.FILE and folder:
        raise _wrong(one, "is a folder, expected a file")
    # What a shell makes of <(command) has an end; a pipe with a name waits for a writer.
    piped = stat.S_ISFIFO(mode) and str(one.path).startswith(("/dev/fd/", "/proc/self/fd/"))
    if one.kind in (PathKind.FILE, PathKind.RUN) and not (folder or file or piped):
        raise _wrong(one, _special(mode))
    if not os.access(one.path, os.R_OK | (os.X_OK if folder else 0)):
        raise _wrong(one, os.strerror(errno.EACCES))


def _special(mode: int) -> str:
    return f"expected a file or folder, found {kind_of(mode)}"


def _refuse_inputs(one: Named, every: Sequence[Named]) -> None:
    """Refuse an output that is an input, lies within one, or would hold one."""
    out = _real(one.path)
    for other in every:
        if other.kind in _WRITTEN or other.kind is PathKind.PLACE:
            continue
        read = _real(other.path)
        if one.kind in (PathKind.NEW_RUN, PathKind.FILLED) and other.kind is PathKind.FILE:
            continue  # a run is continued by its own configuration
        if out == read or _is_same_file(out, read):
            raise _wrong(one, f"is what {other.option} reads; name another")
        if other.kind is PathKind.PREFIX and _begins(out, read):
            raise _wrong(one, f"is one of the files that {other} stands for; name another")
        if any(out.is_relative_to(folder) for folder in _closed(other, read)):
            raise _wrong(one, f"lies in what is read, {other}; name a place outside")
        if one.kind is PathKind.NEW_FOLDER and read.is_relative_to(out):
            raise _wrong(one, f"would hold what is read, {other}; name another")


def _closed(other: Named, read: Path) -> list[Path]:
    """Return the folders of an input into which nothing may be written."""
    if other.kind is PathKind.FOLDER:
        return [read]
    return [read / "train", read / "val"] if other.kind is PathKind.DATA else []


def _begins(out: Path, prefix: Path) -> bool:
    return out.parent == prefix.parent and out.name.startswith(f"{prefix.name}.")


def _is_same_file(one: Path, other: Path) -> bool:
    """Return whether two names are one file: of a hard link, and where case does not count."""
    try:
        return one.is_file() and one.samefile(other)
    except OSError:
        return False


def _refuse_own_files(one: Named, every: Sequence[Named]) -> None:
    # Beside any result, too: `eval --pool all --json a.json` appends to a.scores.jsonl.
    if one.kind in _NEW_FILES and _real(one.path).name.endswith(_OWN_ENDS):
        raise _wrong(one, "is a name of scores that `harness eval --pool all` keeps; name another")
    runs = [_real(o.path) for o in every if o.kind in (PathKind.RUN, PathKind.NEW_RUN)]
    folder = own_file_of_run(_real(one.path), runs)
    if folder is not None:
        raise _wrong(one, f"is one of the files of the run {folder}; name another")


def _refuse_among_samples(one: Named) -> None:
    """Refuse what would lie in a folder of samples, whoever reads them."""
    for folder in _real(one.path).parents:
        try:
            with os.scandir(folder) as entries:
                found = any(entry.name.endswith(_SAMPLES) for entry in islice(entries, _LOOKED_AT))
        except OSError:  # not there, or not listed: no samples are read from it either
            continue
        if found:
            raise _wrong(one, f"lies among the samples of {folder}; name a place outside")


def _refuse_something_else(one: Named) -> None:
    """Refuse to replace a file that no command writes anew: a slip would destroy it."""
    if one.kind is not PathKind.NEW_FILE:
        return
    try:
        with open_regular(one.path) as file:
            first, more = file.readline(_LONGEST_LINE), file.read(1)
    except OSError:  # there is none, or what writes it says why not
        return
    # Whatever its name: a ledger, scores under way, the log of another trainer.
    if first.startswith(b'{"') and first.endswith(b"}\n") and (more == b"{" or _CHAIN in first):
        text = "holds lines of JSON, a log that is appended to, which would be lost"
        raise _wrong(one, f"{text}; name another, or remove it")
    known = one.path.suffix.lower() in _RESULTS
    if first and not known and not first.startswith(_BEGINNINGS):
        raise _wrong(one, "holds something else, which would be lost; name another, or remove it")


def _refuse_others(one: Named, before: Sequence[Named]) -> None:
    out = _real(one.path)
    for other in before:
        there = _real(other.path)
        if out == there or _is_same_file(out, there):
            raise _wrong(one, f"is what {other.option} writes, too; name another")
        for inner, outer, kind in ((out, there, other.kind), (there, out, one.kind)):
            if kind is PathKind.NEW_FOLDER and inner.is_relative_to(outer):
                raise _wrong(one, f"and {other}: one would lie in the other; name another")


def _require_writable(one: Named, runs: Sequence[Path]) -> None:
    out = _real(one.path)
    if one.kind in _NEW_FILES:
        if out.parent in runs and not out.parent.exists():
            return  # the run that this command begins makes its folder
        try:
            check_target(one.path)
        except NotWrittenError as error:
            raise InputError(f"{one.option} {error}") from None
        _require_access(one, out.parent)
        return
    if one.kind is PathKind.NEW_RUN and not is_utf_8(str(out)):
        raise _wrong(one, "its name is no UTF-8, which not all that is written there can have")
    if out.is_symlink():  # it is still one: a circle
        raise _wrong(one, os.strerror(errno.ELOOP))
    if out.exists() and not out.is_dir():
        raise _wrong(one, "is there and no folder; name another")
    if one.kind is PathKind.FILLED and not out.exists():
        raise _wrong(one, "there is no such folder; make it first")
    _require_access(one, next(f for f in (out, *out.parents) if f.exists()))


def _require_access(one: Named, folder: Path) -> None:
    if not folder.is_dir():
        raise _wrong(one, f"{folder} is no folder")
    try:
        # Asking alone is not enough: a server may answer for itself, and /proc takes no files.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"not written: the folder {folder} takes no files: {error.strerror}"
        raise _wrong(one, msg) from None


def _wrong(one: Named, text: str) -> InputError:
    return InputError(f"{one}: {text}")
