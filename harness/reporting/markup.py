"""Pieces of a page: every text escaped, tables, data for its script."""

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

__all__ = [
    "Column", "data", "figure", "note", "number", "printable", "safe", "table", "warning",
    "window_outline",
]  # fmt: skip

Column = tuple[str, Callable[[dict[str, Any]], str], bool]
"""Title, what it shows of a row, and whether that is a number."""


def printable(value: object) -> str:
    """Return a value as text without control characters."""
    # They could reorder or hide the text around them.
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )


def safe(value: object) -> str:
    """Return a value as harmless text: escaped, and without control characters."""
    return escape(printable(value))


def data(values: Any) -> str:
    """Return values for the page's script, in an element that runs nothing and shows nothing."""
    # No text within could end the element.
    text = json.dumps(values, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def warning(text: str) -> str:
    """Return a paragraph that warns."""
    return f'<p class="warning">Warning: {safe(text)}.</p>'


def note(text: str) -> str:
    """Return a small paragraph."""
    return f'<p class="small">{safe(text)}</p>'


def figure(image: str, caption: str, outline: str = "") -> str:
    """Return an image's element with a caption below, and an outline upon it."""
    return (
        f'<figure><div class="frame">{image}{outline}</div>'
        f"<figcaption>{safe(caption)}</figcaption></figure>"
    )


def window_outline(place: tuple[int, int], window: tuple[int, int], frame: tuple[int, int]) -> str:
    """Return the outline of a window upon the image of a whole frame.

    Parameters
    ----------
    place : (int, int)
        Row and column of its corner, px.
    window, frame : (int, int)
        Height and width, px.
    """
    names = ("top", "left", "height", "width")
    shares = [part / side for part, side in zip((*place, *window), frame * 2, strict=True)]
    style = "; ".join(f"{name}: {share:.4%}" for name, share in zip(names, shares, strict=True))
    return f'<span class="window" style="{style}"></span>'


def number(key: str, form: str) -> Callable[[dict[str, Any]], str]:
    """Return what shows a column of numbers; what is absent is a dash."""
    return lambda row: "-" if row[key] is None else format(row[key], form)


def table(columns: Sequence[Column], rows: Iterable[dict[str, Any]]) -> str:
    """Return a table; the page's script lets it be sorted."""

    def cells(tag: str, texts: Iterable[str]) -> str:
        pairs = zip(texts, columns, strict=True)
        found = [f"<{tag}{_class(column)}>{safe(text)}</{tag}>" for text, column in pairs]
        return f"<tr>{''.join(found)}</tr>"

    lines = [cells("th", (title for title, _, _ in columns))]
    lines += [cells("td", (show(row) for _, show, _ in columns)) for row in rows]
    return '<div class="table"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _class(column: Column) -> str:
    return ' class="number"' if column[2] else ""
