"""What a command answers with one plain line, and what a promise does not apply to."""

import math
import os
import re
import sys
from collections.abc import Iterator

__all__ = [
    "InputError", "NotApplicableError", "UnseenError", "WatchError", "cut", "full_text",
    "is_out_of_memory", "memory_line", "one_line", "plain_line",
]  # fmt: skip


class InputError(ValueError):
    """What a person handed in is wrong: a file, an option, a configuration."""


class NotApplicableError(Exception):
    """A promise does not apply to this system, configuration, data or run; says why."""


class UnseenError(NotApplicableError):
    """A system that can do a call gave nothing to look at; says what could not be seen."""


class WatchError(RuntimeError):
    """A promise broke while training ran; names the place, what was expected and found."""


_MOST = 200
"""Characters of an error in a list of others."""

_SHOWN = 80
"""Characters of a value in a message."""


def cut(text: str, most: int = _SHOWN) -> str:
    """Return text that somebody gave as a message shows it: in one line, visible, not too long.

    Parameters
    ----------
    text : str
    most : int, default 80
        Characters of it that are shown.
    """
    seen = _visible(text[:most])
    return seen if len(text) <= most else f"{seen}... ({len(text)} characters)"


def _visible(text: str) -> str:
    """Return text in which what a terminal would obey, or could not write, is spelled out."""
    seen = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in seen)


_NOISE = re.compile(
    r"""Traceback\ \(most\ recent | File\ "[^"]*",\ line\ \d | Graph\ execution\ error
    | Detected\ at\ node | Node:\ ' | \[\[\{\{ | \[\[node\  | Stack\ trace | Original\ stack
    | \d+\ (root|derived)\ error | \(\d+\)\ \S+:\s*$ | frame\ \#\d | \#\d+\ 0x
    | Exception\ raised\ from | \d+\ successful\ operations | \d+\ derived\ errors
    | Errors\ may\ have\ originated | Input\ Source\ operations | Function\ call\ stack
    | CUDA\ kernel\ errors\ might | For\ debugging\ consider | Compile\ with\ `TORCH
    | During\ handling\ of\ the\ above | The\ above\ exception\ was | \^+\s*$ | [-=~*]{4,}""",
    re.VERBOSE,
)
"""How lines begin that say where in a framework's own code or graph an error was noticed."""

_WRAPPED = re.compile(
    r"\{\{(function_)?node [^{}]*\}\}\s*|\s*\[\[(\{\{|node )[^\]]*\]\]|\s*\[Op:[^\]]*\]( name:)?"
    r"|^\s*\(\d+\)\s+"
)
"""Names of graph nodes around the sentence that says what is wrong."""

_CODE_LINE = re.compile(r"\s{4,}\S")


def one_line(error: BaseException) -> str:
    """Return an error as one plain line: its type and its first meaningful sentence."""
    if is_out_of_memory(error):
        return memory_line(error)
    return f"{type(error).__name__}: {plain_line(str(error))}"


def plain_line(text: str, most: int = _MOST) -> str:
    """Return the first line of an error's text that says what is wrong, at most so long.

    A framework's text may have forty lines, with its call stack before the sentence.
    """
    lines = list(_telling(text)) or [line.strip() for line in text.splitlines() if line.strip()]
    found = lines[0] if lines else "no text"
    if found.endswith(":") and len(lines) > 1:  # a heading: what it announces comes next
        found = f"{found} {lines[1]}"
    # It may quote a name that somebody's file holds.
    found = _visible(found)
    if len(found) <= most:
        return found
    sentence = found[:most].rpartition(". ")[0]
    return f"{sentence}." if len(sentence) > most // 4 else f"{found[: most - 3].rstrip()}..."


def _telling(text: str) -> Iterator[str]:
    """Yield the lines that are neither of a call stack nor names of graph nodes."""
    code = False
    for line in text.splitlines():
        plain = _WRAPPED.sub("", line).strip()
        noise = _NOISE.match(plain) is not None or _NOISE.match(line.strip()) is not None
        # A call stack quotes a line of code under each place.
        quoted, code = code and _CODE_LINE.match(line) is not None, noise and "File" in line
        if plain and not noise and not quoted:
            yield plain


_NO_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError", "MemoryError")
"""What TensorFlow, PyTorch and Python raise where memory does not suffice."""

_WANTED = re.compile(r"shape\s*\[([\d,]*)\] and type (\w+)(?: on \S*device:(\S+))?")
_SIZES = {"double": 8, "int64": 8, "half": 2, "bfloat16": 2, "uint8": 1, "int8": 1, "bool": 1}


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that no memory is left, in another process too."""
    return any(base.__name__ in _NO_MEMORY for base in type(error).__mro__)


def memory_line(error: BaseException) -> str:
    """Return one line on memory that did not suffice: who wanted how much, and what to do."""
    pid = getattr(error, "pid", None)
    who = f"pid {pid}" if pid else f"pid {os.getpid()}, {plain_line(' '.join(sys.argv), most=120)}"
    found = _WANTED.search(str(error))
    wanted = plain_line(str(error)) if found is None else _wanted(*found.groups())
    if isinstance(error, MemoryError):  # the machine's own
        advice = "let other processes end, or lower data.num_workers and runtime.cache_mib"
    else:
        advice = (
            "lower train.micro_batch_size or eval.batch_size, or let other processes on the device "
            "end or take less (runtime.gpu_memory_mib)"
        )
    return f"out of memory ({who}): {wanted}; {advice}"


def _wanted(shape: str, kind: str, device: str | None) -> str:
    count = math.prod(int(side) for side in shape.split(",") if side)
    mib = count * _SIZES.get(kind, 4) / 2**20
    return f"no {mib:.4g} MiB for a tensor of shape [{shape}] and type {kind}" + (
        f" on {device}" if device else ""
    )


def full_text(error: BaseException) -> str:
    """Return all that an error says, with what was noted of it: a foreign system's traceback."""
    notes = getattr(error, "__notes__", ())
    return "\n".join([f"{type(error).__name__}: {error}", *map(str, notes)])
