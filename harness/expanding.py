"""``~`` and ``$NAME`` in a path that somebody wrote where no shell reads it.

Taken literally they would make folders of these names, beside the ones that were meant.
"""

import os
import re
from collections.abc import Mapping

from harness.errors import InputError, cut

__all__ = ["MOST_PATH", "escaped", "expanded"]

MOST_PATH = 4096
"""Bytes of a path that Linux takes (``PATH_MAX``)."""

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<braced>[^}]*)\}?|(?P<name>[A-Za-z_][A-Za-z0-9_]*))"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expanded(text: str, what: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a path with its home folder and its variables in place of ``~`` and ``$NAME``.

    Parameters
    ----------
    text : str
        As written. ``$$`` is a dollar.
    what : str
        Option or key that it was written for, for the error.
    environ : mapping
        The variables.

    Raises
    ------
    InputError
        If a variable is not set or empty, a user is unknown, or no file can have this name.
    """

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["name"] or match["braced"] or ""
        if not _NAME.fullmatch(name) or (match["braced"] is not None and match[0][-1] != "}"):
            msg = f"{what} {cut(text)}: expected ${{NAME}}, found {cut(match[0])}; $$ is a dollar"
            raise InputError(msg)
        found = environ.get(name, "")
        if not found:
            state = "is empty" if name in environ else "is not set"
            msg = f"{what} {cut(text)}: the variable {name} {state}; export it, or write the path"
            raise InputError(msg)
        return found

    _require_name(text, what)
    home, rest = _home(text, what)
    found = home + _VARIABLE.sub(value, rest)
    _require_name(found, what)
    return found


def escaped(path: str) -> str:
    """Return a path so that :func:`expanded` gives it back, whatever its name holds."""
    return path.replace("$", "$$")


def _home(text: str, what: str) -> tuple[str, str]:
    """Return the folder that a leading ``~`` or ``~user`` stands for, and the rest."""
    if not text.startswith("~"):
        return "", text
    word, slash, rest = text.partition("/")
    found = os.path.expanduser(word)  # noqa: PTH111 -- a path that is no user's stays as it is
    if found == word:
        name = cut(word)
        msg = f"{what} {cut(text)}: no user has the name {name}; write ./{name} for a folder"
        raise InputError(msg)
    return found, slash + rest


def _require_name(text: str, what: str) -> None:
    if "\0" in text:
        msg = f"{what} {cut(text)}: holds a NUL character, which no file's name can"
        raise InputError(msg)
    try:
        length = len(os.fsencode(text))
    except UnicodeEncodeError:
        msg = f"{what} {cut(text)}: holds half a character, which no file's name can"
        raise InputError(msg) from None
    if length >= MOST_PATH:
        msg = f"{what} {cut(text)}: {len(text)} characters, expected fewer than {MOST_PATH}"
        raise InputError(msg)
