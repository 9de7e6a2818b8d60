"""Faults that need no parts: they wrap any system behind the protocol."""
