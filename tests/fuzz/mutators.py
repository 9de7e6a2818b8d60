"""Ways to damage an input, each (random, content) -> content, and choices among them."""

import base64
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes], bytes]


def one_of(*mutators: Mutate, most: int = 3) -> Mutate:
    """Return a mutator that applies one to `most` of these, mostly one."""

    def mutate(random: Random, content: bytes) -> bytes:
        for _ in range(random.choice([1, 1, 1, random.randint(1, most)])):
            content = random.choice(mutators)(random, content)
        return content

    return mutate


def flip_bits(random: Random, content: bytes) -> bytes:
    """Flip one to three bits."""
    found = bytearray(content)
    for _ in range(random.randint(1, 3) if found else 0):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def set_byte(random: Random, content: bytes) -> bytes:
    """Set a byte to one that means something: NUL, 255, a quote, a digit, a line's end."""
    found = bytearray(content)
    if found:
        found[random.randrange(len(found))] = random.choice(b'\0\xff\x80\n\r",;:{}[]0129-.eE ')
    return bytes(found)


def cut(random: Random, content: bytes) -> bytes:
    """Keep the beginning, or the end."""
    at = random.randint(0, len(content))
    return random.choice([content[:at], content[at:]])


def drop_range(random: Random, content: bytes) -> bytes:
    """Leave out some bytes in the middle."""
    start = random.randint(0, len(content))
    return content[:start] + content[start + random.choice([1, 2, 8, 64, 1000]) :]


def repeat_range(random: Random, content: bytes) -> bytes:
    """Say some bytes twice."""
    start = random.randint(0, len(content))
    end = start + random.choice([1, 2, 8, 64, 1000])
    return content[:end] + content[start:end] + content[end:]


def splice(random: Random, content: bytes) -> bytes:
    """Put a piece of the content somewhere else, over what is there or before it."""
    start, at = random.randint(0, len(content)), random.randint(0, len(content))
    piece = content[start : start + random.choice([1, 4, 16, 200])]
    return content[:at] + piece + content[at + random.choice([0, len(piece)]) :]


def insert(random: Random, content: bytes) -> bytes:
    """Put bytes of no meaning somewhere."""
    at = random.randint(0, len(content))
    piece = random.choice([b"\0" * 7, b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b" ", b"9" * 400,
                           "\N{LINE SEPARATOR}".encode(), b"\x1b[2J", b"\xc3"])  # fmt: skip
    return content[:at] + piece + content[at:]


BYTES = (flip_bits, set_byte, cut, drop_range, repeat_range, splice, insert)


def _on_lines(change: Callable[[Random, list[bytes]], list[bytes]]) -> Mutate:
    def mutate(random: Random, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join(change(random, lines)) if lines else content

    return mutate


def _swapped(random: Random, lines: list[bytes]) -> list[bytes]:
    one, other = (random.randrange(len(lines)) for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def _dropped(random: Random, lines: list[bytes]) -> list[bytes]:
    del lines[random.randrange(len(lines))]
    return lines


def _doubled(random: Random, lines: list[bytes]) -> list[bytes]:
    lines.insert(random.randint(0, len(lines)), random.choice(lines))
    return lines


def _halved(random: Random, lines: list[bytes]) -> list[bytes]:
    at = random.randrange(len(lines))
    lines[at] = lines[at][: random.randint(0, len(lines[at]))]
    return lines


def _windows(random: Random, lines: list[bytes]) -> list[bytes]:
    return [line.replace(b"\n", b"\r\n") for line in lines]


def _joined(random: Random, lines: list[bytes]) -> list[bytes]:
    at = random.randrange(len(lines))
    lines[at] = lines[at].rstrip(b"\n")
    return lines


def _blank(random: Random, lines: list[bytes]) -> list[bytes]:
    lines.insert(random.randint(0, len(lines)), random.choice([b"\n", b"  \n", b"null\n", b"[]\n"]))
    return lines


LINES = tuple(map(_on_lines, (_swapped, _dropped, _doubled, _halved, _windows, _joined, _blank)))


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**25, 0.0, -0.0, 1e-320, 1e308, 0.5, 1.0,
    float("nan"), float("inf"), float("-inf"), "", "x", "\0", "\N{LINE SEPARATOR}", "\ud800",
    "0" * 9, "nan", "../..", "/", [], {}, [[]], [None], {"a": 1}, "y" * 300, [1, 2, 3],
)  # fmt: skip
"""Values of every type of JSON, and extremes of each."""

_HUGE = ("1e999", "-1e999", "9" * 400, "1" + "0" * 5000, "[" * 3000 + "]" * 3000, "1E400")
"""Numbers and depths that Python's own writer cannot make."""
_MARK = "a huge number stands here"


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place]
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += _places(inner, (*place, key))
    return found


def change_value(random: Random, value: Any) -> Any:
    """Return a JSON value with one thing changed: another value, key, order, or number."""
    places = _places(value)
    place = random.choice(places)
    if not place:
        return random.choice(ODD)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    last = place[-1]
    kind = random.randrange(9)
    if kind <= 2:
        holder[last] = random.choice([*ODD, _MARK])
    elif kind == 3:
        del holder[last]
    elif kind == 4 and isinstance(holder, dict):
        holder[random.choice(["more", "", last + "x"])] = random.choice(ODD)
    elif kind == 4:
        holder.insert(last, holder[last])
    elif kind == 5 and isinstance(holder, dict):
        other = random.choice(list(holder))
        holder[last], holder[other] = holder[other], holder[last]
    elif kind == 5:
        random.shuffle(holder)
    else:
        holder[last] = _near(random, holder[last])
    return value


def _near(random: Random, value: Any) -> Any:
    """Return a value that looks like the old one: other by a little, or of another type."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if abs(value) > 1e300:  # a float holds none of these, and a text soon none either
            return random.choice([value + 1, -value, bool(value), 0.5])
        return random.choice([value + 1, -value, float(value), str(value), bool(value), value * 10])
    if isinstance(value, float):
        return random.choice([value + 1.0, value * (1 + 2**-52), -value, str(value), int(value)
                              if abs(value) < 1e300 else 0])  # fmt: skip
    if isinstance(value, str):
        return random.choice([value[:-1], value + " ", value.upper(), value[::-1], [value]])
    if isinstance(value, list):
        return random.choice([value[:-1], value[::-1], [*value, *value[:1]], [value], {}])
    return random.choice([[value], {}, list(value) if value else [], "text"])


def json_value(random: Random, content: bytes) -> bytes:
    """Change one thing in a JSON document."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return flip_bits(random, content)
    text = json.dumps(change_value(random, value), separators=(",", ":"))
    return _with_huge(random, text).encode("utf-8", "surrogatepass")


def json_line(random: Random, content: bytes) -> bytes:
    """Change one thing in one line of JSON lines."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = json_value(random, lines[at])
    return b"\n".join(lines)


def json_spelling(random: Random, content: bytes) -> bytes:
    """Say a key twice, which JSON allows, or a number in a way that Python's writer has not."""
    quotes = [i for i, byte in enumerate(content) if byte == ord("{")]
    if not quotes:
        return content
    at = random.choice(quotes) + 1
    key = random.choice(
        [b'"format":7,', b'"epoch":7,', b'"kind":"note",', b'"values":{},', b'"a":1,']
    )
    return content[:at] + key + content[at:]


def _with_huge(random: Random, text: str) -> str:
    return text.replace(json.dumps(_MARK), random.choice(_HUGE))


def base64_value(random: Random, content: bytes) -> bytes:
    """Change what a text in base64 says."""
    parts = content.split(b'"')
    at = [i for i, part in enumerate(parts) if len(part) >= 4 and len(part) % 4 == 0]
    if not at:
        return content
    which = random.choice(at)
    try:
        inner = base64.b64decode(parts[which], validate=True)
    except ValueError:
        return flip_bits(random, content)
    parts[which] = base64.b64encode(flip_bits(random, inner))
    return b'"'.join(parts)


JSON = (json_value, json_spelling)
JSON_LINES = (json_line, json_line, json_spelling)


def semicolons(random: Random, content: bytes) -> bytes:
    """Separate cells as a spreadsheet does where a comma is the decimal point."""
    changed = content.replace(b",", b";")
    return random.choice([changed, changed.replace(b".", b","), content.replace(b",", b"\t")])


def encoded(random: Random, content: bytes) -> bytes:
    """Write the text in another encoding, or with a byte-order mark."""
    text = content.decode("utf-8", "replace")
    return random.choice([
        b"\xef\xbb\xbf" + content, text.encode("utf-16"), text.encode("utf-16-le"),
        text.encode("utf-32"), content + "\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"),
    ])  # fmt: skip


def csv_cell(random: Random, content: bytes) -> bytes:
    """Change one cell of a table, the header's too."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    cells = lines[at].split(b",")
    which = random.randrange(len(cells))
    cells[which] = random.choice([
        b"", b"x", b"nan", b"inf", b"1e999", b"9" * 400, b"-1", b"0", b'"', b'"a', b"1.5", b"\0",
        b" " + cells[which], cells[which] + b" ", b'"' + cells[which] + b'"', b"0x10", b"1_0",
        cells[which][:-1], cells[which] + b"0", b"\xd9\xa1", b"=1+1", b"a\rb",
    ])  # fmt: skip
    lines[at] = b",".join(cells)
    return b"\n".join(lines)


def csv_column(random: Random, content: bytes) -> bytes:
    """Leave out, say twice or exchange a column, in every line or in one."""
    lines = content.split(b"\n")
    width = max(len(line.split(b",")) for line in lines)
    one, other, kind = random.randrange(width), random.randrange(width), random.randrange(3)
    only = random.choice([None, random.randrange(len(lines))])
    for at, line in enumerate(lines):
        cells = line.split(b",")
        if len(cells) <= max(one, other) or only not in (None, at):
            continue
        if kind == 0:
            del cells[one]
        elif kind == 1:
            cells.insert(other, cells[one])
        else:
            cells[one], cells[other] = cells[other], cells[one]
        lines[at] = b",".join(cells)
    return b"\n".join(lines)


CSV = (semicolons, encoded, csv_cell, csv_cell, csv_column)


def names(mutators: Sequence[Mutate]) -> tuple[str, ...]:
    """Return what mutators are called."""
    return tuple(getattr(one, "__name__", "?") for one in mutators)
