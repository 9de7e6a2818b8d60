"""The base class of an adapter: what is the same for every PyTorch trainer."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.systems.torch.generators import Generators
from harness.systems.torch.samples import FlowSample, listed, name_files, write_chairs
from harness.systems.torch.scoring import (
    as_images,
    as_read,
    as_stored,
    channels_first,
    channels_last,
    evaluation,
    modes_kept,
    numbers,
    served,
    validated,
)
from harness.systems.torch.state import entries, parts_among
from harness.systems.torch.stepping import Stepper
from harness.systems.torch.trained import NotApplicableError, samples_of
from harness.systems.torch.training import step_record, training_of
from harness.systems.torch.watch import Seen, watched
from harness.systems.torch.written import OPENED_BY, Written

__all__ = ["NotApplicableError", "TorchSystem"]

_CALLS = (
    "describe", "open", "batches", "draws", "train", "evaluate", "recalibrate", "predict",
    "score", "state", "save", "restore", "close", "training_samples",
)  # fmt: skip
_DECLARED = (
    "version", "heads", "slots", "options", "option_arrays", "supports", "settings", "stride",
    "whole_batches", "epe_epsilon", "known_defects", "initializer", "augmentation", "drop_last",
    "update", "space", "mean", "devices", "finite_by_adapter", "loss", "schedule",
    "statistics_kept", "clip", "frozen",
)  # fmt: skip
_RANDOM = "progress/random/"
_NO_STEP = (
    "the training loop passed over its data and ended without a step of an optimizer of PyTorch's "
    "(torch.optim.Optimizer): a batch may be smaller than what it accumulates"
)


def _in_own_place(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method run in the adapter's folder, with its generators, and seen."""

    @functools.wraps(method)
    def placed(self: Any, *args: Any, **options: Any) -> Any:
        with self._placed():
            return method(self, *args, **options)

    return placed


class TorchSystem(Written):
    """A PyTorch trainer behind the protocol of ``docs/your-trainer.md``; see ``docs/pytorch.md``.

    A subclass writes :meth:`validate`, and what it can of :meth:`setup`, :meth:`loop`,
    ``save(path)``, ``restore(path)``, :meth:`flow`, :meth:`read`, :meth:`epe` and :meth:`choose`;
    what it writes is what is asked of it. Class attributes called like fields of the description
    (``heads``, ``settings``, ...) are declared.

    Parameters
    ----------
    root : str, optional
        Folder of the trainer's code (``--system-root``).

    Attributes
    ----------
    config : dict
        The configuration that it was opened with.
    folder : str
        Working folder of this instance, and the current folder of all that it calls.
    epoch, step : int
        Completed epochs, and steps of the present one.
    parts : dict of str to object
        What holds state, of this object and of the loop's local variables: modules, optimizers,
        schedulers, scalers, generators.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A protocol call that is written whole, save and restore before all.
        for name in set(_CALLS) & set(vars(cls)) - {"describe", "open", "close"}:
            setattr(cls, name, _in_own_place(vars(cls)[name]))

    def __init__(self, root: str = "") -> None:
        self.root = root
        places = [os.path.abspath(os.path.join(root, path)) for path in self.paths]
        sys.path[:0] = [place for place in places if place not in sys.path]
        torch.set_num_threads(self.threads)
        self.config: dict[str, Any] = {}
        self.folder = ""
        self.parts: dict[str, Any] = {}
        self.epoch, self.step = 0, 0
        self._generators = self._fresh = Generators.fresh()
        self._stepper, self._inside = Stepper(), False
        self._links: dict[str, str] = {}

    # What a subclass calls.

    @property
    def seed(self) -> int:
        """The seed that is configured; nothing is seeded with it unless a trainer does."""
        return int(self.config["runtime"]["seed"])

    def samples(self, role: str) -> list[FlowSample]:
        """Return the samples of the ``"train"`` or the ``"val"`` split, sorted by id."""
        data = self.config["data"]
        return listed(os.path.join(data["base_path"], data[role + "_dir"]))

    def chairs(
        self, folder: str, train: Sequence[FlowSample] = (), val: Sequence[FlowSample] = (),
        split: str = "",
    ) -> None:  # fmt: skip
        """Lay samples out as FlyingChairs 1 has them, ``00001_img1.ppm``, and a file of the split.

        An error of the trainer that names such a file names the sample's own then, too.
        """
        self._links.update(write_chairs(folder, train, val, split))

    def stepped(self, batches: Iterable[Any]) -> Any:
        """Return what gives these batches, held between steps as a DataLoader of the loop is."""
        return self._stepper.stepped(batches)

    def begin(self) -> None:
        """Start the training loop anew, up to its first batch, as a new process would."""
        self._stepper.stop()
        self._stepper.seen = Seen()
        self._fresh = Generators.fresh()
        self._fresh.put()
        self.epoch, self.step, self.parts = 0, 0, {}
        if self._writes("loop"):
            self._stepper.start(self.loop)
        self._look_for_parts()

    def variable(self, name: str) -> Any:
        """Return a local variable of the loop, such as the epoch that it resumes at.

        Raises
        ------
        KeyError
            If the loop has none of that name.
        """
        found: dict[str, Any] = {}
        for key, value in self._stepper.variables():
            found.setdefault(key, value)
        if name not in found:
            raise KeyError("the loop has no variable %r, but %s" % (name, ", ".join(found)))
        return found[name]

    # The protocol.

    def describe(self) -> dict[str, Any]:
        """Return what the trainer is, and which calls its adapter can answer."""
        declared = {n: getattr(self, n) for n in _DECLARED if hasattr(type(self), n)}
        # A method of that name, such as loss(), is the trainer's own.
        declared = {n: value for n, value in declared.items() if not callable(value)}
        if self._writes("loop"):  # it is held behind each step
            declared["supports"] = sorted({*self.supports, "stops"})
        opened = {call for call, method in OPENED_BY.items() if self._writes(method)}
        can = {"describe", "open", "state", "close"} | opened
        can |= {call for call in _CALLS if self._writes(call)}
        return dict(declared, name=self.name or type(self).__name__, can=sorted(can))

    def _writes(self, method: str) -> bool:
        """Say whether the subclass has a method of its own."""
        own = getattr(type(self), method, None)
        return own is not None and own is not getattr(TorchSystem, method, None)

    def open(self, config: dict[str, Any]) -> None:
        """Get ready to train from step 0, in a new folder."""
        self.close()
        self.config = config
        self.folder = tempfile.mkdtemp(prefix="torch-system-")
        self._generators = Generators.fresh()
        with self._placed():
            self.setup(config)
            self.begin()

    def close(self) -> None:
        """End the loop, and take the folder away."""
        if self.folder:
            with self._placed():
                self._stepper.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder, self.parts = "", {}

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        """Enter this instance's folder and generators, which leave those of others alone."""
        if self._inside or not self.folder:
            yield
            return
        before, folder, self._inside = Generators.now(), os.getcwd(), True
        os.chdir(self.folder)
        self._generators.put()
        stepper = self._stepper
        self._look_for_parts()  # a method may have put another object in the place of one
        try:
            with watched(lambda: stepper.seen, stepper.pass_of, stepper.mark, lambda: self.parts):
                yield
        except Exception as error:
            name_files(error, self._links)
            raise
        finally:
            self._generators, self._inside = Generators.now(), False
            os.chdir(folder)
            before.put()

    @_in_own_place
    def train(
        self, epochs: int, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> dict[str, Any]:
        """Let the loop go on until `epochs` are completed, or for so many steps.

        Raises
        ------
        RuntimeError
            If it ended before.
        """
        made: list[dict[str, Any]] = []
        every: list[Seen] = []
        self._stepper.resumed(self.step)
        while self.epoch < epochs and (steps is None or len(every) < steps):
            if not self._stepper.running:
                raise RuntimeError(
                    "the training loop ended after %d epochs and %d steps, %d epochs are asked for"
                    % (self.epoch, self.step, epochs)
                )
            seen, ended = self._stepper.advance(observe=observe)
            self._look_for_parts()
            if seen.steps:
                self.step += 1
                every.append(seen)
                made.append(step_record(seen, self.epoch + 1, self.step, self.trained_archs()))
            if ended and not self.step:
                raise RuntimeError(_NO_STEP)
            if ended:
                self.epoch, self.step = self.epoch + 1, 0
                if evaluate and self._writes("validate"):
                    self.evaluate()
        given = self._stepper.sizes, self.config["train"]
        return training_of(made, every, *given) if observe else {}

    def _look_for_parts(self) -> None:
        """Collect what holds state: of this adapter, and of the loop."""
        found = [(n, v) for n, v in vars(self).items() if n != "parts" and not n.startswith("_")]
        for name, value in self._stepper.variables():
            found.append((name, value))
            if name == "self" and value is not self and hasattr(value, "__dict__"):
                found.extend(vars(value).items())
        # An optimizer's own __init__ calls it self; the loop has another name for it.
        self.parts = parts_among(sorted(found, key=lambda item: item[0] == "self"))

    @_in_own_place
    def training_samples(self) -> list[dict[str, Any]]:
        """Train an epoch on, and return each sample that a DataLoader gave to it."""
        found: list[dict[str, Any]] = []
        self._stepper.taken = lambda batch: found.extend(samples_of(self.trained_on(batch)))
        try:
            self.train(self.epoch + 1, evaluate=False, observe=False)
        finally:
            self._stepper.taken = None
        return found

    @_in_own_place
    def state(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Set the named arrays, if any, and return all of them."""
        changes = changes or {}
        found = entries(self.parts)
        for name in changes:
            if name in found:
                found[name].put(changes[name])
        drawn = {n[len(_RANDOM) :]: v for n, v in changes.items() if n.startswith(_RANDOM)}
        if drawn:
            Generators.now().with_arrays(drawn).put()
        for name in {"progress/epoch", "progress/step"} & set(changes):
            setattr(self, name.rpartition("/")[2], int(changes[name]))
        arrays = {name: entry.get() for name, entry in entries(self.parts).items()}
        generators = Generators.now().arrays(self._fresh)
        arrays.update({_RANDOM + name: array for name, array in generators.items()})
        counted = {"progress/epoch": self.epoch, "progress/step": self.step}
        return dict(arrays, **{name: np.array(count) for name, count in counted.items()})

    # Scores.

    def _scored(self, count: int | None = None) -> list[list[FlowSample]]:
        """Return the samples that an evaluation scores, by batch."""
        given, samples = self.config["eval"], self.samples("val")
        size = int(given["batch_size"] or self.config["train"]["batch_size"])
        batches = [samples[i : i + size] for i in range(0, len(samples), size)]
        asked = count or given["eval_batches_per_arch"]
        return batches if asked == "full" else batches[: int(asked)]

    @_in_own_place
    def evaluate(
        self, archs: Sequence[str] | None = None, batches_per_arch: int | None = None
    ) -> dict[str, Any]:
        """Score archs with the trainer's own validation."""
        samples = [sample for batch in self._scored(batches_per_arch) for sample in batch]
        scores = {}
        for arch in archs or self.archs:
            with modes_kept(self.parts.values()):
                self.choose(arch)
                scores[arch] = validated(self.validate, samples)
        reads = self._writes("read")
        return evaluation(
            scores, samples, lambda s: as_read(self.read(s)) if reads else as_stored(s),
            pixels=getattr(self, "mean", "") == "pixels",
        )  # fmt: skip

    @_in_own_place
    def batches(self, role: str, epoch: int = 1) -> list[dict[str, Any]]:
        """Return the batches of an evaluation, as the trainer reads them."""
        del epoch  # of training alone
        if role != "eval":
            raise NotApplicableError("the adapter serves no batches of %r" % role)
        return [served(batch, [self.read(sample) for sample in batch]) for batch in self._scored()]

    @_in_own_place
    def predict(self, arch: str, batch: Any) -> list[Any]:
        """Return the flow of a batch, in a list, (B, H, W, 2), px."""
        with modes_kept(self.parts.values()) as modules, torch.no_grad():
            self.choose(arch)
            for module in modules:
                module.eval()
            return [channels_last(self.flow(*as_images(batch.frames)))]

    @_in_own_place
    def score(self, outputs: Sequence[Any], label: Any, valid: Any) -> Any:
        """Return the trainer's metric of each sample, px."""
        flow = channels_first(np.asarray(outputs[-1])[..., :2]).float()
        known = torch.as_tensor(np.array(valid))
        found = self.epe(flow, channels_first(label).float(), known)
        return np.asarray(numbers(found), np.float64).reshape(len(known))
