"""Lines of which each vouches for those before it.

A line of JSON ends with ``"chain"``, two digests of 64 bits: of the rest of the line, and of that
one with the chain of the line before. The first chain goes on from all bytes before its line: none,
or what an earlier version wrote. A line that was changed, left out, said twice or moved does not
match; one that comes after a line which a kill cut short is still known by itself.
"""

import hashlib
import os
import re
from typing import BinaryIO

__all__ = [
    "chain_before",
    "chain_of",
    "chained",
    "is_next",
    "is_of_itself",
    "origin",
    "split_chain",
]

_SIZE = 16
_END = re.compile(rb',"chain":"([0-9a-f]{32})"\}$')
_LENGTH = len(b',"chain":""}') + 2 * _SIZE


_BLOCK = 2**16
"""Bytes that are read first, from a file's end."""


def origin(*parts: bytes) -> bytes:
    """Return the chain before the first line that carries one, of the bytes before that line."""
    found = hashlib.blake2b(digest_size=_SIZE)
    for part in parts:
        found.update(part)
    return found.hexdigest().encode()


def chain_of(before: bytes, body: bytes) -> bytes:
    """Return the chain of a line: of what it says itself, and of that and the chain before it."""
    own = _half(body)
    return own + _half(before + own)


def is_of_itself(chain: bytes, body: bytes) -> bool:
    """Return whether a chain is of what its line says, whatever came before."""
    return chain[:_SIZE] == _half(body)


def is_next(chain: bytes, before: bytes) -> bool:
    """Return whether a chain goes on from another, whatever its line says now."""
    return chain[_SIZE:] == _half(before + chain[:_SIZE])


def _half(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SIZE // 2).hexdigest().encode()


def chained(body: bytes, before: bytes) -> tuple[bytes, bytes]:
    """Return a line with its chain, and the chain.

    Parameters
    ----------
    body : bytes
        A JSON object that is not empty, without the line's end.
    before : bytes
        Chain of the line before.
    """
    chain = chain_of(before, body)
    return body[:-1] + b',"chain":"' + chain + b'"}', chain


def split_chain(line: bytes) -> tuple[bytes, bytes | None]:
    """Return what a line says without its chain, and the chain; None where it carries none."""
    # The regular expression alone would look at the whole of a long line.
    found = _END.search(line, max(0, len(line) - _LENGTH))
    return (line, None) if found is None else (line[: found.start()] + b"}", found[1])


def chain_before(file: BinaryIO) -> bytes:
    """Return the chain that the next line of a file goes on from.

    Parameters
    ----------
    file : file
        To be read; of whole lines.
    """
    size, block = file.seek(0, os.SEEK_END), _BLOCK
    while True:
        start = max(0, size - block)
        file.seek(start)
        lines = file.read().split(b"\n")
        # The first may be the end of a longer one.
        for line in reversed(lines[start > 0 :]):
            chain = split_chain(line)[1]
            if chain is not None:
                return chain
        if start == 0:
            return origin(b"\n".join(lines))
        block *= 8
