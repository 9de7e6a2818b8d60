"""Ledgers as earlier versions wrote them."""

import json
import re
from pathlib import Path

_CHAIN = re.compile(r',"chain":"[0-9a-f]{32}"\}$')


def without_chain(line: str) -> str:
    """Return a line without the digest that it ends with."""
    found, count = _CHAIN.subn("}", line)
    assert count == 1
    assert json.loads(found)
    return found


def unchained(path: Path) -> list[str]:
    """Take the digests out of a ledger, and return its lines."""
    lines = [without_chain(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join([*lines, ""]))
    return lines
