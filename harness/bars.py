"""A bar on the terminal while something takes long; where no terminal looks, nothing.

It is drawn on standard error, so that what a command says can be piped on. ``NO_COLOR`` and
``TERM=dumb`` are respected by rich, which draws it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Bar", "bar", "is_watched"]


@dataclass(frozen=True)
class Bar:
    """What is called as the work goes on.

    Attributes
    ----------
    advance : callable
        (count) -> None: so many more are done.
    show : callable
        (text, done, total) -> None: say something else beside the bar, and how far it is.
    say : callable
        (text) -> None: say something else beside the bar.
    """

    advance: Callable[[int], None] = lambda _: None
    show: Callable[[str, int, int], None] = lambda *_: None
    say: Callable[[str], None] = lambda _: None


def is_watched() -> bool:
    """Return whether a terminal looks on where bars are drawn."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def bar(total: int, unit: str, *, timed: bool = True, stays: bool = True) -> Iterator[Bar]:
    """Draw a bar while the block runs.

    Parameters
    ----------
    total : int
        How many there are.
    unit : str
        What they are, in the plural.
    timed : bool, default True
        Say beside it how long it has taken, and how long the rest will take at that pace.
    stays : bool, default True
        Leave it there once the block has run.
    """
    if not is_watched():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.table import Column

    console = Console(stderr=True)
    # The text comes last, and is what a narrow terminal cuts.
    rest = Column(no_wrap=True, ratio=1, overflow="ellipsis")
    text = TextColumn("{task.description}", markup=False, table_column=rest)
    named = [TextColumn(unit, markup=False)] if unit else []
    times = [Elapsed(), TextColumn("gone,"), Remaining(), TextColumn("left")] if timed else []
    columns = [BarColumn(12), MofNCompleteColumn(), *named, *times, text]
    # What is printed meanwhile stands above the bar, unless it goes somewhere else.
    apart = sys.stdout is not None and sys.stdout.isatty()
    drawn = Progress(
        *columns, console=console, redirect_stdout=apart, transient=not stays, expand=True
    )
    with drawn:
        console.show_cursor(True)  # a process that is killed could not show it again
        task = drawn.add_task("", total=total)

        def show(text: str, done: int, total: int) -> None:
            drawn.update(task, description=text, completed=done, total=total)

        yield Bar(
            lambda count: drawn.advance(task, count), show,
            lambda text: drawn.update(task, description=text),
        )  # fmt: skip
