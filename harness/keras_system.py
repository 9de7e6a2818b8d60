"""A Keras model with ``fit`` behind the protocol: what is the same for all of them is here.

It needs Keras 3 on TensorFlow, and NumPy, and nothing else of the harness. ``harness init-adapter
--tensorflow adapter.py`` writes an adapter that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from harness.systems.keras_fit.described import description, is_written
from harness.systems.keras_fit.generators import Generators
from harness.systems.keras_fit.given import Asked, batches_of, digest, samples_of, tell, zero_epe
from harness.systems.keras_fit.noted import Noted, borders_told
from harness.systems.keras_fit.variables import (
    average_kept_aside,
    named_variables,
    naming_what_is_not_finite,
    not_finite,
    scope_of,
    value_of,
)

__all__ = ["KerasSystem", "NotApplicableError"]

_UNWRITTEN = "an adapter of KerasSystem has to write %s(): it is the trainer's own"


class NotApplicableError(Exception):
    """What is asked for does not apply to this trainer; its text is the reason."""


class KerasSystem:
    """An adapter of a compiled Keras model; a subclass says what is its own.

    Attributes
    ----------
    name, version, heads, slots, options, option_arrays, settings, stride, whole_batches
        Of the description, as are ``update``, ``space``, ``mean``, ``devices``,
        ``finite_by_adapter``, ``loss``, ``schedule``, ``statistics_kept``, ``clip`` and
        ``frozen`` where a subclass has them. ``heads`` names kernels as :meth:`variables` does.
    slot_kinds : sequence of str
        Of slots, as Keras ends their names, where ``slots`` does not name them: of Adam
        ``("momentum", "velocity")``. Its epsilon is then 1e-7 if ``update`` says nothing.
    supports : sequence of str
        ``("steps",)``; ``()`` of a trainer that goes on at an epoch's begin alone.
    archs : tuple of str
        What is scored when no archs are asked for.
    metric : str
        Name of the compiled metric that is the EPE, px.
    logged_loss : str
        Which of the logs of ``fit`` the loss is.
    model : keras.Model
        Set by :meth:`setup`: built and compiled.
    config : mapping
        Configuration tree.
    epoch, step : int
        Completed epochs, and steps of the next one; :meth:`restore` sets them.
    """

    name = "keras"
    version = ""
    heads: Mapping[str, Sequence[str]] = {}
    slots: Mapping[str, Sequence[str]] = {}
    options: Sequence[Any] = ()
    option_arrays: Sequence[Any] = ()
    settings: Mapping[str, Any] = {}
    stride = 1
    whole_batches = False
    slot_kinds: Sequence[str] = ()
    supports: Sequence[str] = ("steps",)
    archs: tuple[str, ...] = ("net",)
    metric = "epe"
    logged_loss = "loss"

    def __init__(self, root: str = "") -> None:
        self.root, self.epoch, self.step = root, 0, 0
        self.config: Mapping[str, Any] = {}
        self.model: Any = None
        self._generators, self._borders = Generators(), (True, True)
        self._begun: list[Any] = []  # callbacks, which may be kept from fit to fit
        self._given: tuple[tuple[int, int], Any, list[Any]] | None = None
        generators = {"save": self._generators.own, "restore": self._generators.restored}
        for name in generators:
            if is_written(self, KerasSystem, name):
                vars(self)[name] = self._within(getattr(self, name), generators[name])

    # ---- yours

    def setup(self, config: Mapping[str, Any]) -> None:
        """Seed everything, then set ``self.model``, built and compiled."""
        raise NotImplementedError(_UNWRITTEN % "setup")

    def training(self, epoch: int) -> Iterable[Sequence[Any]]:
        """Return the batches (x, y) or (x, y, weight) of an epoch from 1, as ``fit`` gets them."""
        raise NotImplementedError(_UNWRITTEN % "training")

    def validation(self) -> Iterable[Sequence[Any]]:
        """Return the batches of validation, always the same ones."""
        raise NotImplementedError(_UNWRITTEN % "validation")

    def label(self, y: Any) -> tuple[Any, Any]:
        """Return flow (B, H, W, 2), px, and where it is known (B, H, W), of a label."""
        y = np.asarray(y)
        known = y[..., 2] > 0 if y.shape[-1] > 2 else np.ones(y.shape[:-1], bool)
        return y[..., :2], known

    def fit(self, data: Iterable[Any], **how: Any) -> None:
        """Train; what else ``fit`` takes, such as callbacks of your own, is added here."""
        # The last one sees the rate that the others have set.
        how["callbacks"] = sorted(how["callbacks"], key=lambda one: isinstance(one, Noted))
        begins, ends = self._borders
        with borders_told(how["callbacks"], begins=begins, ends=ends, begun=self._begun):
            self.model.fit(data, **how)

    def validate(self, x: Any, y: Any, *weight: Any) -> float:
        """Return the EPE of a batch, px, by the model's own metric."""
        self.model.reset_metrics()
        # test_on_batch gives a weight that nobody gave, which a test_step may not expect.
        if type(self.model).test_step is keras.Model.test_step:
            found = self.model.test_on_batch(x, y, *weight, return_dict=True)
        else:
            found = self.model.evaluate(Asked([(x, y, *weight)]), verbose=0, return_dict=True)
        if self.metric not in found:
            msg = f"the model scores {sorted(found)}, and no {self.metric!r}: name it in metric"
            raise ValueError(msg)
        return float(found[self.metric])

    def trained_archs(self) -> Sequence[str]:
        """Return the archs that the step just made has trained, in order; asked behind each step.

        Without a method of yours they are ``archs``, of a supernet (``options``, ``space``) none:
        which of them a step draws is not told.
        """
        return () if self.options or getattr(self, "space", None) else self.archs

    def choose(self, arch: str) -> None:
        """Run this arch from here on; a net without archs has one."""

    # ---- the protocol

    def describe(self) -> dict[str, Any]:
        """Return what the subclass says of itself, and the calls that it has written."""
        return description(self, KerasSystem)

    def open(self, config: Mapping[str, Any]) -> None:
        """Build the model anew, with the names that it has in a process of its own."""
        keras.backend.clear_session(free_memory=False)
        self.config, self.epoch, self.step, self._given, self._begun = config, 0, 0, None, []
        with self._generators.own():
            self.setup(config)
            self._one_at_a_time()
            with scope_of(self.model):
                self.model.optimizer.build(self.model.trainable_variables)

    def _one_at_a_time(self) -> None:
        """Let each step be one call: what several at once do is not seen."""
        self.model.steps_per_execution = 1

    def close(self) -> None:
        """Let go of the model."""
        self.model = None

    def evaluate(
        self, archs: Sequence[str] | None = None, batches_per_arch: int | None = None
    ) -> dict[str, Any]:
        """Score each validation sample alone by the model's own metric."""
        with self._generators.own():
            data = self.validation()
            tell(data, "on_epoch_begin")
            batches = batches_of(data, "validation()")[:batches_per_arch]
            samples = [one for batch in batches for one in samples_of(batch)]
            labels = [self.label(sample[1]) for sample in samples]
            zero, pixels = [zero_epe(*one) for one in labels], [int(k.sum()) for _, k in labels]
            scores = {}
            for arch in archs or self.archs:
                self.choose(arch)
                scores[arch] = [self.validate(*sample) for sample in samples]
            tell(data, "on_epoch_end")
        weights = pixels if getattr(self, "mean", "") == "pixels" else None
        means = [float(np.average(epes, weights=weights)) for epes in scores.values()]
        return {
            "archs": list(scores), "per_arch_epe": means, "per_sample": scores,
            "mean_epe": float(np.mean(means)),
            "zero_flow_epe": float(np.average(zero, weights=weights)),
            "eval_batch_hash": digest(batches), "pixels": weights or [],
        }  # fmt: skip

    def train(
        self, epochs: int, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> dict[str, Any]:
        """Call ``fit`` epoch by epoch, each with the batches of it that are left."""
        del observe
        made: list[dict[str, Any]] = []
        while self.epoch < epochs and (steps is None or len(made) < steps):
            with self._generators.own():
                every = self._epoch()
                left = None if steps is None else self.step + steps - len(made)
                asked = every[self.step : left]
                self._borders = self.step == 0, self.step + len(asked) == len(every)
                made += self._stretch(asked)
                if self.step == len(every):
                    self._end_epoch()
            if self.step == 0 and evaluate:
                self.evaluate()
        return {"steps": made, "losses": [step["loss"] for step in made]}

    def _epoch(self) -> list[Any]:
        """Return the batches of the epoch that is under way, drawn once."""
        if self._given is None or self._given[0] != (self.epoch, self.step):
            data = self.training(self.epoch + 1)
            if self.step == 0:
                tell(data, "on_epoch_begin")
            self._given = (self.epoch, self.step), data, batches_of(data, "training()")
        return self._given[2]

    def _stretch(self, asked: list[Any]) -> list[dict[str, Any]]:
        """Call ``fit`` with batches of one epoch, and return the records of its steps."""
        if not asked:
            msg = f"training({self.epoch + 1}) gives no batch"
            raise ValueError(msg)
        place = self.epoch, self.step
        noted = Noted(place, self.trained_archs, list(map(digest, asked)), self.logged_loss)
        planned = int(self.config["train"].get("num_epochs") or 0)
        with average_kept_aside(self.model.optimizer), naming_what_is_not_finite(self.model):
            self.fit(
                Asked(asked), steps_per_epoch=len(asked),
                initial_epoch=self.epoch, epochs=max(planned, self.epoch + 1), callbacks=[noted],
                verbose=0, shuffle=False,
            )  # fmt: skip
            ended = noted.ended and not_finite(self.model)  # behind the last of them
            if ended or len(noted.steps) < len(asked):
                msg = f"fit stopped behind {len(noted.steps)} of {len(asked)} batches"
                raise RuntimeError(f"{msg} (model.stop_training)")
        self.step += len(asked)
        if self._given:  # goes on here, and nowhere else
            self._given = (self.epoch, self.step), *self._given[1:]
        return noted.steps

    def _end_epoch(self) -> None:
        data = self._given[1] if self._given else None
        self.epoch, self.step, self._given = self.epoch + 1, 0, None
        tell(data, "on_epoch_end")

    def state(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return weights, statistics and slots by their paths, counters and generators beside."""
        found = {}
        for name, variable in self.variables():
            if changes is not None and name in changes:
                variable.assign(changes[name])
            found[name] = value_of(variable)
        for name, held in self._generators.arrays().items():
            found[f"progress/{name}"] = held
        return {**found, "progress/epoch_and_step": np.array([self.epoch, self.step])}

    def variables(self) -> Iterator[tuple[str, Any]]:
        """Yield the name in :meth:`state` and the variable of all of model and optimizer."""
        return named_variables(self.model)

    def batches(self, role: str, epoch: int = 1) -> list[dict[str, Any]]:
        """Return what ``serve`` says of each batch that training or validation is given."""
        if role == "recal":
            return []
        serve: Callable[[str, int], Iterable[Mapping[str, Any]]] = getattr(self, "serve")  # noqa: B009
        with self._generators.own(moved=False):
            given = (
                batches_of(self.training(epoch), "training()") if role == "train"
                else batches_of(self.validation(), "validation()")
            )  # fmt: skip
            told = list(serve(role, epoch))
        if len(given) != len(told):
            msg = f"serve({role!r}) tells of {len(told)} batches, {len(given)} are given"
            raise ValueError(msg)
        return [
            {"flow_clip": None, **one, "digest": digest(given[place])}
            for place, one in enumerate(told)
        ]

    def predict(self, arch: str, batch: Any) -> list[Any]:
        """Return the flow that the model predicts for frames that were served, px."""
        self.choose(arch)
        outputs = self.model.predict_on_batch(getattr(self, "inputs")(batch.frames))  # noqa: B009
        return [np.asarray(getattr(self, "flow")(outputs), np.float32)]  # noqa: B009

    def score(self, outputs: Sequence[Any], label: Any, valid: Any) -> Any:
        """Return the EPE per sample, px, by the metric that the subclass has written."""
        found = getattr(self, "epe")(outputs[-1][..., :2], label, valid)  # noqa: B009
        return np.asarray(found, np.float64)

    def _within(self, call: Any, generators: Any) -> Callable[[str], Any]:
        """Return a call that sees this trainer's own generators, as training does."""

        def within(path: str) -> Any:
            if call.__name__ == "restore":
                self._given, self._begun = None, []  # another run's
            with generators():
                said = call(path)
            self._one_at_a_time()  # also a model that it has loaded
            return said

        return within
