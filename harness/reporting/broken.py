"""The page of a broken promise: what was expected beside what was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.promises.judge import Judgement
from harness.promises.shown import Shown
from harness.reporting.beside import STYLE, drawn, has_flow
from harness.reporting.beside_tables import TABLE_STYLE
from harness.reporting.markup import note, safe
from harness.reporting.samples import picture_page, wheel

__all__ = ["broken_page", "is_page"]

_MARK = '<meta name="generator" content="samebits: a broken promise">'
_HEAD = 4096
"""Bytes of a page in which its mark stands."""

_STYLE = ".breaches { max-width: 100ch; } .breaches li { margin: .3rem 0; }\n"


def broken_page(found: Judgement, *, facts: Mapping[str, str], version: str) -> str:
    """Return the page of a promise that is broken; nothing in it is fetched or run.

    Parameters
    ----------
    found : Judgement
    facts : mapping of str to str
        What was gated, and how.
    version : str
        Of the harness.
    """
    promise = found.promise
    body = [
        f"<h1>{safe(promise.id)} is broken</h1>",
        '<div class="card bad-edge">',
        f"<p>Promised: {safe(promise.sentence)}.</p>",
        f"<p>What a breach usually means: {safe(promise.hint)}</p>",
        _facts({**facts, "samebits": version}),
        "</div>",
        _violations(found.violations),
        *(part for number, one in found.shown for part in _section(number, one, found)),
    ]
    if any(has_flow(one) for _, one in found.shown):
        body += ["<h2>How flow is coloured</h2>", *wheel()]
    style = f"{STYLE}{TABLE_STYLE}{_STYLE}.bad-edge {{ border-color: var(--bad); }}\n"
    title = f"{promise.id} is broken"
    return picture_page(title, body, style=style, head=f"{_MARK}\n")


def is_page(path: Path) -> bool:
    """Return whether a file is such a page, which a gate may replace.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if path.exists() and not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_HEAD)


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{safe(k)}</dt><dd>{safe(v)}</dd>" for k, v in facts.items() if v)
    return f'<dl class="facts">{rows}</dl>'


def _violations(violations: Sequence[str]) -> str:
    items = "".join(f"<li>{safe(text)}</li>" for text in violations)
    return f'<ol class="breaches">{items}</ol>'


def _section(number: int, shown: Shown, found: Judgement) -> list[str]:
    of = [note(f"Of line {number + 1} above.")] if len(found.violations) > 1 else []
    return [f"<h2>{safe(shown.title)}</h2>", *of, *drawn(shown)]
