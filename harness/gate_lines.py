"""The lines with which a gate ends: causes first, on one screen."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.promises.judge import Judgement, tally
from harness.promises.roots import Root
from harness.verdict import GateResult
from harness.wording import in_rows

__all__ = ["AGAIN", "SCREEN_ROWS", "result_lines", "table_lines", "wrapped"]

AGAIN = "again: "
"""How the line begins that holds a command: what is copied must be one line."""

SCREEN_ROWS = 24
"""Rows of the screen on which the roots must fit, whatever its real height."""

_MORE = "-v, or the gate file, shows each in full, with what follows from it"

_MOST_ROWS = 3
"""Rows of a root's text, where there is room."""


def table_lines(result: GateResult, *, whole: bool) -> Iterator[tuple[str, str]]:
    """Yield a line and its colour for each promise that is not among the roots or below them.

    Parameters
    ----------
    result : GateResult
    whole : bool
        Whether what holds and what does not apply is listed, and not counted alone.
    """
    shown = [j for j in result.judgements if j.verdict in ("holds", "n/a")]
    width = max((len(j.promise.id) for j in result.judgements), default=0)
    for j in shown if whole else ():
        yield f"{j.verdict:6} {j.promise.id:{width}}  {j.text}", _colour(j)
    if shown and not whole:
        yield f"{tally(shown)}: -v lists them, with figures and reasons", ""
    # With what is found today: it may be worse than what was accepted.
    found = {j.promise.id: j.text for j in result.judgements}
    for name, reason in result.known.items():
        yield f"{'known':6} {name:{width}}  {reason}; broken: {found[name]}", "yellow"
    for name in result.idle:
        yield f"warning: known defect {name}: it does not apply here, and is listed", "yellow"
    for j in result.judgements:
        for warning in j.warnings:
            yield f"warning: {j.promise.id}: {warning}", "yellow"


def _colour(judgement: Judgement) -> str:
    return {"holds": "green", "n/a": "yellow"}.get(judgement.verdict, "red")


def result_lines(
    result: GateResult, heading: str, *, width: int, whole: bool, again: str = "",
    pages: Mapping[str, str] = MappingProxyType({}), hint: str = "", wrap: bool = False,
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Yield the roots, each in a line and ranked, and last the verdict; each with its colour.

    Parameters
    ----------
    result : GateResult
    heading : str
        What was gated.
    width : int
        Columns of the screen.
    whole : bool
        Whether everything is shown: each violation, what it means, and what follows from it.
    again : str, default ""
        The command that asks for what is broken again.
    pages : mapping of str to str, optional
        What is said of the page of each broken promise; empty where there is none.
    hint : str, default ""
        How pages are made.
    wrap : bool, default False
        Whether lines are broken between words (:func:`wrapped`), which takes more rows.
    """
    screen = _Screen(width, wrap)
    others = (heading, *result.complaints, _MORE, hint, again, result.line)
    rows = SCREEN_ROWS - sum(map(screen.rows, others))
    if result.roots or result.complaints:
        yield heading, ""
    for complaint in result.complaints:
        yield complaint, "red"
    if whole:
        yield from _whole(result.roots, pages)
    elif result.roots:
        yield from _short(result.roots, screen, rows, pages)
    if result.roots and hint:
        yield hint, ""
    if result.roots and again:
        yield again, ""
    shade = {"green": "green", "green except known": "green", "incomplete": "yellow"}
    yield result.line, shade.get(result.verdict, "red")


def wrapped(line: str, width: int) -> str:
    """Return a line of a gate as rows of a terminal, broken between words; a command stays one."""
    return line if line.startswith(AGAIN) else in_rows(line, width)


@dataclass(frozen=True)
class _Screen:
    width: int
    wrap: bool

    def rows(self, line: str) -> int:
        """Return how many rows a line takes."""
        parts = wrapped(line, self.width).split("\n") if self.wrap else [line]
        return sum(math.ceil(len(part) / self.width) for part in parts)

    def cut(self, start: str, text: str, end: str, height: int) -> str:
        """Return a line of so many rows at most, the text in its middle cut for it."""
        line, room = f"{start}{text}{end}", height * self.width - len(start) - len(end) - 3
        while self.rows(line) > height and room > 0:
            line, room = f"{start}{text[:room]}...{end}", room - 1
        return line


def _short(
    roots: Sequence[Root], screen: _Screen, rows: int, pages: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield a line for each root, cut so that all of them fit on the screen."""
    full, (drawn, others) = rows, _page_lines(roots, pages)
    rows -= sum(map(screen.rows, (*drawn.values(), *others)))
    if drawn and rows < 2 * len(roots):  # what was found comes first: one line for all pages
        first, count = next(iter(drawn.values())), sum(map(bool, pages.values()))
        drawn, others = {}, [f"{first} and {count - 1} more" if count > 1 else first]
        rows = full - screen.rows(others[0])
    each, more = divmod(max(rows, len(roots)), len(roots))
    for number, root in enumerate(roots, start=1):
        judgement, height = root.judgement, min(_MOST_ROWS, each + (number <= more))
        start, end = f"{number}. {judgement.promise.id}: ", _followers(root)
        yield screen.cut(start, judgement.text, end, height), "red"
        if judgement.promise.id in drawn:
            yield drawn[judgement.promise.id], ""
    yield from ((line, "") for line in others)
    yield _MORE, ""


def _page_lines(
    roots: Sequence[Root], pages: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return a line for the page of each root, and one for all others."""
    names = [root.judgement.promise.id for root in roots]
    drawn = {name: f"   {pages[name]}" for name in names if pages.get(name)}
    rest = [said for name, said in pages.items() if said and name not in names]
    more = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
    return drawn, [f"   also {rest[0]}{more}"] if rest else []


def _followers(root: Root) -> str:
    """Return how many promises are broken, or cannot be decided, because of a root."""
    count = len(root.consequences)
    found = [f"and {count} that follow{'s' * (count == 1)} from it"] * bool(count)
    found += [f"{len(root.blocked)} blocked by it"] * bool(root.blocked)
    return f" ({'; '.join(found)})" if found else ""


def _whole(roots: Sequence[Root], pages: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    area = ""
    for number, root in enumerate(roots, start=1):
        if root.area != area:
            area = root.area
            yield f"{area}:", ""
        judgement = root.judgement
        what = "Could not be checked" if judgement.error is not None else "Broken promise"
        yield f"{number}. {what}: {judgement.promise.sentence} [{judgement.promise.id}]", "red"
        yield from ((f"     - {line}", "red") for line in judgement.violations)
        if page := pages.get(judgement.promise.id):
            yield f"     {page}", ""
        yield f"     What it usually means: {judgement.promise.hint}", ""
        detail = judgement.detail.splitlines()
        yield from ((f"     | {line}", "") for line in detail if len(detail) > 1)
        for how, judgements in (("follows", root.consequences), ("blocked", root.blocked)):
            for one in judgements:
                yield f"     {how}: {one.promise.id}: {one.text}", "yellow"
                if page := pages.get(one.promise.id):
                    yield f"       {page}", ""
