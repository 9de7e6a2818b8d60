"""Values as expected against values as found, a point each, as SVG in the page's colours."""

import math
from collections.abc import Iterator

from harness.promises.shown import Row, Values
from harness.reporting.markup import safe

__all__ = ["scatter"]

_SIDE, _LEFT, _TOP, _BOTTOM = 280, 62, 12, 46
_ROOM = 0.06
"""Share of the range that is left free at both ends."""


def scatter(shown: Values) -> str:
    """Return the plot, with the diagonal on which both are the same; nothing without a pair."""
    pairs = [
        (row, row.expected, row.found)
        for row in shown.rows
        if row.expected is not None and row.found is not None
        and math.isfinite(row.expected) and math.isfinite(row.found)
    ]  # fmt: skip
    if not pairs:
        return ""
    low, high = _range([value for _, *both in pairs for value in both])
    width, height = _LEFT + _SIDE + 12, _TOP + _SIDE + _BOTTOM

    def across(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * _SIDE

    def down(value: float) -> float:
        return _TOP + (high - value) / (high - low) * _SIDE

    unit = f", {shown.unit}" if shown.unit else ""
    x, y = (f"{name}{unit}" for name in shown.names)
    parts = [
        f'<div class="plot scatter"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{safe(y)} against {safe(x)}; the numbers are in the table">',
        f'<path d="M{_LEFT} {_TOP}V{_TOP + _SIDE}H{_LEFT + _SIDE}" fill="none" '
        'stroke="var(--soft)"/>',
        f'<path d="M{_LEFT} {_TOP + _SIDE}L{_LEFT + _SIDE} {_TOP}" fill="none" '
        'stroke="var(--soft)" stroke-dasharray="5 4"/>',
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 8}" text-anchor="middle">{safe(x)}</text>',
        f'<text x="14" y="{_TOP + _SIDE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {_TOP + _SIDE / 2})">{safe(y)}</text>',
        *_labels(low, high),
    ]
    for row, expected, found in pairs:
        parts.append(_point(row, across(expected), down(found), shown.unit))
    return "".join([*parts, "</svg><p>Dashed: both are the same.</p></div>"])


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * _ROOM or abs(high) * _ROOM or 1.0
    return low - room, high + room


def _labels(low: float, high: float) -> Iterator[str]:
    """Yield the numbers of both axes."""
    from matplotlib.ticker import MaxNLocator

    for value in MaxNLocator(nbins=4).tick_values(low, high):
        share = (value - low) / (high - low)
        if not 0 <= share <= 1:
            continue
        x, y = _LEFT + share * _SIDE, _TOP + (1 - share) * _SIDE
        yield f'<path d="M{x} {_TOP + _SIDE}v4M{_LEFT} {y}h-4" stroke="var(--soft)"/>'
        yield f'<text x="{x}" y="{_TOP + _SIDE + 17}" text-anchor="middle">{value:.6g}</text>'
        yield f'<text x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{value:.6g}</text>'


def _point(row: Row, x: float, y: float, unit: str) -> str:
    colour = "var(--run-1)" if row.wrong else "var(--run-0)"
    told = f"{row.name}: expected {row.expected:.9g}, found {row.found:.9g} {unit}"
    return (
        f'<circle cx="{x:.2f}" cy="{y:.2f}" r="4" fill="{colour}" fill-opacity=".75">'
        f"<title>{safe(told)}</title></circle>"
    )
