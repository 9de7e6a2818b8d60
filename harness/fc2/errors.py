"""The one error that the data room raises about a file's content."""

from pathlib import Path

from harness.errors import InputError

__all__ = ["SampleError"]


class SampleError(InputError):
    """A file of a sample is not what it must be.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected, found : str
        What it must be and what it is.
    """

    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")
        self.path = path
