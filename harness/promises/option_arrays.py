"""Which arrays each option of each block runs."""

from collections.abc import Sequence

from harness.archs import array_of
from harness.errors import NotApplicableError
from harness.systems.protocol import Description

__all__ = ["OptionArrays", "arrays_of_options"]


OptionArrays = Sequence[Sequence[frozenset[str]]]


def arrays_of_options(about: Description, names: Sequence[str]) -> OptionArrays:
    """Return for each block and option the arrays that it runs: kernels, scales, statistics.

    Parameters
    ----------
    names : sequence of str
        Of ``state()``.

    Raises
    ------
    NotApplicableError
        If the system does not say what its options run.
    """
    if not about.options:
        msg = "the system does not say which kernels an option runs"
        raise NotApplicableError(msg)
    return [
        [
            frozenset((*kernels, *_beside(about, names, block, option)))
            for option, kernels in enumerate(options)
        ]
        for block, options in enumerate(about.options)
    ]


def _beside(about: Description, names: Sequence[str], block: int, option: int) -> Sequence[str]:
    """Return what an option runs beside its kernels: as declared, else of the same unit."""
    if about.option_arrays:
        return about.option_arrays[block][option]
    kernels = [array_of(kernel) for kernel in about.options[block][option]]
    units = tuple(
        f"{k.rpartition('/')[0]}/" for k in kernels if k.split(":")[0].endswith("/kernel")
    )
    slots = {name for pair in about.slots.values() for name in pair}
    # Of a kernel that is named in part, the whole would follow.
    return [
        name for name in names
        if units and name.startswith(units) and name not in slots and name not in kernels
    ]  # fmt: skip
