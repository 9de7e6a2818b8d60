"""What a command answers with one plain line, and what a promise does not apply to."""

__all__ = ["InputError", "NotApplicableError", "WatchError"]


class InputError(ValueError):
    """What a person handed in is wrong: a file, an option, a configuration."""


class NotApplicableError(Exception):
    """A promise does not apply to this system, configuration, data or run; says why."""


class WatchError(RuntimeError):
    """A promise broke while training ran; names the place, what was expected and found."""
