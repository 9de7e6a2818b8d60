"""Ways to break the builtin system where it has no part: after it was opened."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.faults.base import overriding

__all__ = ["GradientChange", "after_gradient", "after_open", "gradient_hook"]


def after_open(system: Any, change: Callable[[Any], None]) -> Any:
    """Return a system that is changed each time it was opened."""

    def opened(inner: Any, config: Any) -> None:
        inner.open(config)
        change(inner)

    return overriding(system, open=opened)


def gradient_hook(system: Any, moved: Callable[[Any, Any], Any]) -> Any:
    """Return a system whose moving statistics become ``moved(old, new)`` in each micro-batch."""

    def change(inner: Any) -> None:
        step, model = inner.trainer._step, inner.session.model
        functions = step._functions

        def gradient(*args: Any) -> Any:
            before = {u: [v.numpy() for v in pair] for u, pair in model.moving.items()}
            found = functions.gradient(*args)
            for unit, pair in model.moving.items():
                for variable, old in zip(pair, before[unit], strict=True):
                    variable.assign(moved(old, variable.numpy()))
            return found

        step._functions = overriding(functions, gradient=lambda _, *args: gradient(*args))

    return after_open(system, change)


GradientChange = Callable[[Mapping[str, Any], Any], None]
"""Takes the gradients of a micro-batch, as variables by weight, and the builtin system."""


def after_gradient(system: Any, change: GradientChange) -> Any:
    """Return a system whose gradients are changed once each is computed."""

    def opened(inner: Any) -> None:
        step, functions = inner.trainer._step, inner.trainer._step._functions
        named = dict(zip(inner.session.model.weights, functions.gradient.gradients, strict=True))

        def gradient(_: Any, *args: Any) -> Any:
            found = functions.gradient(*args)
            change(named, inner)
            return found

        step._functions = overriding(functions, gradient=gradient)

    return after_open(system, opened)
