"""One self-contained page: nothing fetched, one script that is its own, every text escaped."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from harness.faults.power_file import Power
from harness.reporting.borders import short_digest
from harness.reporting.gate_power import EXPLANATION, power_rows
from harness.reporting.markup import Column, data, note, number, safe, table, warning
from harness.reporting.plots import colour_number
from harness.reporting.summary import RunSummary

__all__ = ["Page", "Plot", "page"]


@dataclass(frozen=True)
class Plot:
    """A panel.

    Attributes
    ----------
    title : str
    svg : str or None
        None where there is nothing to draw.
    values : dict or None
        What the pointer shows (:func:`harness.reporting.hover.hover_values`).
    lines : list of (str, str or None)
        Legend of line styles (:func:`harness.reporting.hover.line_legend`).
    runs : tuple of int
        Runs that have a curve.
    """

    title: str
    svg: str | None
    values: dict[str, Any] | None = None
    lines: tuple[tuple[str, str | None], ...] = ()
    runs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes
    ----------
    runs : tuple of RunSummary
        Words and tables.
    plots : tuple of Plot
        In order.
    warnings : tuple of str
        About all runs together.
    version : str
        Of the harness.
    command : str
        What made it, as typed.
    space : str
        The section on the search space, as HTML; may be empty.
    power : Power or None
        What the gate noticed of planted faults, if that is to be shown.
    pictures : str
        The section on what is predicted, as HTML; may be empty.
    """

    runs: tuple[RunSummary, ...]
    plots: tuple[Plot, ...]
    warnings: tuple[str, ...]
    version: str
    command: str
    space: str = ""
    power: Power | None = None
    pictures: str = ""


_LINES = (
    "Curves end at borders. A solid vertical line is a new segment (other training dynamics), a "
    "dashed one a new metric series (another evaluation protocol: EPE and tau on its two sides do "
    "not compare), a dotted one a resume in another environment (no claim of bit equality)."
)


def page(content: Page) -> str:
    """Return the page as HTML."""
    names = ", ".join(run.name for run in content.runs)
    many = len(content.runs) > 1
    body = [
        f"<h1>Run report: {safe(names)}</h1>",
        *(warning(text) for text in content.warnings),
        *(_card(run, place) for place, run in enumerate(content.runs)),
        f'<p class="small">Made by <code>{safe(content.command)}</code>, samebits '
        f"{safe(content.version)}, from "
        f"{_sources(content)}.</p>",
        f'<p class="small">{_LINES}</p>',
        '<div class="plots">',
        *(_figure(plot, content.runs if many else ()) for plot in content.plots), "</div>",
        content.pictures, content.space,
        *(_section(run) for run in content.runs),
        *([] if content.power is None else _power(content.power)),
    ]  # fmt: skip
    style, script = _own("page.css"), _own("page.js")
    policy = _policy(script, content.pictures)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Run report: {safe(names)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, body))
        + f"\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _sources(content: Page) -> str:
    """Return what the page was made from."""
    more = ["pictures"] if content.pictures else []
    more += [] if content.power is None else ["a gate-power file"]
    return " and ".join(["records", *more]) if more else "the records alone"


def _own(name: str) -> str:
    return "\n" + files("harness.reporting").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str, pictures: str) -> str:
    """Return the policy that lets the page's own script run, by its digest, and nothing load.

    Images that are in the page itself are shown.
    """
    # Names of runs and segments come from a ledger: were one to escape as markup, it could
    # neither load nor run anything.
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    own = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'"
    return f"{own}; img-src data:" if pictures else own


def _card(run: RunSummary, place: int) -> str:
    lines = [f"<p><strong>{safe(run.name)}</strong>: {safe(run.headline)}</p>"]
    lines += [warning(text) for text in run.warnings]
    lines += ['<dl class="facts">', *map(_fact, run.facts), "</dl>"]
    if run.against_first is not None:
        what = "; ".join(run.against_first) or "the same training dynamics"
        lines.append(note(f"Against the first run: {what}"))
    if run.left_out:
        lines.append(
            f'<p class="aside">Left out of {safe(run.name)}: {safe("; ".join(run.left_out))}. '
            "<code>--across-segments</code> shows it, with borders.</p>"
        )
    colour = f"var(--run-{colour_number(place)})"
    return f'<div class="card" style="border-color: {colour}">\n' + "\n".join(lines) + "\n</div>"


def _fact(fact: dict[str, Any]) -> str:
    kind = {True: ' class="good"', False: ' class="bad"'}.get(fact["good"], "")
    return f"<dt>{safe(fact['name'])}</dt><dd{kind}>{safe(fact['text'])}</dd>"


def _figure(plot: Plot, runs: tuple[RunSummary, ...]) -> str:
    title = safe(plot.title)
    if plot.svg is None:
        return f"<figure><figcaption>{title}</figcaption>{note(_NOTHING)}</figure>"
    return (
        f"<figure><figcaption>{title}</figcaption>{_legend(plot, runs)}"
        f'<div class="plot curves" tabindex="0" role="img" aria-label="{title} by epoch">'
        f"{plot.svg}{data(plot.values)}</div></figure>"
    )


_NOTHING = "Nothing to draw: no evaluation that is shown gives a value."


def _legend(plot: Plot, runs: tuple[RunSummary, ...]) -> str:
    """Return what each colour and each line style is."""
    entries = [
        _swatch(run.name, "", f"var(--run-{colour_number(place)})")
        for place, run in enumerate(runs)
        if place in plot.runs
    ]
    entries += [_swatch(label, dash, "var(--ink)") for label, dash in plot.lines]
    return f'<ul class="legend">{"".join(entries)}</ul>' if entries else ""


def _swatch(label: str, dash: str | None, colour: str) -> str:
    if dash is None:
        shape = '<rect y="1" width="26" height="8" opacity=".2"/>'
    else:
        shape = f'<path d="M0 5H26" stroke-width="2" stroke-dasharray="{dash}"/>'
    return (
        f'<li><svg viewBox="0 0 26 10" style="fill: {colour}; stroke: {colour}" '
        f'aria-hidden="true">{shape}</svg>{safe(label)}</li>'
    )


def _joined(values: Iterable[str]) -> str:
    return "; ".join(values) or "-"


def _tau(row: dict[str, Any]) -> str:
    value = row["kendall_tau_prev"]
    return f"{value:.3f}" if value is not None else row["tau_reason"] or "-"


_SEGMENTS: tuple[Column, ...] = (
    ("segment", lambda row: row["name"], False),
    ("epochs", lambda row: row["epochs"], False),
    ("identity", lambda row: short_digest(row["identity"]), False),
    ("protocol", lambda row: ", ".join(short_digest(one) for one in row["protocols"]), False),
    ("changed from the previous segment", lambda row: _joined(row["changes"]), False),
    ("attempts", number("attempts", "d"), True),
    ("in the plots", lambda row: "yes" if row["shown"] else "left out", False),
)
_BORDERS: tuple[Column, ...] = (
    ("after epoch", number("after_epoch", "d"), True),
    ("begins", lambda row: row["label"], False),
    ("changed", lambda row: _joined(row["changes"]), False),
)
_EPOCHS: tuple[Column, ...] = (
    ("epoch", number("epoch", "d"), True),
    ("segment", lambda row: row["segment"], False),
    ("series", lambda row: short_digest(row["protocol"]), False),
    ("EPE mean (px)", number("mean_epe", ".4f"), True),
    ("std", number("std_epe", ".4f"), True),
    ("min", number("min_epe", ".4f"), True),
    ("max", number("max_epe", ".4f"), True),
    ("zero flow", number("zero_flow_epe", ".4f"), True),
    ("tau", _tau, True),
    ("clip rate", number("clip_rate", ".4f"), True),
    ("norm p50", number("grad_norm_p50", ".4g"), True),
    ("p90", number("grad_norm_p90", ".4g"), True),
    ("p99", number("grad_norm_p99", ".4g"), True),
    ("threshold", number("threshold", "g"), True),
)
_NOTES: tuple[Column, ...] = (
    ("epoch", number("epoch", "d"), True),
    ("segment", lambda row: row["segment"], False),
    ("note", lambda row: row["text"], False),
)
_BROKEN: tuple[Column, ...] = (("broken line of the ledger", lambda row: row["text"], False),)


_POWER: tuple[Column, ...] = (
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
        f"<p><strong>{safe(headline)}.</strong></p>",
        f'<p class="small">{safe(EXPLANATION)}</p>',
        table(_POWER, power_rows(power)),
        *(
            f'<p class="small">Broken without any fault: {safe(name)}: {safe(text)}</p>'
            for name, text in power.broken.items()
        ),
    ]


def _section(run: RunSummary) -> str:
    parts = [f"<h2>{safe(run.name)}</h2>"]
    for title, columns, rows in (
        ("Segments", _SEGMENTS, run.segments),
        ("Borders in the plots", _BORDERS, run.borders),
        ("Last epochs", _EPOCHS, run.epochs),
        ("Notes", _NOTES, run.notes),
        ("Broken lines", _BROKEN, run.broken_lines),
    ):
        if rows:
            parts += [f"<h3>{title}</h3>", table(columns, rows)]
    return "\n".join(parts)
