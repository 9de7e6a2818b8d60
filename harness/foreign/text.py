"""Reading text files of others: bounded, strict, and refused by file and line."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.devices import open_regular, read_regular
from harness.errors import InputError, cut, plain_line
from harness.strict_json import LARGEST, parse_json
from harness.wording import quoted

__all__ = [
    "each_line", "logged_number", "number_of", "read_document", "refusal", "whole_in",
    "whole_of",
]  # fmt: skip

MOST_BYTES = 2**29
"""Of a log or table; one of a step a line for 2,000,000 steps has some 2**28."""
_MOST_DOCUMENT = 2**24
_MOST_LINE = 2**20

_NUMBER = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
_LARGEST = 1e100
"""More than a float32 holds by far, and little enough for sums and quotients to stay finite."""
_BEYOND = 1e300
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_BOM = b"\xef\xbb\xbf"


def refusal(path: Path, number: int | None, reason: str) -> InputError:
    """Return an error that names file, line and reason."""
    place = "" if number is None else f"line {number}: "
    return InputError(f"{cut(str(path), 300)}: {place}{reason}")


def each_line(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield each line with its number, from 1, and whether it is whole, without its end.

    Raises
    ------
    InputError
        If the file or a line is too long, or is no text; names the line.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_BYTES:
            raise refusal(path, None, f"expected at most {MOST_BYTES} bytes, found {size}")
        number = 0
        while line := file.readline(_MOST_LINE + 1):
            number += 1
            if len(line) > _MOST_LINE:
                raise refusal(path, number, f"is longer than {_MOST_LINE} bytes")
            if b"\0" in line:
                raise refusal(path, number, "holds a NUL byte")
            content = line.removeprefix(_BOM) if number == 1 else line
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise refusal(path, number, f"is no text in UTF-8: {error.reason}") from None
            yield number, text.rstrip("\r\n"), line.endswith(b"\n")


def number_of(text: str) -> float:
    """Return a number as Python writes it, ``nan`` and ``inf`` among them.

    Raises
    ------
    ValueError
        If it is none; says what was found.
    """
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    if not _NUMBER.fullmatch(text):
        msg = f"expected a number, found {quoted(text)}"
        raise ValueError(msg)
    # What is written in digits and becomes an infinity is beyond the largest, too.
    return logged_number(math.copysign(min(abs(float(text)), _BEYOND), float(text)))


def logged_number(value: object) -> float:
    """Return a number as it lies in a file; it may be NaN or infinite.

    Raises
    ------
    ValueError
        If it is none, or larger than any that is logged; says what was found.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"expected a number, found {quoted(value)}"
        raise ValueError(msg)
    if math.isfinite(value) and abs(value) > _LARGEST:
        msg = f"expected a number up to {_LARGEST:g}, found {quoted(value)}"
        raise ValueError(msg)
    return value


def whole_of(value: object) -> int:
    """Return a whole number from 0 that lies in a file: ``3`` or ``3.0``.

    Raises
    ------
    ValueError
        If it is none; says what was found.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    if 0 <= number < LARGEST and number == int(number):
        return int(number)
    msg = f"expected a whole number from 0, found {quoted(value)}"
    raise ValueError(msg)


def whole_in(text: str) -> int:
    """Return a whole number from 0 as a text writes it.

    Raises
    ------
    ValueError
        If it is none; says what was found.
    """
    return whole_of(number_of(text))


def read_document(path: Path) -> Mapping[str, Any]:
    """Return the object that a JSON file holds.

    Raises
    ------
    InputError
        If it holds none, or is too long.
    """
    content = _short(path)
    try:
        # Infinity is what Python writes for a best metric before the first evaluation.
        value = parse_json(content, constants=True)
    except ValueError as error:
        raise refusal(path, None, plain_line(str(error))) from None
    if not isinstance(value, dict):
        raise refusal(path, None, f"expected an object, found {quoted(value)}")
    return value


def _short(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MOST_DOCUMENT:
        raise refusal(path, None, f"expected at most {_MOST_DOCUMENT} bytes, found {size}")
    return read_regular(path)
