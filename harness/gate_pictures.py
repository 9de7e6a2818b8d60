"""Pages of what a gate finds broken, in the folder that was asked for."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness import __version__
from harness.errors import InputError, one_line
from harness.gate_state import Asked, GateState
from harness.promises.judge import Judgement
from harness.whole import remove_old, write_text

__all__ = ["hint", "keep_page", "remove_pages"]


def _path(wanted: Asked, promise: str, number: int) -> Path:
    """Return where a page lies; each gate of a session has pages of its own."""
    return Path(wanted.pictures) / f"{promise}{f'.{number}' if number > 1 else ''}.html"


def remove_pages(wanted: Asked, number: int = 1) -> None:
    """Remove the pages of an earlier gate: what they show may hold now.

    Parameters
    ----------
    wanted : Asked
    number : int, default 1
        Of the gate, among those of the session.

    Raises
    ------
    InputError
        If something else has the name of a page.
    NotWrittenError
        If it is protected.
    """
    from harness.reporting.broken import is_page

    for promise in wanted.due():
        path = _path(wanted, promise, number)
        try:
            written = is_page(path)
        except FileNotFoundError:
            continue
        if not written:
            msg = f"--pictures {path}: this is no page of a gate, and would be lost; name another"
            raise InputError(msg)
        remove_old(path)


def keep_page(found: Judgement, state: GateState) -> Judgement:
    """Write what a broken promise shows, if it was asked for; return it without the arrays."""
    if not found.shown:
        return found
    said = ""
    if state.asked.pictures:
        path = _path(state.asked, found.promise.id, state.number)
        try:
            said = f"drawn: {_written(path, found, state)}"
        except Exception as error:  # noqa: BLE001 -- the verdict stands, whatever its page meets
            said = f"not drawn: {one_line(error)}"
    state.pages[found.promise.id] = said
    return replace(found, shown=())


def _written(path: Path, found: Judgement, state: GateState) -> Path:
    from harness.reporting.broken import broken_page

    text = broken_page(found, facts=_facts(state), version=__version__)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def _facts(state: GateState) -> Mapping[str, str]:
    code = state.gated["code"]
    dirty = {True: ", dirty", False: ", clean"}.get(code["dirty"], "")
    own = state.chosen
    return {
        "system": str(state.gated["name"]),
        "commit": f"{code['commit'][:12]}{dirty}" if code["commit"] else "",
        "tier": state.asked.tier,
        "data": "embedded synthetic frames" if own is None else str(own.data.split_dir("train")),
    }


def hint(pages: Mapping[str, str], broken: int) -> str:
    """Return how what is broken can be drawn; nothing where it was, or none of it can be.

    Parameters
    ----------
    pages : mapping of str to str
        As :class:`harness.gate_state.GateState` has them.
    broken : int
        Promises that are broken.
    """
    count = sum(not said for said in pages.values())
    what = "what broke" if count == broken else f"{count} of the {broken} that broke"
    return f"--pictures DIR draws {what}, expected beside found" if count else ""
