"""Which names of archs are codes of options, and of which space.

A trainer may name its nets as it likes, "0" and "1" too: digits alone make no code.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.archs import Space, digits
from harness.errors import NotApplicableError, UnseenError
from harness.records.records import StepRecord

if TYPE_CHECKING:
    from harness.systems.protocol import Description

__all__ = [
    "NINE_BLOCKS", "Blocks", "archs_per_step", "covering_codes", "covers", "cycle_orders",
    "is_code", "options_per_block", "options_run", "require_codes", "require_space", "space_of",
]  # fmt: skip

NINE_BLOCKS: tuple[int, ...] = (3,) * 9
"""Options of each block where a system declares none: EdgeFlowNAS's space."""


Blocks = Space | Sequence[int]
"""A search space, or the options of each block, whose codes have one digit for each then."""


def space_of(about: "Description") -> Space:
    """Return the space that a system declares; else that of a digit for each block of options."""
    return about.space if about.space is not None else digits(options_per_block(about.options))


def require_space(about: "Description") -> Space:
    """Return the space of a system.

    Raises
    ------
    NotApplicableError
        If it declares that it has none.
    """
    space = space_of(about)
    _require_blocks(space)
    return space


def _require_blocks(space: Space) -> None:
    if not space.names:
        msg = "the system declares no search space (describe()['space'] without names)"
        raise NotApplicableError(msg)


def _as_space(blocks: Blocks) -> Space:
    return blocks if isinstance(blocks, Space) else digits(blocks)


def options_run(arch: str, blocks: Blocks) -> tuple[int, ...]:
    """Return the option of each block that an arch runs; nothing where its name is no code."""
    return _as_space(blocks).read(arch) or ()


def options_per_block(options: Sequence[Sequence[object]]) -> tuple[int, ...]:
    """Return the number of options of each block of the space that a system declares.

    Parameters
    ----------
    options : sequence of sequence
        ``describe().options``; empty: nine blocks of three.
    """
    return tuple(len(block) for block in options) or NINE_BLOCKS


def is_code(arch: str, space: Blocks) -> bool:
    """Return whether an arch's name is a code of a space, with one of its options per block."""
    return _as_space(space).read(arch) is not None


def require_codes(archs: Iterable[str], space: Blocks, *, what: str) -> None:
    """Require archs, some at least, that are codes of a space.

    Raises
    ------
    NotApplicableError
        If the system declares that it has no space.
    UnseenError
        If none is one, with all of their names.
    """
    if isinstance(space, Space):
        _require_blocks(space)
    names = sorted(set(archs))
    if names and not any(is_code(arch, space) for arch in names):
        # One that is none among others that are is for a check to report.
        msg = f"{what} no arch codes of options, but {', '.join(names)}"
        raise UnseenError(msg)


def covers(archs: Iterable[str], space: Blocks) -> bool:
    """Return whether archs run every option of every block; those that are no codes do."""
    blocks = _as_space(space)
    codes = [choice for arch in archs if (choice := blocks.read(arch)) is not None]
    return not codes or all(
        len({code[block] for code in codes}) == count for block, count in enumerate(blocks.counts)
    )


def covering_codes(space: Space) -> tuple[str, ...]:
    """Return some of the archs that a space tells one by one: they run all that any runs."""
    seen, found = set[tuple[int, int]](), list[str]()
    for arch in space.codes:
        runs = set(enumerate(options_run(arch, space)))
        if runs - seen:
            found.append(arch)
            seen |= runs
    return tuple(found)


def archs_per_step(steps: Sequence[StepRecord]) -> int:
    """Return how many archs a step should train: three codes, or as many as there are names.

    Of EdgeFlowNAS's space a fair cycle is planned, whatever was trained; a trainer of other nets
    trains those that it has.
    """
    if any(is_code(arch, NINE_BLOCKS) for step in steps for arch in step.archs):
        return 3
    return max((len(step.archs) for step in steps), default=3) or 3


def cycle_orders(space: Blocks) -> int:
    """Return how many equally likely fair cycles a space has: an order of options per block."""
    return math.prod(math.factorial(count) for count in _as_space(space).counts)
