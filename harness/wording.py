"""How counts and digests are written for people, in one way everywhere."""

import re

__all__ = ["counted", "is_digest", "shortened"]

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


def is_digest(value: object) -> bool:
    """Return whether a value is a digest, which tells a person nothing."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def shortened(value: object) -> str:
    """Return a value as text; a long digest by its first characters."""
    text = str(value)
    return f"{text[:_SHOWN]}..." if _DIGEST.fullmatch(text) else text
