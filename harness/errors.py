"""What a command answers with one plain line and exit code 2."""

__all__ = ["InputError"]


class InputError(ValueError):
    """What a person handed in is wrong: a file, an option, a configuration."""
