"""The builtin system: our provider, supernet, trainer and evaluator behind the protocol."""

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness import __version__
from harness.config import parse_config
from harness.fc2.batch import Batch, join_digests, pixel_digests
from harness.fc2.crop import Window
from harness.records.ledger import Ledger, read_ledger
from harness.records.records import EpochRecord, StepRecord
from harness.runs.lineage import refuse_another_plan
from harness.runs.parts import Parts
from harness.runs.session import CompiledCache, Session, open_session
from harness.supernet.space import SKELETONS, active_units, option_kernels, parse_arch
from harness.systems.builtin_draws import draws_of
from harness.systems.builtin_offline import evaluate_checkpoint
from harness.systems.protocol import (
    METHODS,
    Arrays,
    Check,
    Description,
    Drawn,
    Evaluation,
    Recalibration,
    Role,
    ServedBatch,
    Training,
    TrainingSample,
)
from harness.systems.taps import tapped_inputs
from harness.training.checkpoint import Checkpoint, CheckpointStore
from harness.training.progress import Progress
from harness.training.trainer import Trainer, TrainerOptions

__all__ = ["BuiltinSystem"]


_INITIALIZER = "glorot_uniform"
_STATISTICS_KEPT = 0.9


class BuiltinSystem:
    """Our own trainer as a system under test.

    Parameters
    ----------
    parts : Parts, optional
        What it is put together from; a fault replaces one of them.
    cache : CompiledCache, optional
        Keeps compiled functions for the next system of this process. Default: none kept.
    """

    def __init__(self, parts: Parts | None = None, cache: CompiledCache | None = None) -> None:
        self.parts = parts or Parts()
        self._cache = cache or CompiledCache()
        self._session: Session | None = None
        self._trainer: Trainer | None = None
        self._checks: list[Check] = []
        self._losses: list[float] = []
        self._taken: list[str] = []
        self._consumed: list[tuple[str, ...]] = []

    @property
    def session(self) -> Session:
        """The open session."""
        if self._session is None:
            msg = "the system is not open: call open(config) first"
            raise RuntimeError(msg)
        return self._session

    @property
    def trainer(self) -> Trainer:
        """The trainer of the open session."""
        if self._trainer is None:
            msg = "the system is not open: call open(config) first"
            raise RuntimeError(msg)
        return self._trainer

    def describe(self) -> Description:
        """Return what the builtin system is; names of variables need it to be open."""
        supports = frozenset({"frozen", "steps", "skeletons", "knobs"})
        can = frozenset(METHODS)
        if self._session is None:
            return Description(
                "builtin", can, version=__version__, supports=supports, initializer=_INITIALIZER,
                statistics_kept=_STATISTICS_KEPT,
            )  # fmt: skip
        plan = SKELETONS[self.session.config.model.skeleton]
        heads = {
            stage.name: tuple(f"{stage.name}/k{k}/kernel" for k in plan.kernels)
            for stage in plan.outputs
        }
        slots = {name: (f"adam/m/{name}", f"adam/v/{name}") for name in self.session.model.weights}
        return Description(
            "builtin", can, heads, __version__, slots, option_kernels(plan), supports,
            initializer=_INITIALIZER, statistics_kept=_STATISTICS_KEPT,
        )  # fmt: skip

    def open(self, config: Mapping[str, Any]) -> None:
        """Open a session and a trainer at step 0."""
        self._session = open_session(parse_config(config), self.parts, self._cache)
        self._trainer = self._session.trainer(TrainerOptions())

    def _take(self, frames: Any, flow: Any, valid: Any) -> None:
        self._taken += pixel_digests(frames, flow, valid)

    def _probe(self, epoch: int, step: int, outcome: Any) -> None:
        self._consumed.append(tuple(self._taken))
        self._taken.clear()
        self._checks += [Check(epoch, step, c.before, c.after) for c in outcome.checks]
        self._losses += outcome.losses

    def batches(self, role: Role, epoch: int = 1) -> Sequence[ServedBatch]:
        """Return the batches of a training epoch, or the fixed ones."""
        session = self.session
        if role == "train":
            # One by one, so that what the loader's threads hand to training is held against it.
            count = len(session.provider.order(epoch))
            return [_served(session.provider.batch(epoch, index)) for index in range(count)]
        if role == "recal":
            return [_served(batch) for batch in session.fixed.recal_batches(epoch)]
        return [_served(batch) for batch in session.fixed.eval_batches()]

    def draws(
        self, what: Drawn, seed: int, epoch: int = 1, *,
        samples: int | None = None, frame: tuple[int, int] | None = None,
    ) -> Arrays:  # fmt: skip
        """Return what training draws for a seed and an epoch, by the functions that it draws by."""
        return draws_of(self.session, what, seed, epoch, samples=samples, frame=frame)

    def train(
        self, epochs: int, *, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> Training:
        """Train until `epochs` are completed; without observers nothing is recorded."""
        for kept in (self._checks, self._losses, self._taken, self._consumed):
            kept.clear()
        trainer = self.trainer
        options = TrainerOptions()
        if observe:
            options = TrainerOptions(probe=self._probe, taken=self._take)
        if steps is not None:
            last = trainer.progress.global_step + steps
            stop = partial(_reached, trainer, last)
            options = dataclasses.replace(options, should_stop=stop)
        with tempfile.TemporaryDirectory(prefix="samebits-") as folder:
            # As a run writes it: a record that does not reach the file is no evidence.
            path = Path(folder, "ledger.jsonl")
            with closing(Ledger(path, write=self.parts.write_line)) as ledger:
                if observe:
                    options = dataclasses.replace(options, observers=(ledger,))
                trainer.surround(options, self.session.evaluate if evaluate else None)
                trainer.run(until=epochs)
            records = read_ledger(path).records
        config = self.session.config.train
        return Training(
            planned_sizes=tuple(self.session.provider.planned_sizes),
            batch_size=config.batch_size,
            micro_batch=config.micro_batch,
            position=config.clip_position,
            threshold=config.grad_clip_global_norm,
            steps=tuple(r for r in records if isinstance(r, StepRecord)),
            epochs=tuple(r for r in records if isinstance(r, EpochRecord)),
            checks=tuple(self._checks),
            losses=tuple(self._losses),
            records=records,
            consumed=tuple(self._consumed),
        )

    def evaluate(
        self, archs: Sequence[str] | None = None, *, batches_per_arch: int | None = None
    ) -> Evaluation:
        """Score archs with the present weights."""
        return self._scored(self.trainer.progress.epoch, archs, batches_per_arch)

    def training_samples(self) -> Sequence[TrainingSample]:
        """Return the samples of the first epoch, without training."""
        return [
            TrainingSample(
                frames[..., :3].astype(np.float32), frames[..., 3:].astype(np.float32), flow, valid
            )
            for batch in self.batches("train")
            for frames, flow, valid in zip(batch.frames, batch.flow, batch.valid, strict=True)
        ]

    def evaluate_offline(
        self, path: str, archs: Sequence[str] | None = None, *,
        batches_per_arch: int | None = None, workers: int = 1,
    ) -> Evaluation:  # fmt: skip
        """Score archs of a checkpoint as ``harness eval`` does; each worker has a pool of its own.

        Raises
        ------
        harness.errors.InputError
            If the checkpoint is damaged or absent.
        """
        return evaluate_checkpoint(
            self.session, path, self._scored, archs, batches_per_arch, workers
        )

    def _scored(
        self, epoch: int, archs: Sequence[str] | None, batches_per_arch: int | None
    ) -> Evaluation:
        """Score archs with the weights that the session's model holds."""
        session = self.session
        pool = None if archs is None else tuple(parse_arch(arch) for arch in archs)
        protocol = session.fixed.protocol(epoch, pool=pool)
        if batches_per_arch is not None:
            chosen = protocol.eval_batches[:batches_per_arch]
            protocol = dataclasses.replace(protocol, eval_batches=chosen)
        consumed: dict[str, list[str]] = {}

        def taken(arch: str, batch: Batch) -> None:
            consumed.setdefault(arch, []).extend(
                pixel_digests(batch.frames, batch.flow, batch.valid)
            )

        record, per_sample = session.evaluator.evaluate(
            session.model.weight_tensors(), protocol, taken=taken
        )
        recal = tuple(consumed.pop("", ()))
        return Evaluation(
            record.archs, record.per_arch_epe, {a: tuple(s) for a, s in per_sample.items()},
            record.mean_epe, record.zero_flow_epe, record.eval_batch_hash,
            record.bn_recal_batch_hash, record.stats_digest,
            {arch: tuple(found) for arch, found in consumed.items()}, recal,
        )  # fmt: skip

    def recalibrate(self, arch: str, *, inputs: bool = False) -> Recalibration:
        """Return recalibrated statistics; inputs come from a second, eager pass."""
        session, code = self.session, parse_arch(arch)
        weights = session.model.weight_tensors()
        batches = session.fixed.recal_batches(self.trainer.progress.epoch)
        stats = session.evaluator.recalibrate(weights, code, batches)
        units = active_units(SKELETONS[session.config.model.skeleton], code)
        frames = [batch.frames for batch in batches]
        taps = tapped_inputs(session.evaluator, weights, code, frames) if inputs else {}
        return Recalibration(
            arch, {u: stats[u] for u in units}, {u: taps[u] for u in units if u in taps},
            join_digests(batches),
        )  # fmt: skip

    def predict(self, arch: str, batch: ServedBatch) -> Sequence[NDArray[np.float32]]:
        """Return the three residual outputs with recalibrated statistics."""
        session, code = self.session, parse_arch(arch)
        weights = session.model.weight_tensors()
        batches = session.fixed.recal_batches(self.trainer.progress.epoch)
        stats = session.evaluator.recalibrate(weights, code, batches)
        outputs = session.evaluator.outputs(weights, code, stats, batch.frames)
        return [np.asarray(output) for output in outputs]

    def score(
        self,
        outputs: Sequence[NDArray[np.float32]],
        label: NDArray[np.float32],
        valid: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return the per-sample EPE of given residual outputs."""
        parts = self.session.parts.evaluation
        flow = parts.accumulate_flow([tf.constant(output) for output in outputs])
        return parts.epe(np.asarray(flow), label, valid)

    def state(self, changes: Arrays | None = None) -> Arrays:
        """Return every variable, and the counters as bytes of JSON under ``progress/*``."""
        model, trainer = self.session.model, self.trainer
        if changes:
            model.assign(changes)
        # The last row of the log holds wall-clock times, in which no two runs agree.
        counters = {k: v for k, v in trainer.progress.get_state().items() if k != "row"}
        texts = {f"progress/{k}": json.dumps(v, sort_keys=True) for k, v in counters.items()}
        progress = {k: np.frombuffer(text.encode(), np.uint8) for k, text in texts.items()}
        return {**model.get_state(), **progress}

    def save(self, path: str) -> None:
        """Write a checkpoint."""
        session, folder = self.session, Path(path)
        # A gate asks for any of its checkpoints again, so none may be removed as old.
        CheckpointStore(folder.parent, keep_all=True).save(
            folder.name, self.parts.train.save(session.model), self.trainer.progress.get_state(),
            session.meta(),
        )  # fmt: skip

    def restore(self, path: str) -> None:
        """Continue from a checkpoint, under the training dynamics that it was saved under.

        Raises
        ------
        harness.errors.InputError
            If it is damaged or absent, or the configuration has changed.
        """
        folder, session = Path(path), self.session
        checkpoint = CheckpointStore(folder.parent).load(str(folder))
        refuse_another_plan(checkpoint, session.config, session.data)
        self.continue_from(checkpoint)

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Set variables and counters to those of a loaded checkpoint, whatever its plan was."""
        self.parts.train.restore(self.session.model, checkpoint.arrays)
        self.trainer.progress = Progress.from_state(checkpoint.progress)[0]

    def close(self) -> None:
        """Forget the session; the cache keeps what it compiled."""
        if self._session is not None:
            self._cache.release(self._session.compiled)
        self._session = self._trainer = None


def _reached(trainer: Trainer, step: int) -> bool:
    return trainer.progress.global_step >= step


def _served(batch: Batch) -> ServedBatch:
    return ServedBatch(
        batch.ids, tuple(_corners(window) for window in batch.windows), batch.frames, batch.flow,
        batch.valid, batch.flow_clip, batch.digest,
    )  # fmt: skip


def _corners(window: Window) -> tuple[int, int, int, int]:
    return window.top, window.left, window.height, window.width
