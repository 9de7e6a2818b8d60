"""How counts, digests and found values are written for people, in one way everywhere."""

import re
import reprlib
import textwrap

__all__ = [
    "counted", "in_rows", "install", "is_digest", "is_utf_8", "quoted", "shortened",
]  # fmt: skip

_HISS = re.compile(r"(s|x|z|tch|sh)$")
_DIGEST = re.compile(r"[0-9a-f]{16,}")
_SHOWN = 8
"""Characters of a digest that are shown: enough to tell two apart, and to search a log for."""


def counted(number: int, what: str, several: str = "") -> str:
    """Return a number with what it counts: ``1 epoch``, ``2 epochs``, ``3 batches``.

    Parameters
    ----------
    number : int
    what : str
        One of them; of several words the last is made plural.
    several : str, optional
        Several of them, where an ending does not make the plural: ``promises hold``.
    """
    if number == 1:
        return f"1 {what}"
    if not several:
        ending = "es" if _HISS.search(what) else "s"
        several = f"{what}{ending}"
    return f"{number} {several}"


def install(extra: str) -> str:
    """Return how an extra of this package is installed; no package index has the package itself.

    Parameters
    ----------
    extra : str
        As ``pyproject.toml`` names it.
    """
    return f"pip install -e '.[{extra}]' in the clone of samebits"


def is_digest(value: object) -> bool:
    """Return whether a value is a digest, which tells a person nothing."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def shortened(value: object) -> str:
    """Return a value as text; a long digest by its first characters."""
    text = str(value)
    return f"{text[:_SHOWN]}..." if _DIGEST.fullmatch(text) else text


_MOST = 80
"""Characters of a value that a message quotes."""


class _Cut(reprlib.Repr):
    """Writes a value as Python does, without ever writing all of a large or deep one."""

    def __init__(self, most: int) -> None:
        super().__init__()
        # Depth and breadth together: what is nested by references in YAML has no end otherwise.
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 12
        self.maxstring = self.maxother = self.maxlong = most

    def repr_int(self, x: int, level: int) -> str:
        """Return an integer by its size where Python refuses to write its digits."""
        del level
        if x.bit_length() > 4 * self.maxlong:
            return f"an integer of some {int(x.bit_length() * 0.30103) + 1} digits"
        return repr(x)

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Return the beginning of bytes: all of them would be written before they are cut."""
        del level
        return repr(x[: self.maxstring])


def quoted(value: object, most: int = _MOST) -> str:
    """Return a value that was found in a file as a message quotes it, at most so long.

    Parameters
    ----------
    value : object
        Of any size and depth.
    most : int, default 80
        Characters.
    """
    text = _Cut(most).repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_utf_8(text: str) -> bool:
    """Return whether a name can be written: one that the system gave as other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_BEGINS = re.compile(r" *(\d+\. |[-|] )?")


def in_rows(line: str, width: int) -> str:
    """Return a line as rows of a terminal, broken between words; a longer word stays whole.

    Parameters
    ----------
    line : str
    width : int
        Columns of the terminal.
    """
    if len(line) <= width:
        return line
    begins = _BEGINS.match(line)
    indent = " " * (len(begins[0]) if begins and begins[0] else 3)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
