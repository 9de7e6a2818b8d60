"""What a command line may say: numbers within ranges, and paths by what they are for."""

from argparse import Action, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from harness.commands.paths import Named, PathKind
from harness.errors import InputError, cut
from harness.expanding import expanded
from harness.ranges import Range

__all__ = ["CommandParser", "UsageError", "add_number", "given_paths", "text_or"]


class UsageError(InputError):
    """The words of a command line are wrong; names the option."""


class CommandParser(ArgumentParser):
    """A parser that refuses in one line, and knows which of its options are paths.

    Attributes
    ----------
    paths : dict of str to (str, PathKind)
        By the name of the value: how the option is written, and what it names.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.paths: dict[str, tuple[str, PathKind]] = {}

    def add_path(
        self, *names: str, kind: PathKind, words: tuple[str, ...] = (), **options: Any
    ) -> Action:
        """Declare an option or argument that is a path, or one of some words."""

        def read(text: str) -> Path | str:
            return text if text in words else _path(text)

        action = self.add_argument(*names, type=read, **options)
        shown = action.option_strings[-1] if action.option_strings else str(action.metavar)
        self.paths[action.dest] = (shown, kind)
        return action

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong as one line."""
        raise UsageError(f"{cut(message, 400)}; {self.prog} --help shows what there is")


def _path(text: str) -> Path:
    if not text:
        msg = "expected a path, got nothing: is a variable of the calling script empty?"
        raise ArgumentTypeError(msg)
    try:
        return Path(expanded(text, "the path"))
    except InputError as error:
        raise ArgumentTypeError(str(error)) from None


def given_paths(
    parsers: Mapping[str, tuple[str, PathKind]], values: Mapping[str, Any]
) -> list[Named]:
    """Return the paths that a command line names, of options that were given."""
    found = []
    for dest, (option, kind) in parsers.items():
        value = values.get(dest)
        every = value if isinstance(value, list) else [value]
        found += [Named(option, path, kind) for path in every if isinstance(path, Path)]
    return found


def add_number(
    parser: ArgumentParser, name: str, within: Range, text: str, *, default: float | None = None,
    words: tuple[str, ...] = (), **options: Any,
) -> None:  # fmt: skip
    """Declare an option that takes a number, with its range, unit and default in the help.

    Parameters
    ----------
    within : Range
    text : str
        What it is.
    default : int or float, optional
    words : tuple of str, optional
        What it takes in place of a number.
    options
        As for ``add_argument``.
    """
    shown = f"{text} ({within}{''.join(f', or {word}' for word in words)}"
    shown += ")" if default is None else f"; default: {default})"
    parser.add_argument(
        name, type=text_or(words, within), default=default, help=shown.replace("%", "%%"), **options
    )


def text_or(words: tuple[str, ...], within: Range) -> Callable[[str], Any]:
    """Return what reads a number of a range, or one of some words."""

    def read(text: str) -> Any:
        if text in words:
            return text
        try:
            return within(text) if within.whole else within.number(text)
        except InputError as error:
            raise ArgumentTypeError(str(error)) from None

    return read
