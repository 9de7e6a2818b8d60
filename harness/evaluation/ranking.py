"""The pool of archs that is scored, and comparing two rankings of it."""

import math
from collections.abc import Sequence

from harness.streams import integer
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS, check_arch

__all__ = ["build_pool", "kendall_tau"]


def build_pool(*, seed: int, size: int) -> tuple[tuple[int, ...], ...]:
    """Return the fixed pool of distinct archs.

    All-0, all-1, all-2, i % 3, (2 - i) % 3, (i + 1) % 3, then distinct random codes from
    the seed. The first codes cover every option of every block.

    Raises
    ------
    ValueError
        If `size` is not in [1, 19683].
    """
    if not 1 <= size <= NUM_OPTIONS**NUM_BLOCKS:
        msg = f"a pool has 1 to {NUM_OPTIONS**NUM_BLOCKS} archs, got {size}"
        raise ValueError(msg)
    blocks = range(NUM_BLOCKS)
    pool = [(option,) * NUM_BLOCKS for option in range(NUM_OPTIONS)]
    pool += [
        tuple(i % 3 for i in blocks),
        tuple((2 - i) % 3 for i in blocks),
        tuple((i + 1) % 3 for i in blocks),
    ]
    seen, index = set(pool), 0
    while len(pool) < size:
        # By a counter, whatever the size: a smaller pool is the beginning of a larger one.
        code = tuple(integer(seed, "eval/pool", 0, index, below=[NUM_OPTIONS] * NUM_BLOCKS))
        index += 1
        if code not in seen:
            seen.add(code)
            pool.append(code)
    return tuple(check_arch(code) for code in pool[:size])


def kendall_tau(
    scores: Sequence[float], previous: Sequence[float]
) -> tuple[float | None, str | None]:
    """Return Kendall's tau-b of two score lists (Kendall, 1945), or why it is undefined.

    Returns
    -------
    tau : float or None
        In [-1, 1]; None where either list is constant, never 1.0.
    reason : str or None
        Why tau is None.

    Raises
    ------
    ValueError
        If the lists differ in length or a score is not finite.
    """
    from scipy import stats

    if len(scores) != len(previous):
        msg = f"expected two lists of one length, got {len(scores)} and {len(previous)}"
        raise ValueError(msg)
    if not all(map(math.isfinite, (*scores, *previous))):
        msg = f"every score must be finite, got {list(scores)} and {list(previous)}"
        raise ValueError(msg)
    # SciPy answers NaN for these; the log says null, and why.
    for name, values in (("this", scores), ("the previous", previous)):
        if len(set(values)) < 2:
            return None, f"{name} ranking is constant"
    tau = float(stats.kendalltau(scores, previous, variant="b", nan_policy="raise").statistic)
    return tau, None
