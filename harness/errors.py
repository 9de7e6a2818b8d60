"""What a command answers with one plain line: wrong input, or a promise broken."""

__all__ = ["InputError", "WatchError"]


class InputError(ValueError):
    """What a person handed in is wrong: a file, an option, a configuration."""


class WatchError(RuntimeError):
    """A promise broke while training ran; names the place, what was expected and found."""
