"""Strict fairness."""


def generate_fair_cycle(rng, num_blocks=9):
    """Return three archs that cover every option of every block once."""
    orders = []
    for _ in range(num_blocks):
        order = [0, 1, 2]
        rng.shuffle(order)
        orders.append(order)
    return [[order[arch] for order in orders] for arch in range(3)]
