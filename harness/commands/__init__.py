"""The commands of ``python -m harness``, one module each."""

__all__: list[str] = []
