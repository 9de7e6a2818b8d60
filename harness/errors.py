"""What a command answers with one plain line, and what a promise does not apply to."""

import re
from collections.abc import Iterator

__all__ = [
    "InputError", "NotApplicableError", "UnseenError", "WatchError", "full_text", "one_line",
    "plain_line",
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
    return f"{type(error).__name__}: {plain_line(str(error))}"


def plain_line(text: str, most: int = _MOST) -> str:
    """Return the first line of an error's text that says what is wrong, at most so long.

    A framework's text may have forty lines, with its call stack before the sentence.
    """
    lines = list(_telling(text)) or [line.strip() for line in text.splitlines() if line.strip()]
    found = lines[0] if lines else "no text"
    if found.endswith(":") and len(lines) > 1:  # a heading: what it announces comes next
        found = f"{found} {lines[1]}"
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


def full_text(error: BaseException) -> str:
    """Return all that an error says, with what was noted of it: a foreign system's traceback."""
    notes = getattr(error, "__notes__", ())
    return "\n".join([f"{type(error).__name__}: {error}", *map(str, notes)])
