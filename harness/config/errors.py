"""The one error of a configuration."""

from harness.errors import InputError

__all__ = ["ConfigError"]


class ConfigError(InputError):
    """The configuration is wrong; the message names each key and what was expected."""
