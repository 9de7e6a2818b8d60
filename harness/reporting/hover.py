"""What a plot says of itself: values by epoch, and what its lines and colours mean."""

from collections.abc import Sequence
from typing import Any

from harness.reporting.curves import Curve, Drawing
from harness.reporting.plots import DASHES, Picture, colour_number, thinned_points

__all__ = ["hover_values", "line_legend"]


def hover_values(drawing: Drawing, picture: Picture, names: Sequence[str]) -> dict[str, Any]:
    """Return the values of each curve by epoch, and where the epochs lie, ready for JSON.

    A long curve has the points that are drawn. Borders part curves, not values: what is one
    quantity of one run is one entry.
    """
    series: dict[tuple[int, str], list[tuple[float, ...]]] = {}
    for curve in drawing.curves:
        series.setdefault((curve.run, curve.label), []).extend(_points(curve))
    return {
        "left": picture.left, "right": picture.right, "epochs": list(picture.epochs),
        "unit": drawing.panel.unit,
        "series": [
            {"run": names[run] if len(names) > 1 else "", "colour": colour_number(run),
             "label": label, "points": sorted(points)}
            for (run, label), points in series.items()
        ],
    }  # fmt: skip


def _points(curve: Curve) -> list[tuple[float, ...]]:
    if curve.role != "band":
        return list(thinned_points(curve))
    return [(x, low, high) for (x, low), (_, high) in thinned_points(curve)]


def line_legend(drawing: Drawing) -> list[tuple[str, str | None]]:
    """Return the quantities of a plot with their dashes, None for a band; none if there is one."""
    roles = {curve.label: curve.role for curve in drawing.curves}
    if len(roles) < 2:
        return []
    return [(label, DASHES.get(role)) for label, role in roles.items()]
