"""Fairness over blocks of unequal size: a cycle of three repeats one of two options."""

from PACKAGE.nas.search_space_v3 import get_block_specs


def generate_fair_cycle(rng, num_blocks=9):
    """Return three archs that cover every option of every block."""
    orders = []
    for block in get_block_specs()[:num_blocks]:
        order = list(range(len(block["labels"])))
        order += [rng.choice(order) for _ in range(3 - len(order))]
        rng.shuffle(order)
        orders.append(order)
    return [[order[arch] for order in orders] for arch in range(3)]
