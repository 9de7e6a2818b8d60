"""A configured run in this process: environment, data, supernet, evaluator, trainer.

Tracing costs seconds, and a gate opens a dozen sessions. What is compiled depends on
skeleton, width, weight decay and the parts that run inside a graph; a session that agrees in
these takes over a closed session's functions and its reset supernet.
"""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.config import Config, ConfigError
from harness.config.theirs import require_ours
from harness.digest import digest_file
from harness.environment import Environment, apply_environment
from harness.evaluation.batches import FixedBatches
from harness.evaluation.evaluator import Evaluator
from harness.evaluation.scoring import scored_on
from harness.fc2.layout import left_lines
from harness.fc2.provider import Provider, open_provider
from harness.records.records import (
    FIRST_SEGMENT,
    CheckpointRecord,
    EvalRecord,
    ResumeRecord,
    RunRecord,
)
from harness.runs.identity import data_digests, protocol_identity, run_identity
from harness.runs.parts import Parts
from harness.runs.stop import say
from harness.supernet.space import SKELETONS, check_crop
from harness.training.checkpoint import Checkpoint, CheckpointStore
from harness.training.model import Supernet
from harness.training.progress import Progress
from harness.training.step_functions import StepFunctions
from harness.training.train_parts import TrainParts
from harness.training.trainer import Observer, Trainer, TrainerOptions

__all__ = ["CompiledCache", "CompiledSteps", "CompiledSupernet", "Session", "open_session"]


@dataclass(frozen=True)
class CompiledSteps:
    """A supernet and the steps that were compiled over it, which share one gradient.

    Attributes
    ----------
    model : Supernet
        The variables that are trained.
    """

    model: Supernet
    _functions: dict[Hashable, StepFunctions] = field(default_factory=dict)

    def functions(self, decay: float, parts: TrainParts) -> StepFunctions:
        """Return the step of these parts; decay, frames to input and loss are always the same."""
        inside = (parts.zeroed, parts.accumulate, parts.clip, parts.apply)
        if inside not in self._functions:
            earlier = next(iter(self._functions.values()), None)
            self._functions[inside] = StepFunctions(self.model, decay, parts, earlier)
        return self._functions[inside]

    def traced(self) -> int:
        """Return how often its gradient was traced."""
        return max((f.gradient.traced() for f in self._functions.values()), default=0)


@dataclass(frozen=True)
class CompiledSupernet:
    """A supernet in its initial state and what was compiled for it.

    Attributes
    ----------
    key : hashable
        What `functions` were compiled for.
    steps : CompiledSteps
        The variables that are trained, and everything that was compiled over them.
    functions : StepFunctions
        The step over these variables.
    evaluator : Evaluator
        With a session's own parts; what it compiled is shared by all that agree in them.
    """

    key: Hashable
    steps: CompiledSteps
    functions: StepFunctions
    evaluator: Evaluator

    @property
    def model(self) -> Supernet:
        """The variables that are trained."""
        return self.steps.model


@dataclass
class CompiledCache:
    """Compiled functions that one process uses for one session after another."""

    _idle: dict[Hashable, list[CompiledSteps]] = field(default_factory=dict)
    _evaluators: dict[Hashable, Evaluator] = field(default_factory=dict)

    def acquire(self, config: Config, parts: Parts, scored: str = "host") -> CompiledSupernet:
        """Return a supernet that nobody else holds, reset to step 0; `scored`: where scores are."""
        model, train = config.model, parts.train
        # Traced into the gradient's graph. Other parts are called from Python, and may differ.
        decay = config.train.weight_decay
        key = (model.skeleton, model.width, decay, train.frames_to_input, train.loss)
        idle = self._idle.setdefault(key, [])
        if idle:
            # The one that has traced most: another would trace again what this one has.
            idle.sort(key=CompiledSteps.traced)
            steps = idle.pop()
            # Weights and slots of the session before would be trained on.
            steps.model.reset(config.runtime.seed, train.initial)
        else:
            seed = config.runtime.seed
            steps = CompiledSteps(Supernet(model.skeleton, model.width, seed, train.initial))
        return CompiledSupernet(
            key, steps, steps.functions(decay, train), self._evaluator(config, parts, scored)
        )

    def _evaluator(self, config: Config, parts: Parts, scored: str) -> Evaluator:
        """Return an evaluator that shares compiled functions and nothing else."""
        model, evaluation = config.model, parts.evaluation
        traced = (
            model.skeleton, model.width, evaluation.frames_to_input, evaluation.accumulate_flow,
        )  # fmt: skip
        if traced not in self._evaluators:
            self._evaluators[traced] = Evaluator(model.skeleton, model.width, evaluation)
        # A shallow copy: compiled functions are shared, parts are each session's own.
        evaluator = copy.copy(self._evaluators[traced])
        evaluator.parts = evaluation
        evaluator.scored_on = scored
        return evaluator

    def release(self, compiled: CompiledSupernet) -> None:
        """Keep a session's supernet and functions for the next one."""
        self._idle.setdefault(compiled.key, []).append(compiled.steps)


@dataclass(frozen=True)
class Session:
    """What a command or a system needs to train and evaluate.

    Attributes
    ----------
    config, parts, environment
        As opened.
    provider : Provider
        Training batches.
    fixed : FixedBatches
        Evaluation and recalibration batches.
    compiled : CompiledSupernet
        Supernet and compiled functions; to be released once the session is closed.
    """

    config: Config
    parts: Parts
    environment: Environment
    provider: Provider
    fixed: FixedBatches
    compiled: CompiledSupernet

    @property
    def model(self) -> Supernet:
        """The variables that are trained."""
        return self.compiled.model

    @property
    def evaluator(self) -> Evaluator:
        """Compiled evaluation."""
        return self.compiled.evaluator

    def evaluate(
        self, weights: dict[str, Any], epoch: int, *, between: Callable[[], None] | None = None,
        **options: Any,
    ) -> EvalRecord:  # fmt: skip
        """Score the configured pool on the configured batches; `between` is called per arch."""
        protocol = self.fixed.protocol(epoch)
        return self.evaluator.evaluate(
            weights, protocol, epoch=epoch, between=between, **options
        )[0]  # fmt: skip

    def trainer(self, options: TrainerOptions, *, evaluate: bool = True) -> Trainer:
        """Return a trainer over this session's variables."""
        return Trainer(
            self.config, self.model, self.provider,
            evaluate=self.evaluate if evaluate else None,
            rank=self.parts.rank, parts=self.parts.train, options=options,
            functions=self.compiled.functions,
        )  # fmt: skip

    def store(self, folder: Path) -> CheckpointStore:
        """Return where a run keeps its checkpoints, as configured."""
        keep = self.config.checkpoint.keep_latest
        return CheckpointStore(folder, keep_latest=keep, parts=self.parts.store)

    @cached_property
    def data(self) -> dict[str, str]:
        """Digests of the samples, and more, as :func:`harness.runs.identity.data_digests`."""
        frozen = Path(self.config.eval.frozen)
        return data_digests(
            self.provider.samples, self.fixed.samples("val"),
            frozen=digest_file(frozen) if self.config.eval.frozen else "",
            scored=self.evaluator.scored_on,
        )  # fmt: skip

    def meta(self, segment: str = FIRST_SEGMENT) -> dict[str, Any]:
        """Return what a checkpoint and an attempt's first record say about the run."""
        return {
            "config": self.config.model_dump(mode="json", by_alias=True),
            "environment": self.environment.as_dict(),
            "identity": run_identity(self.config, self.data),
            "protocol": protocol_identity(self.config, self.data),
            "segment": segment,
            "data": self.data,
        }

    def run_record(
        self, trainer: Trainer, attempt: int, *, segment: str = FIRST_SEGMENT,
        code: Mapping[str, Any] = MappingProxyType({}),
    ) -> RunRecord:  # fmt: skip
        """Return the record that opens an attempt; `code` is what is known of the trainer's."""
        return self.parts.opening(
            attempt=attempt,
            train_samples=len(self.provider.samples),
            val_samples=len(self.fixed.samples("val")),
            batch_size=self.config.train.batch_size,
            micro_batch_size=self.config.train.micro_batch,
            planned_sizes=tuple(Counter(self.provider.planned_sizes).items()),
            expected_clip_checks=trainer.expected_clip_checks,
            code=dict(code),
            **self.meta(segment),
        )

    def restore(
        self, trainer: Trainer, checkpoint: Checkpoint | None, attempt: int,
        observers: Sequence[Observer], *, new_series: bool = False,
    ) -> list[str]:  # fmt: skip
        """Set variables and progress from a checkpoint and record where it restarts.

        Parameters
        ----------
        new_series : bool, default False
            Whether scores from here on do not compare with those before: then the best
            metric, the patience and the previous ranking are forgotten.

        Returns
        -------
        notes : list of str
            What an older checkpoint does not hold.
        """
        if checkpoint is None:  # there is none yet: from step 0
            progress, notes = Progress(), list[str]()
        else:
            progress, notes = Progress.from_state(checkpoint.progress)
            self.parts.train.restore(self.model, checkpoint.arrays)
        if new_series:
            progress = dataclasses.replace(progress, previous=None)
        if new_series or self.config.checkpoint.reset_early_stop_on_resume:
            progress = dataclasses.replace(
                progress, best_metric=None, patience_metric=None, bad_epochs=0
            )
        trainer.progress = progress
        digest = "" if checkpoint is None else checkpoint.digest
        if checkpoint is not None:
            place = progress.epoch, progress.step, progress.global_step
            trainer.continue_from(CheckpointRecord(*place, checkpoint.path.name, digest))
        record = ResumeRecord(attempt, progress.epoch, progress.step, progress.global_step, digest)
        for observer in observers:
            observer(record)
        return notes


def open_session(
    config: Config, parts: Parts | None = None, cache: CompiledCache | None = None, *,
    scored: str | None = None,
) -> Session:  # fmt: skip
    """Apply the environment and open data, supernet and evaluator.

    Parameters
    ----------
    cache : CompiledCache, optional
        Where compiled functions are kept between sessions. Default: compile anew.
    scored : {"host", "device"}, optional
        Where scores are summed up. Default: as configured, and as the device is.

    Raises
    ------
    FileNotFoundError, harness.fc2.errors.SampleError
        If the data set is absent or incomplete.
    ConfigError
        If a crop does not fit the skeleton's strides.
    """
    require_ours(config)
    parts = parts or Parts()
    skeleton = SKELETONS[config.model.skeleton]
    for crop in (config.train_crop, config.eval_crop):
        try:
            check_crop(skeleton, crop)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    provider = open_provider(config, "train", "train", parts=parts.data)
    fixed = FixedBatches(config, parts.data, draw_pool=parts.pool)
    # Refused, or told, before anything is computed.
    for line in left_lines(provider.samples, fixed.samples("val")):
        say(line)
    environment = apply_environment(config)
    scored = scored or scored_on(config.runtime.score_on, environment.device)
    compiled = (cache or CompiledCache()).acquire(config, parts, scored)
    return Session(config, parts, environment, provider, fixed, compiled)
