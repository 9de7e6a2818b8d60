"""The pool of the other space."""

import random

from PACKAGE.nas.search_space_v3 import get_block_specs


def build_eval_pool(seed, size):
    """Return a fixed pool of distinct codes."""
    counts, rng, pool = [len(b["labels"]) for b in get_block_specs()], random.Random(seed), []
    while len(pool) < size:
        code = [len(pool) % n if len(pool) < 2 else rng.randrange(n) for n in counts]
        if code not in pool:
            pool.append(code)
    return pool
