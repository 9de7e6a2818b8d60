"""Drawing with matplotlib, as SVG that follows the page's theme: same numbers, same bytes.

matplotlib is imported where it is needed only; its global state, and the user's settings of it,
neither change nor matter.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from harness.reporting.borders import Border
from harness.reporting.curves import Curve, Drawing

__all__ = [
    "DASHES", "RUN_COLOURS", "Picture", "colour", "colour_number", "draw", "thinned_points",
]  # fmt: skip

RUN_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#7f3fbf", "#444444",
)  # fmt: skip
"""One for each run; told apart by colour-blind people, too. In the dark the page has others."""

_INK, _FAINT, _PAPER = "#0a0b0c", "#0a0b0d", "#fafbfc"
_VARIABLES = {
    _INK: "var(--ink)", _FAINT: "var(--line)", _PAPER: "var(--paper)",
    **{shade: f"var(--run-{number})" for number, shade in enumerate(RUN_COLOURS)},
}  # fmt: skip
"""What colours become in the page, which says what each is in light and in dark."""

DASHES = {"main": "", "second": "6 3", "third": "2 2", "level": "7 2 2 2"}
"""How a legend draws the lines of each role, as SVG's ``stroke-dasharray``."""

_LINES: dict[str, dict[str, Any]] = {
    "main": {"linestyle": "solid", "linewidth": 1.8},
    "second": {"linestyle": "dashed", "linewidth": 1.3},
    "third": {"linestyle": "dotted", "linewidth": 1.5},
    "level": {"linestyle": "dashdot", "linewidth": 1.3},
}
_BORDERS = {"segment": "solid", "series": "dashed", "environment": "dotted"}
_SETTINGS = {
    # Ids in an SVG are random without a salt, and the same numbers must give the same bytes.
    "svg.hashsalt": "report", "svg.fonttype": "none", "font.size": 9.0, "axes.grid": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.formatter.useoffset": False,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "grid.color": _FAINT, "axes.facecolor": "none", "axes.axisbelow": True,
}  # fmt: skip
_SIZE = (4.8, 2.7)
"""Inches; 1 is 72 units of the SVG. As wide as a telephone, whose letters are thus readable."""
_MOST_MARKERS, _MOST_LETTERS = 40, 30
_MOST_POINTS = 4_000
"""Points of one curve, some six of each column of pixels."""
_MARGIN = 0.04
_APART = 0.07
"""Share of an axis' width within which the labels of two borders would touch."""
_FEW_DECADES = 10.0
"""Ratio of a logarithmic axis' ends below which powers of ten alone would be too few labels."""


def colour(run: int) -> str:
    """Return a run's colour."""
    return RUN_COLOURS[colour_number(run)]


def colour_number(run: int) -> int:
    """Return which of the colours is a run's: in the page it is the variable ``--run-N``."""
    return run % len(RUN_COLOURS)


@dataclass(frozen=True)
class Picture:
    """A panel, drawn.

    Attributes
    ----------
    svg : str
        An element for a page; its colours are the page's variables, its ids are its own.
    left, right : float
        Where the axes begin and end, as a share of the picture's width.
    epochs : (float, float)
        What lies there.
    """

    svg: str
    left: float
    right: float
    epochs: tuple[float, float]


def draw(drawing: Drawing, *, name: str = "plot") -> Picture:
    """Return a panel as SVG.

    Parameters
    ----------
    drawing : Drawing
    name : str, default "plot"
        What ids begin with: unique in a page.

    Raises
    ------
    ValueError
        If there is no curve to draw.
    """
    if not drawing.curves:
        msg = f"nothing to draw for {drawing.panel.title!r}"
        raise ValueError(msg)
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style.context(["default", _SETTINGS]), warnings.catch_warnings():
        # The browser has glyphs that matplotlib's own font lacks, and sets the text itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=_SIZE, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _draw_panel(axes, drawing)
        file = io.BytesIO()
        # No date, for the same reason.
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        place, limits = axes.get_position(), axes.get_xlim()
    svg = _themed(file.getvalue().decode("utf-8"), name)
    return Picture(svg, float(place.x0), float(place.x1), (float(limits[0]), float(limits[1])))


def _themed(svg: str, name: str) -> str:
    """Return an SVG file as an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # Markup alone: what people called a segment may look like any of these.
    parts = re.split(r"(<[^>]*>)", svg)
    parts[1::2] = [_themed_tag(tag, name) for tag in parts[1::2]]
    return "".join(parts).strip()


def _themed_tag(tag: str, name: str) -> str:
    tag = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), tag)


def _draw_panel(axes: Any, drawing: Drawing) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    panel, (first, last) = drawing.panel, drawing.epochs
    axes.set_xlim(first - 0.6, last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    if drawing.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    for curve in drawing.curves:
        _draw_curve(axes, curve)
    if panel.limits is not None:
        low, high = panel.limits
        room = _MARGIN * (high - low)
        axes.set_ylim(low - room, high + room)
    if drawing.log:
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:g}" if high / low < _FEW_DECADES else NullFormatter())
    _draw_borders(axes, drawing)


def _draw_curve(axes: Any, curve: Curve) -> None:
    shade, drawn = colour(curve.run), thinned_points(curve)
    if curve.role == "band":
        x, y = zip(*(low for low, _ in drawn), strict=True)
        top = [high for _, (_, high) in drawn]
        if len(x) > 1:
            axes.fill_between(x, y, top, color=shade, alpha=0.15, linewidth=0)
        else:  # an area has no width there
            axes.vlines(x, y, top, color=shade, alpha=0.3, linewidth=4)
        return
    x, y = zip(*drawn, strict=True)
    level = curve.role == "level"
    marked = len(x) == 1 or (not level and len(x) <= _MOST_MARKERS)
    axes.plot(
        x, y, color=shade, marker="o" if marked else None, markersize=3,
        alpha=0.75 if level else 1.0, **_LINES[curve.role],
    )  # fmt: skip


def thinned_points(curve: Curve) -> list[Any]:
    """Return the points of a curve that are drawn; of a band pairs of a lower and an upper one."""
    if curve.role == "band":
        return _thinned(list(zip(curve.points, curve.upper, strict=True)))
    return _extremes(curve.points)


def _extremes(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of a curve; of a long one the lowest and the highest of each stretch.

    A page of a long run would grow with it, and show no more.
    """
    if len(points) <= _MOST_POINTS:
        return list(points)
    kept = {points[0], points[-1]}
    for stretch in _stretches(len(points)):
        values = sorted(points[stretch], key=itemgetter(1))
        kept |= {values[0], values[-1]}
    return sorted(kept)


def _thinned(points: list[Any]) -> list[Any]:
    if len(points) <= _MOST_POINTS:
        return points
    return [points[stretch][0] for stretch in _stretches(len(points))] + points[-1:]


def _stretches(count: int) -> Iterator[slice]:
    """Yield as many slices of a long row as leave so many points, two of each."""
    width = -(-2 * count // _MOST_POINTS)
    return (slice(start, start + width) for start in range(0, count, width))


def _draw_borders(axes: Any, drawing: Drawing) -> None:
    runs = {curve.run for curve in drawing.curves} | {run for run, _ in drawing.borders}
    for run, border in drawing.borders:
        shade = _INK if len(runs) == 1 else colour(run)
        axes.axvline(border.x, color=shade, linewidth=1.3, linestyle=_BORDERS[border.kinds[0]])
    low, high = axes.get_xlim()
    for group in _clusters(drawing.borders, _APART * (high - low)):
        run, border = group[0]
        more = f", +{len(group) - 1} more" if len(group) > 1 else ""
        left = border.x - low < _APART * (high - low)
        axes.annotate(
            _label(border) + more, (border.x, 0.98), xycoords=axes.get_xaxis_transform(),
            xytext=(4 if left else -4, 0), textcoords="offset points", rotation=90,
            ha="left" if left else "right", va="top",
            # parse_math: a segment's name may hold a dollar sign.
            fontsize=7, color=_INK if len(runs) == 1 or more else colour(run), parse_math=False,
            annotation_clip=False,
            bbox={"facecolor": _PAPER, "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip


def _clusters(
    borders: Sequence[tuple[int, Border]], apart: float
) -> list[list[tuple[int, Border]]]:
    """Return borders by place; those whose labels would lie on each other together."""
    groups: list[list[tuple[int, Border]]] = []
    for run, border in sorted(borders, key=lambda one: (one[1].x, one[0])):
        if groups and border.x - groups[-1][0][1].x < apart:
            groups[-1].append((run, border))
        else:
            groups.append([(run, border)])
    return groups


def _label(border: Border) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in border.label)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
