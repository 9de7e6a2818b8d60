"""A Keras model with ``fit`` behind the protocol: what is the same for all of them is here.

It needs Keras 3 on TensorFlow, and NumPy, and nothing else of the harness. ``harness init-adapter
--tensorflow adapter.py`` writes an adapter that is made of it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

__all__ = ["KerasSystem", "NotApplicableError"]

_DECLARED = (
    "update", "space", "mean", "devices", "finite_by_adapter", "loss", "schedule",
    "statistics_kept", "clip", "frozen",
)  # fmt: skip
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
        ``frozen`` where a subclass has them. ``heads`` names kernels as ``variable.path`` has them.
    archs : tuple of str
        What is scored when no archs are asked for.
    metric : str
        Name of the compiled metric that is the EPE, px.
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
    archs: tuple[str, ...] = ("net",)
    metric = "epe"

    def __init__(self, root: str = "") -> None:
        self.root, self.epoch, self.step = root, 0, 0
        self.config: Mapping[str, Any] = {}
        self.model: Any = None
        self._generators: Any = None

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
        self.model.fit(data, **how)

    def validate(self, x: Any, y: Any, *weight: Any) -> float:
        """Return the EPE of a batch, px, by the model's own metric."""
        self.model.reset_metrics()
        found = self.model.test_on_batch(x, y, *weight, return_dict=True)
        return float(found[self.metric])

    def choose(self, arch: str) -> None:
        """Run this arch from here on; a net without archs has one."""

    # ---- the protocol

    def describe(self) -> dict[str, Any]:
        """Return what the subclass says of itself, and the calls that it has written."""
        offers = {
            "train": ("training",), "save": ("save",), "restore": ("restore",),
            "batches": ("serve",), "predict": ("inputs", "flow"), "score": ("epe",),
        }  # fmt: skip
        can = [call for call, names in offers.items() if all(map(self._has, names))]
        fields = ("name", "version", "heads", "slots", "options", "option_arrays", "settings",
                  "stride", "whole_batches")  # fmt: skip
        return {
            "can": ["describe", "open", "evaluate", "state", "close", *can],
            "supports": ["steps"],
            **{field: getattr(self, field) for field in fields},
            # A method of that name, such as loss(), is the trainer's own.
            **{name: value for name in _DECLARED if (value := getattr(self, name, None)) is not None
               and not callable(value)},
        }  # fmt: skip

    def _has(self, name: str) -> bool:
        """Say whether the subclass has written a method."""
        own = getattr(type(self), name, None)
        return own is not None and own is not getattr(KerasSystem, name, None)

    def open(self, config: Mapping[str, Any]) -> None:
        """Build the model anew, with the names that it has in a process of its own."""
        keras.backend.clear_session(free_memory=False)
        self.config, self.epoch, self.step = config, 0, 0
        with self._own_generators():
            self.setup(config)
            self.model.optimizer.build(self.model.trainable_variables)

    def close(self) -> None:
        """Let go of the model."""
        self.model = None

    def evaluate(
        self, archs: Sequence[str] | None = None, batches_per_arch: int | None = None
    ) -> dict[str, Any]:
        """Score each validation sample alone by the model's own metric."""
        with self._own_generators():
            batches = _batches(self.validation())[:batches_per_arch]
            samples = [one for batch in batches for one in _samples(batch)]
            labels = [self.label(sample[1]) for sample in samples]
            zero, pixels = [_zero_epe(*one) for one in labels], [int(k.sum()) for _, k in labels]
            scores = {}
            for arch in archs or self.archs:
                self.choose(arch)
                scores[arch] = [self.validate(*sample) for sample in samples]
        weights = pixels if getattr(self, "mean", "") == "pixels" else None
        means = [float(np.average(epes, weights=weights)) for epes in scores.values()]
        return {
            "archs": list(scores), "per_arch_epe": means, "per_sample": scores,
            "mean_epe": float(np.mean(means)),
            "zero_flow_epe": float(np.average(zero, weights=weights)),
            "eval_batch_hash": _digest(batches), "pixels": weights or [],
        }  # fmt: skip

    def train(
        self, epochs: int, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> dict[str, Any]:
        """Call ``fit`` epoch by epoch, each with the batches of it that are left."""
        del observe
        made: list[dict[str, Any]] = []
        while self.epoch < epochs and (steps is None or len(made) < steps):
            with self._own_generators():
                every = _batches(self.training(self.epoch + 1))
                left = None if steps is None else self.step + steps - len(made)
                asked = every[self.step : left]
                noted = _Noted(self, made, [_digest(batch) for batch in asked])
                self.fit(
                    (batch for batch in asked), steps_per_epoch=len(asked),
                    initial_epoch=self.epoch, epochs=self.epoch + 1, callbacks=[noted],
                    verbose=0, shuffle=False,
                )  # fmt: skip
            self.step += len(asked)
            if self.step == len(every):
                self.epoch, self.step = self.epoch + 1, 0
                if evaluate:
                    self.evaluate()
        return {"steps": made, "losses": [step["loss"] for step in made]}

    def state(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return weights, statistics and slots by their paths, counters and generators beside."""
        found = {}
        for name, variable in self._variables():
            if changes is not None and name in changes:
                variable.assign(changes[name])
            found[name] = np.asarray(variable)
        with self._own_generators():
            python, numpy = repr(random.getstate()), repr(np.random.get_state())  # noqa: NPY002
        for name, text in (("python", python), ("numpy", numpy)):
            found[f"progress/{name}"] = np.frombuffer(text.encode(), np.uint8)
        return {**found, "progress/epoch_and_step": np.array([self.epoch, self.step])}

    def _variables(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the variable of everything that the model and its optimizer keep."""
        metrics = {id(variable) for variable in self.model.metrics_variables}
        own = [v for v in self.model.variables if id(v) not in metrics]
        seen = set[int]()
        for variable in (*own, *self.model.optimizer.variables):
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            counter = not str(variable.dtype).startswith(("float", "bfloat"))
            rate = variable.path.endswith("learning_rate")
            yield f"{'progress/' * (counter or rate)}{variable.path}", variable

    def batches(self, role: str, epoch: int = 1) -> list[dict[str, Any]]:
        """Return what ``serve`` says of each batch that training or validation is given."""
        if role == "recal":
            return []
        serve: Callable[[str, int], Iterable[Mapping[str, Any]]] = getattr(self, "serve")  # noqa: B009
        with self._own_generators():
            given = _batches(self.training(epoch) if role == "train" else self.validation())
            told = list(serve(role, epoch))
        if len(given) != len(told):
            msg = f"serve({role!r}) tells of {len(told)} batches, {len(given)} are given"
            raise ValueError(msg)
        return [
            {"flow_clip": None, **one, "digest": _digest(given[place])}
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

    @contextmanager
    def _own_generators(self) -> Iterator[None]:
        """Let Python's and NumPy's global generators be this instance's own for a while."""
        before = random.getstate(), np.random.get_state()  # noqa: NPY002
        if self._generators is not None:
            random.setstate(self._generators[0])
            np.random.set_state(self._generators[1])  # noqa: NPY002
        try:
            yield
        finally:
            self._generators = random.getstate(), np.random.get_state()  # noqa: NPY002
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


class _Noted(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes each step with its own loss: Keras would say the mean since the epoch began."""

    def __init__(self, system: KerasSystem, made: list[dict[str, Any]], digests: list[str]) -> None:
        super().__init__()
        self._system, self._made, self._digests = system, made, digests
        self._rate = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.model.reset_metrics()
        self._rate = float(np.asarray(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        system = self._system
        self._made.append({
            "epoch": system.epoch + 1, "step": system.step + batch + 1,
            "archs": list(system.archs), "batch": self._digests[batch], "lr": self._rate,
            "loss": float(logs["loss"]), "checks": 0, "clipped": 0, "norm": 0.0,
        })  # fmt: skip


def _batches(data: Any) -> list[tuple[Any, ...]]:
    """Return every batch of a data set: of a list, a ``PyDataset``, or what is iterated."""
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return [tuple(data[place]) for place in range(len(data))]
    return [tuple(batch) for batch in data]


def _samples(batch: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the samples of a batch, each as a batch of one; x may be several arrays."""
    size = len(keras.tree.flatten(batch)[0])
    return [
        tuple(keras.tree.map_structure(lambda a, i=i: np.asarray(a)[i : i + 1], part)
              for part in batch)
        for i in range(size)
    ]  # fmt: skip


def _zero_epe(flow: Any, known: Any) -> float:
    """Return the mean length of the known flow, px: the EPE of the all-zero one."""
    return float(np.sqrt((np.asarray(flow, np.float64) ** 2).sum(axis=-1))[known].mean())


def _digest(batch: Any) -> str:
    made = hashlib.blake2b(digest_size=16)
    for array in keras.tree.flatten(batch):
        found = np.ascontiguousarray(array)
        made.update(f"{found.dtype}{found.shape}".encode() + found.tobytes())
    return made.hexdigest()
