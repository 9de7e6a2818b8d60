"""Compiled functions that one process uses for one session after another.

Tracing costs seconds, and a gate opens a dozen sessions. What is compiled depends on
skeleton, width, weight decay and the parts that run inside a graph; a session that
agrees in these takes over a closed session's functions and its reset supernet.
"""

import copy
from collections.abc import Hashable
from dataclasses import dataclass, field

from harness.config import Config
from harness.evaluation.evaluator import Evaluator
from harness.runs.parts import Parts
from harness.training.model import Supernet
from harness.training.step import StepFunctions

__all__ = ["Kit", "Lent"]


@dataclass(frozen=True)
class Lent:
    """A supernet in its initial state and what was compiled for it."""

    key: Hashable
    model: Supernet
    functions: StepFunctions
    evaluator: Evaluator


@dataclass
class Kit:
    """Lends a supernet with its compiled functions; what is given back is lent again."""

    _idle: dict[Hashable, list[tuple[Supernet, StepFunctions]]] = field(default_factory=dict)
    _evaluators: dict[Hashable, Evaluator] = field(default_factory=dict)

    def lend(self, config: Config, parts: Parts) -> Lent:
        """Return a supernet that nobody else holds, reset to step 0."""
        model, train, evaluation = config.model, parts.train, parts.evaluation
        inside = (
            train.frames_to_input, train.loss, train.accumulate, train.clip, train.apply,
        )  # fmt: skip
        key = (model.skeleton, model.width, config.train.weight_decay, inside)
        idle = self._idle.setdefault(key, [])
        if idle:
            idle.sort(key=lambda pair: pair[1].gradient.experimental_get_tracing_count())
            supernet, functions = idle.pop()
            supernet.reset(config.runtime.seed)
        else:
            supernet = Supernet(model.skeleton, model.width, config.runtime.seed)
            functions = StepFunctions(supernet, config.train.weight_decay, parts.train)
        traced = (
            model.skeleton, model.width, evaluation.frames_to_input, evaluation.accumulate_flow,
        )  # fmt: skip
        if traced not in self._evaluators:
            self._evaluators[traced] = Evaluator(model.skeleton, model.width, evaluation)
        evaluator = copy.copy(self._evaluators[traced])
        evaluator.parts = evaluation
        return Lent(key, supernet, functions, evaluator)

    def take_back(self, lent: Lent) -> None:
        """Keep a session's supernet and functions for the next one."""
        self._idle.setdefault(lent.key, []).append((lent.model, lent.functions))
