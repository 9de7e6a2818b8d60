"""A run directory: locked, planned, resumed, repaired; its session and identity."""
