"""How much work each finished piece of an evaluation was, so that the rest can be foretold.

No TensorFlow here. A piece of recalibration is not as much as one of scoring, which a count of
pieces would take it for.
"""

from collections.abc import Callable, Sequence

from harness.evaluation.journal import Entry
from harness.supernet.macs import shared_macs

__all__ = ["entry_macs"]

Arch = tuple[int, ...]


def entry_macs(
    skeleton: str, width: int, size: tuple[int, int], pool: Sequence[Arch], *, subtrees: int,
    recal: Sequence[int], scored: Sequence[int],
) -> Callable[[Entry], int]:  # fmt: skip
    """Return what gives an entry's share of the multiply-accumulates of a pool, in millions.

    Parameters
    ----------
    skeleton, width, size, pool
        As of :func:`harness.supernet.macs.pool_macs`; valid arch codes.
    subtrees : int
        Of the pool, which share its work evenly here.
    recal, scored : sequence of int
        Samples of each recalibration batch and of each piece that is scored.
    """
    body, heads = shared_macs(skeleton, width, size, pool)

    def macs(entry: Entry) -> int:
        phase, batch, _ = entry
        each = body * recal[batch] if phase == "recal" else (body + heads) * scored[batch]
        return max(1, each // subtrees // 10**6)

    return macs
