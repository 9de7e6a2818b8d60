"""Shared evaluation: archs share every computation whose inputs agree, exactly."""
