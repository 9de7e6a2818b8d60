"""The files of a TensorFlow Saver, read by a process of its own under limits of time and memory.

An index that is damaged, with a checksum that holds, ends the process that TensorFlow reads it in:
then that process is not ours, and its death is one line.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.archives import ArchiveError, open_archive
from harness.devices import SpecialFileError, kind_of
from harness.errors import InputError, cut, plain_line
from harness.wording import counted

__all__ = ["read_variables"]

_CHILD = Path(__file__).with_name("saver_child.py")
_MEMORY = 2**28
"""Bytes of memory beyond four times the files; what TensorFlow takes itself is not counted."""
_SECONDS = 300
"""Time for the imports, and a second more for each mebibyte."""


def read_variables(prefix: Path, *, seconds: float = _SECONDS) -> dict[str, NDArray[Any]]:
    """Read every variable of PREFIX.index and PREFIX.data-*.

    Parameters
    ----------
    prefix : pathlib.Path
    seconds : float, default 300
        Limit of time, besides a second for each mebibyte of the files.

    Raises
    ------
    InputError
        If a file is absent, damaged or no file, or reading it takes more than the limits.
    """
    size = sum(_sizes(prefix))
    allowed = round(seconds) + size // 2**20
    with tempfile.TemporaryDirectory(prefix="samebits-saver-") as folder:
        target = Path(folder) / "arrays.npz"
        limits = (_MEMORY + 4 * size, 2 * size + 2**24, allowed)
        place, reason = _ended(prefix, target, limits, allowed)
        if not reason:
            try:
                with open_archive(target) as archive:
                    return {name: archive.read(name) for name in sorted(archive.names)}
            except (ArchiveError, OSError) as error:
                place, reason = ".data-*", plain_line(str(error))
    msg = (
        f"{prefix}{cut(place, 200)}: cut short or damaged ({reason}); expected the files as "
        "TensorFlow's Saver wrote them, copy all of them again"
    )
    raise InputError(msg)


def _sizes(prefix: Path) -> list[int]:
    """Return the bytes of each file, once all of them are files."""
    index = Path(f"{prefix}.index")
    if not index.exists():
        msg = (
            f"{index}: no such file; PREFIX is what the checkpoint's files have in common, such "
            "as checkpoints/supernet_best.ckpt with .index, .data-00000-of-00001 and .meta.json"
        )
        raise InputError(msg)
    start = f"{prefix.name}.data-"
    parts = [path for path in sorted(prefix.parent.iterdir()) if path.name.startswith(start)]
    sizes = []
    for path in (index, *parts):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(str(SpecialFileError(path, kind_of(found.st_mode))))
        sizes.append(found.st_size)
    return sizes


def _ended(prefix: Path, target: Path, limits: tuple[int, ...], seconds: float) -> tuple[str, str]:
    """Run the child and return where and why it failed; an empty reason: it did not."""
    # Its own messages would be taken for ours, and a GPU is not needed to read a file.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", str(_CHILD), str(prefix), str(target), *map(str, limits)]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
            env={**os.environ, **quiet},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return (
            ".index",
            f"TensorFlow's reader did not end within {counted(round(seconds), 'second')}",
        )
    if child.returncode:
        return ".index", _death(child.returncode, limits[0])
    try:
        answer = json.loads(child.stdout)
        if "system" in answer:
            raise InputError(
                f"{target.parent}: not written, to read {prefix}: {plain_line(answer['system'])}; "
                "make room, or set TMPDIR"
            )
        return answer.get("place", ""), plain_line(answer.get("reason", "")) if answer else ""
    except InputError:
        raise
    except (ValueError, AttributeError, TypeError):
        return ".index", f"TensorFlow's reader answered {len(child.stdout)} bytes of no sense"


def _death(code: int, memory: int) -> str:
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"TensorFlow's reader died of it: {how}, with {memory // 2**20} MiB of memory"
