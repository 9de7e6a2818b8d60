"""Reproducibility and invariant harness for weight-sharing optical-flow supernets."""

__all__ = ["__version__"]

__version__ = "0.1.0"
