"""One self-contained page: no script, nothing fetched, every text escaped."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from harness.faults.power_file import Power
from harness.reporting.borders import short_digest
from harness.reporting.gate_power import EXPLANATION, power_rows
from harness.reporting.summary import RunSummary

__all__ = ["Page", "Plot", "page"]


@dataclass(frozen=True)
class Plot:
    """A panel: its title and its SVG file, or None where there is nothing to draw."""

    title: str
    svg: bytes | None


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes
    ----------
    runs : tuple of RunSummary
        Words and tables.
    colours : tuple of str
        CSS colour of each run's curves.
    plots : tuple of Plot
        In order.
    warnings : tuple of str
        About all runs together.
    version : str
        Of the harness.
    power : Power or None
        What the gate noticed of planted faults, if that is to be shown.
    """

    runs: tuple[RunSummary, ...]
    colours: tuple[str, ...]
    plots: tuple[Plot, ...]
    warnings: tuple[str, ...]
    version: str
    power: Power | None = None


# Names of runs and segments come from a ledger: were one to
# escape as markup, it could load nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 1360px; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.card { border-left: 6px solid; padding: .2rem .8rem; margin: .6rem 0; }
.card p { margin: .3rem 0; }
.warning { color: #b00020; font-weight: 600; }
.aside { background: #fff6dd; padding: .4rem .8rem; }
.plots { display: grid; gap: 1rem;
         grid-template-columns: repeat(auto-fit, minmax(min(100%, 540px), 1fr)); }
figure { margin: 0; } figure img { width: 100%; } figcaption { font-weight: 600; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
.small { color: #555; font-size: .85rem; }
""".strip()
_LINES = (
    "Curves end at borders. A solid vertical line is a new segment (other training dynamics), a "
    "dashed one a new metric series (another evaluation protocol: EPE and tau on its two sides do "
    "not compare), a dotted one a resume in another environment (no claim of bit equality)."
)


def page(content: Page) -> str:
    """Return the page as HTML."""
    names = ", ".join(run.name for run in content.runs)
    body = [
        f"<h1>Run report: {_safe(names)}</h1>",
        *(_warning(text) for text in content.warnings),
        *(_card(run, shade) for run, shade in zip(content.runs, content.colours, strict=True)),
        f'<p class="small">{_LINES}</p>',
        '<div class="plots">', *(_figure(plot) for plot in content.plots), "</div>",
        *(_section(run) for run in content.runs),
        *([] if content.power is None else _power(content.power)),
        f'<p class="small">Made by harness report, samebits {_safe(content.version)}, from '
        f"{'the records alone' if content.power is None else 'records and a gate-power file'}.</p>",
    ]  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Run report: {_safe(names)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _safe(value: object) -> str:
    """Return a value as harmless text: escaped, and without control characters."""
    # Control characters could reorder or hide the text around them.
    letters = (
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)
    )
    return escape("".join(letters))


def _warning(text: str) -> str:
    return f'<p class="warning">Warning: {_safe(text)}.</p>'


def _card(run: RunSummary, shade: str) -> str:
    lines = [f"<p><strong>{_safe(run.name)}</strong>: {_safe(run.headline)}</p>"]
    lines += [_warning(text) for text in run.warnings]
    if run.against_first is not None:
        what = "; ".join(run.against_first) or "the same training dynamics"
        lines.append(f'<p class="small">Against the first run: {_safe(what)}</p>')
    if run.left_out:
        lines.append(
            f'<p class="aside">Left out of {_safe(run.name)}: {_safe("; ".join(run.left_out))}. '
            "<code>--across-segments</code> shows it, with borders.</p>"
        )
    return f'<div class="card" style="border-color: {shade}">\n' + "\n".join(lines) + "\n</div>"


def _figure(plot: Plot) -> str:
    title = _safe(plot.title)
    if plot.svg is None:
        shown = '<p class="small">No evaluation in what is shown.</p>'
    else:
        data = base64.b64encode(plot.svg).decode("ascii")
        shown = f'<img alt="{title} by epoch" src="data:image/svg+xml;base64,{data}">'
    return f"<figure><figcaption>{title}</figcaption>{shown}</figure>"


_Column = tuple[str, Callable[[dict[str, Any]], str], bool]


def _number(key: str, form: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: "-" if row[key] is None else format(row[key], form)


def _joined(values: Iterable[str]) -> str:
    return "; ".join(values) or "-"


def _tau(row: dict[str, Any]) -> str:
    value = row["kendall_tau_prev"]
    return f"{value:.3f}" if value is not None else row["tau_reason"] or "-"


_SEGMENTS: tuple[_Column, ...] = (
    ("segment", lambda row: row["name"], False),
    ("epochs", lambda row: row["epochs"], False),
    ("identity", lambda row: short_digest(row["identity"]), False),
    ("protocol", lambda row: ", ".join(short_digest(one) for one in row["protocols"]), False),
    ("changed from the previous segment", lambda row: _joined(row["changes"]), False),
    ("attempts", _number("attempts", "d"), True),
    ("in the plots", lambda row: "yes" if row["shown"] else "left out", False),
)
_BORDERS: tuple[_Column, ...] = (
    ("after epoch", _number("after_epoch", "d"), True),
    ("begins", lambda row: row["label"], False),
    ("changed", lambda row: _joined(row["changes"]), False),
)
_EPOCHS: tuple[_Column, ...] = (
    ("epoch", _number("epoch", "d"), True),
    ("segment", lambda row: row["segment"], False),
    ("series", lambda row: short_digest(row["protocol"]), False),
    ("EPE mean (px)", _number("mean_epe", ".4f"), True),
    ("std", _number("std_epe", ".4f"), True),
    ("min", _number("min_epe", ".4f"), True),
    ("max", _number("max_epe", ".4f"), True),
    ("zero flow", _number("zero_flow_epe", ".4f"), True),
    ("tau", _tau, True),
    ("clip rate", _number("clip_rate", ".4f"), True),
    ("norm p50", _number("grad_norm_p50", ".4g"), True),
    ("p90", _number("grad_norm_p90", ".4g"), True),
    ("p99", _number("grad_norm_p99", ".4g"), True),
    ("threshold", _number("threshold", "g"), True),
)
_NOTES: tuple[_Column, ...] = (
    ("epoch", _number("epoch", "d"), True),
    ("segment", lambda row: row["segment"], False),
    ("note", lambda row: row["text"], False),
)
_BROKEN: tuple[_Column, ...] = (("broken line of the ledger", lambda row: row["text"], False),)


_POWER: tuple[_Column, ...] = (
    ("verdict", lambda row: row["verdict"], False),
    ("fault", lambda row: row["id"], False),
    ("what goes wrong", lambda row: row["what"], False),
    ("modelled on", lambda row: row["citation"], False),
    ("promises that went red", lambda row: row["red"], False),
)


def _power(power: Power) -> list[str]:
    """Return the section on what a green gate is worth, what it overlooks first."""
    headline = power.headline[:1].upper() + power.headline[1:]
    return [
        "<h2>What a green gate of this system is worth</h2>",
        f"<p><strong>{_safe(headline)}.</strong></p>",
        f'<p class="small">{_safe(EXPLANATION)}</p>',
        _table(_POWER, power_rows(power)),
        *(
            f'<p class="small">Broken without any fault: {_safe(name)}: {_safe(text)}</p>'
            for name, text in power.broken.items()
        ),
    ]


def _section(run: RunSummary) -> str:
    parts = [f"<h2>{_safe(run.name)}</h2>"]
    for title, columns, rows in (
        ("Segments", _SEGMENTS, run.segments),
        ("Borders in the plots", _BORDERS, run.borders),
        ("Last epochs", _EPOCHS, run.epochs),
        ("Notes", _NOTES, run.notes),
        ("Broken lines", _BROKEN, run.broken_lines),
    ):
        if rows:
            parts += [f"<h3>{title}</h3>", _table(columns, rows)]
    return "\n".join(parts)


def _table(columns: Sequence[_Column], rows: Iterable[dict[str, Any]]) -> str:
    def cells(tag: str, texts: Iterable[str]) -> str:
        pairs = zip(texts, columns, strict=True)
        found = [f"<{tag}{_class(column)}>{_safe(text)}</{tag}>" for text, column in pairs]
        return f"<tr>{''.join(found)}</tr>"

    lines = [cells("th", (title for title, _, _ in columns))]
    lines += [cells("td", (show(row) for _, show, _ in columns)) for row in rows]
    return '<div class="table"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _class(column: _Column) -> str:
    return ' class="number"' if column[2] else ""
