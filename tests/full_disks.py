"""A disk that takes no more: by a limit on the size of files, and a file system of a few KiB."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_device(folder: Path, kib: int) -> Iterator[Path]:
    """Lend a folder of its own file system of so many KiB; without the right to, skip by name."""
    mounted = folder / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(mounted)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
