"""Orders and values as tables: expected and found in a row, what differs marked."""

import math
from itertools import zip_longest

from harness.promises.shown import Orders, Row, Values
from harness.reporting.markup import note, safe

__all__ = ["TABLE_STYLE", "order_table", "value_table"]

TABLE_STYLE = """
tr.wrong td { background: var(--aside); }
tr.wrong td.mark { color: var(--bad); font-weight: 700; }
.values td:nth-child(2), .values td:nth-child(3) { text-align: right; white-space: nowrap; }
.values th:nth-child(2), .values th:nth-child(3) { text-align: right; }
@media (max-width: 600px) {
  .values table, .values tbody { display: block; width: 100%; }
  .values tr { display: grid; grid-template-columns: 3fr 3fr 1.6rem 3fr 3fr; }
  .values tr > * { min-width: 0; padding: .2rem .3rem; overflow-wrap: anywhere; }
  .values tr > :first-child { grid-column: 1 / -1; border: 0; }
  .values th:first-child { display: none; }
  .values td:nth-child(2), .values td:nth-child(3) { white-space: normal; }
}
.scatter { width: 360px; }
.scatter svg text { fill: var(--ink); font-size: 12px; }
.scatter p { margin: 0; color: var(--soft); font-size: .85rem; }
"""

_DIFFERS, _SAME = "\N{NOT EQUAL TO}", "="


def order_table(shown: Orders) -> str:
    """Return two orders, a place in a row, and where what was found should stand."""
    places = {name: shown.start + i for i, name in enumerate(shown.expected) if name is not None}
    lines, wrong = [_line("th", "place", *shown.names, "", "")], 0
    pairs = zip_longest(shown.expected, shown.found)
    for place, (expected, found) in enumerate(pairs, start=shown.start):
        belongs, mark = "", ""
        if (expected == found) is shown.differ:
            mark, wrong = _SAME if shown.differ else _DIFFERS, wrong + 1
        if mark and found is not None and not shown.differ:
            belongs = f"of place {places[found]}" if found in places else "not expected here"
        lines.append(_row((str(place), expected or "none", found or "none"), belongs, mark=mark))
    rest = [f"{shown.start} before"] * bool(shown.start) + [f"{shown.after} after"] * bool(
        shown.after
    )
    left = f"; not shown: {', '.join(rest)}" if rest else ""
    told = "are the same and should differ" if shown.differ else "differ"
    return _table(lines) + note(f"{wrong} of {len(lines) - 1} places {told}{left}.")


def value_table(shown: Values) -> str:
    """Return values, a row each, with their difference and their ratio."""
    lines = [_line("th", "", *shown.names, "", "off by", "ratio")]
    for row in shown.rows:
        cells = (row.name, *_pair(row))
        mark = "" if not row.wrong else _SAME if row.expected == row.found else _DIFFERS
        lines.append(_row(cells, _difference(row), _ratio(row), mark=mark))
    wrong = sum(row.wrong for row in shown.rows)
    left = f"; {shown.left_out} more are not shown" if shown.left_out else ""
    unit = f"In {shown.unit}. " if shown.unit else ""
    told = note(f"{unit}{wrong} of {len(shown.rows)} are wrong{left}.")
    return f'<div class="values">{_table(lines)}{told}</div>'


def _table(lines: list[str]) -> str:
    return '<div class="table"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _line(tag: str, *cells: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{safe(cell)}</{tag}>' for cell in cells)}</tr>"


def _row(cells: tuple[str, ...], *after: str, mark: str) -> str:
    """Return a row whose mark stands after the pair, so that no colour is needed to see it."""
    first = "".join(f"<td>{safe(cell)}</td>" for cell in cells)
    rest = "".join(f"<td>{safe(cell)}</td>" for cell in after)
    name = ' class="wrong"' if mark else ""
    return f'<tr{name}>{first}<td class="mark">{mark}</td>{rest}</tr>'


def _pair(row: Row) -> tuple[str, str]:
    """Return both values with as many digits as it takes to tell them apart."""
    short = [_text(value, ".6g") for value in (row.expected, row.found)]
    if row.wrong and short[0] == short[1] and row.expected != row.found:
        short = [_text(value, ".17g") for value in (row.expected, row.found)]
    return short[0], short[1]


def _text(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _difference(row: Row) -> str:
    if row.expected is None or row.found is None:
        return ""
    difference = row.found - row.expected
    return f"{difference:+.3g}" if difference else "0"


def _ratio(row: Row) -> str:
    if not row.expected or row.found is None or not math.isfinite(row.found / row.expected):
        return ""
    return f"{row.found / row.expected:.6g}"
