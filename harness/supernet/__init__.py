"""Arch and batch to flow: search space, network, loss, end-point error."""
