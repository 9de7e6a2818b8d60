"""Which names of archs are codes of options, and of which space.

A trainer may name its nets as it likes, "0" and "1" too: digits alone make no code.
"""

import math
from collections.abc import Iterable, Sequence

from harness.errors import UnseenError
from harness.records.records import StepRecord

__all__ = [
    "NINE_BLOCKS", "archs_per_step", "covers", "cycle_orders", "is_code", "options_per_block",
    "require_codes",
]  # fmt: skip

NINE_BLOCKS: tuple[int, ...] = (3,) * 9
"""Options of each block where a system declares none: EdgeFlowNAS's space."""


def options_per_block(options: Sequence[Sequence[object]]) -> tuple[int, ...]:
    """Return the number of options of each block of the space that a system declares.

    Parameters
    ----------
    options : sequence of sequence
        ``describe().options``; empty: nine blocks of three.
    """
    return tuple(len(block) for block in options) or NINE_BLOCKS


def is_code(arch: str, space: Sequence[int]) -> bool:
    """Return whether an arch's name has one digit for each block, of an option that it has."""
    digits = "0123456789"
    return len(arch) == len(space) and all(
        character in digits[:count] for character, count in zip(arch, space, strict=True)
    )


def require_codes(archs: Iterable[str], space: Sequence[int], *, what: str) -> None:
    """Require archs, some at least, that are codes of a space.

    Raises
    ------
    UnseenError
        If none is one, with all of their names.
    """
    names = sorted(set(archs))
    if names and not any(is_code(arch, space) for arch in names):
        # One that is none among others that are is for a check to report.
        msg = f"{what} no arch codes of options, but {', '.join(names)}"
        raise UnseenError(msg)


def covers(archs: Iterable[str], space: Sequence[int]) -> bool:
    """Return whether archs run every option of every block; those that are no codes do."""
    codes = [arch for arch in archs if is_code(arch, space)]
    return not codes or all(
        len({code[block] for code in codes}) == count for block, count in enumerate(space)
    )


def archs_per_step(steps: Sequence[StepRecord]) -> int:
    """Return how many archs a step should train: three codes, or as many as there are names.

    Of EdgeFlowNAS's space a fair cycle is planned, whatever was trained; a trainer of other nets
    trains those that it has.
    """
    if any(is_code(arch, NINE_BLOCKS) for step in steps for arch in step.archs):
        return 3
    return max((len(step.archs) for step in steps), default=3) or 3


def cycle_orders(space: Sequence[int]) -> int:
    """Return how many equally likely fair cycles a space has: an order of options per block."""
    return math.prod(math.factorial(count) for count in space)
