"""The pool that is scored."""

import random


def build_eval_pool(seed, size, num_blocks=9):
    """Return a fixed pool: six of a pattern, then distinct random ones."""
    blocks = range(num_blocks)
    if size < 3:
        raise ValueError("eval pool size must be >= 3")
    pool = [[option for _ in blocks] for option in range(3)]
    pool += [[i % 3 for i in blocks], [(2 - i) % 3 for i in blocks], [(i + 1) % 3 for i in blocks]]
    pool, rng = pool[:size], random.Random(seed)
    while len(pool) < size:
        code = [rng.randint(0, 2) for _ in blocks]
        if code not in pool:
            pool.append(code)
    return pool
