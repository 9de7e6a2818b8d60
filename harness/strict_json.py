"""JSON as its standard has it, for files that may be damaged or by somebody else.

Python's own reader takes more: NaN, infinities, numbers that become one, the last of two equal
keys, and half characters, on which whoever writes them on dies later.
"""

import json
import math
from typing import Any, NoReturn

__all__ = ["LARGEST", "parse_json"]

LARGEST = 2**63
"""What every whole number stays below: what others count with, NumPy too, holds no more."""

_MOST = 160


def parse_json(content: bytes | str, *, constants: bool = False) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    content : bytes or str
        Bytes are UTF-8.
    constants : bool, default False
        Take ``Infinity`` and ``NaN``, which Python writes and the standard does not have.

    Raises
    ------
    ValueError
        If it is none; one line that says where and why, at most some 200 characters.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_int=_whole,
            parse_constant=float if constants else _refused,
        )  # fmt: skip
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        msg = "nested deeper than anything that is written here"
        raise ValueError(msg) from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        msg = f"no text in UTF-8: {error.reason} at {error.start}"
        raise ValueError(msg) from None
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())[:_MOST]) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for number, key in enumerate(keys) if key in keys[:number])
        msg = f"the key {double[:80]!r} stands there twice"
        raise ValueError(msg)
    return found


def _refused(constant: str) -> NoReturn:
    msg = f"{constant} is no number of JSON"
    raise ValueError(msg)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = f"the number {text[:40]} is beyond what a float holds"
        raise ValueError(msg)
    return value


def _whole(text: str) -> int:
    # By its length first: Python takes its time over thousands of digits, or refuses them.
    if len(text) > 20 or not -LARGEST <= (value := int(text)) < LARGEST:
        shown = text if len(text) <= 40 else f"of {len(text)} digits"
        msg = f"the whole number {shown} is beyond 64 bits"
        raise ValueError(msg)
    return value
