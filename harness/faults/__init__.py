"""How a system can break: seeded faults, each modelled on a real bug, and the kill matrix."""
