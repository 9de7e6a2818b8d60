"""Which samples lie in a folder, found in another way than the provider's."""

from pathlib import Path

__all__ = ["listed_samples"]


def listed_samples(folder: Path) -> tuple[str, ...]:
    """Return the sample ids of a split, sorted."""
    suffix = "-img_0.png"
    found = (path.relative_to(folder).as_posix() for path in folder.rglob(f"*{suffix}"))
    return tuple(sorted(name.removesuffix(suffix) for name in found))
