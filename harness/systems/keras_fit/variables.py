"""The variables of a Keras model and of its optimizer, by names that no two of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from harness.systems.keras_fit.given import plain

__all__ = [
    "average_kept_aside", "named_variables", "naming_what_is_not_finite", "not_finite", "scope_of",
    "slots_of", "value_of",
]  # fmt: skip


def named_variables(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the variable of everything that a model and its optimizer keep.

    A name is ``variable.path``; of a path that others have too, as layers of nets within a net
    may, the second is ``path#2``. What counts, a rate, and what is set back by the optimizer
    itself (gradients that are accumulated, the scale of a loss) is behind ``progress/``.
    """
    metrics = {id(variable) for variable in model.metrics_variables}
    own = [v for v in model.variables if id(v) not in metrics]
    seen, paths = set[int](), Counter[str]()
    for variable in (*own, *model.optimizer.variables):
        if id(variable) in seen:
            continue
        seen.add(id(variable))
        paths[variable.path] += 1
        again = f"#{paths[variable.path]}" if paths[variable.path] > 1 else ""
        yield f"{'progress/' * _goes_on(variable)}{variable.path}{again}", variable


def slots_of(model: Any, kinds: Sequence[str]) -> dict[str, list[str]]:
    """Return, by trained weight, the names of its slots of some kinds.

    Parameters
    ----------
    kinds : sequence of str
        As Keras ends their names: of Adam ``("momentum", "velocity")``.

    Raises
    ------
    ValueError
        If the optimizer has not one of a kind for each trained weight.
    """
    named = list(named_variables(model))
    weights = {id(variable) for variable in model.trainable_variables}
    trained = [name for name, variable in named if id(variable) in weights]
    kept = {id(variable) for variable in model.optimizer.variables}
    columns = []
    for kind in kinds:
        slots = [n for n, v in named if id(v) in kept and str(v.path).endswith(f"_{kind}")]
        if len(slots) != len(trained):
            msg = f"slot_kinds: {len(slots)} slots of the optimizer end in _{kind}"
            raise ValueError(f"{msg}, expected {len(trained)}, one for each trained weight")
        columns.append(slots)
    return {weight: [slots[place] for slots in columns] for place, weight in enumerate(trained)}


def _goes_on(variable: Any) -> bool:
    """Say whether a variable is no weight, statistic or slot, which training moves for good."""
    if not keras.backend.is_float_dtype(variable.dtype):
        return True
    return str(variable.path).endswith(("learning_rate", "gradient_accumulator", "dynamic_scale"))


def value_of(variable: Any) -> Any:
    """Return the value as an array that NumPy knows by itself: bfloat16 as float32."""
    found = np.array(plain(variable))
    return found.astype(np.float32) if found.dtype.kind == "V" else found


def scope_of(model: Any) -> AbstractContextManager[Any]:
    """Return where a model's variables are made: Keras on another backend has no strategy."""
    strategy = getattr(model, "distribute_strategy", None)
    return nullcontext() if strategy is None else strategy.scope()


def not_finite(model: Any) -> list[str]:
    """Return the names of the variables that are not finite."""
    return [n for n, v in named_variables(model) if not np.isfinite(value_of(v)).all()]


@contextmanager
def naming_what_is_not_finite(model: Any) -> Iterator[None]:
    """Add to an error which variables are not finite, as Keras's own callbacks do not."""
    try:
        yield
    except Exception as error:
        names = not_finite(model)
        if not names or any(name in str(error) for name in names):
            raise
        msg = f"{type(error).__name__}: {error}; not finite: {', '.join(names)}"
        raise FloatingPointError(msg) from error


@contextmanager
def average_kept_aside(optimizer: Any) -> Iterator[None]:
    """Let ``fit`` leave the weights as they are, where the optimizer has an average of them.

    At its end ``fit`` puts the average in their place: at the end of a run, of which an epoch is
    a part here.
    """
    optimizer.finalize_variable_values = lambda _: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
