"""Readers under a limit of memory: what they may take above what the process has already."""

import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20
SLACK = 24 * MIB
"""Bytes that an allocator takes at once, whatever is asked of it."""


def address_space():
    """Return the bytes of memory that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@contextmanager
def at_most(number):
    """Let this process map no more than so many bytes above what it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + number + SLACK, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def in_child(test, *arguments, seconds=120):
    """Call ``MODULE:FUNCTION`` in a process of its own; its death or a failed assert fails."""
    module, _, function = test.partition(":")
    code = f"import sys; import {module} as module; module.{function}(*sys.argv[1:]); print('held')"
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip
    print(found.stdout)  # noqa: T201 -- what was tried is to be seen
    assert (found.returncode, found.stdout[-5:]) == (0, "held\n"), found.stdout + found.stderr
