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
from harness.systems.torch.loop import HeldLoop, Iteration
from harness.systems.torch.samples import (
    FlowSample,
    digest,
    known_flow,
    listed,
    read_flo,
    write_chairs,
)
from harness.systems.torch.state import entries, parts_among, slots_of
from harness.systems.torch.training import planned_sizes, step_record, training_of
from harness.systems.torch.watch import Seen, arrays_in, watched

__all__ = ["NotApplicableError", "TorchSystem"]

_CALLS = (
    "describe", "open", "batches", "draws", "train", "evaluate", "recalibrate", "predict",
    "score", "state", "save", "restore", "close",
)  # fmt: skip
_OPENED_BY = {
    "evaluate": "validate", "train": "loop", "predict": "flow", "batches": "read",
    "score": "epe",
}  # fmt: skip
_DECLARED = (
    "version", "heads", "slots", "options", "option_arrays", "supports", "settings", "stride",
    "whole_batches", "epe_epsilon", "known_defects", "initializer",
)  # fmt: skip


class NotApplicableError(Exception):
    """What is asked does not exist here; the promise is then not applicable, in these words."""


def _in_own_place(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method run in the adapter's folder, with its generators, and seen."""

    @functools.wraps(method)
    def placed(self: Any, *args: Any, **options: Any) -> Any:
        with self._placed():
            return method(self, *args, **options)

    return placed


class TorchSystem:
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
    name, version : str
    archs : sequence of str
        Names that an evaluation scores where none are asked.
    threads : int
        Of PyTorch's arithmetic; two make a small net slower on a busy machine.
    paths : sequence of str
        Folders below `root` that are put on ``sys.path``.
    config : dict
        The configuration that it was opened with.
    folder : str
        Working folder of this instance, and the current folder of all that it calls.
    epoch, step : int
        Completed epochs, and steps of the present one.
    parts : dict of str to object
        What holds state: modules, optimizers, schedulers, scalers, generators.
    """

    name = ""
    archs: Sequence[str] = ("net",)
    threads = 1
    paths: Sequence[str] = ()
    supports: Sequence[str] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A protocol call that is written whole, save and restore before all.
        for name in set(_CALLS) & set(vars(cls)) - {"describe", "open"}:
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
        self._generators = Generators.fresh()
        self._loop: HeldLoop | None = None
        self._seen = Seen()
        self._sizes: tuple[int, ...] = ()
        self._inside = False
        self._steps_in_pass = 1  # held before the very first pass too

    # What a subclass writes.

    def setup(self, config: dict[str, Any]) -> None:
        """Get ready under a configuration; what is set on `self` here belongs to the state."""

    def validate(self, samples: list[FlowSample]) -> Any:
        """Return the EPE of the trainer's own validation on samples, px: one number, or one each.

        Of one number the EPE of each sample is what the validation gives for it alone.
        """
        raise NotImplementedError

    def loop(self) -> None:
        """Run the trainer's own training loop, from its start to its end."""
        raise NotImplementedError

    def flow(self, image1: Any, image2: Any) -> Any:
        """Return the predicted flow, (B, 2, H, W), px.

        Parameters
        ----------
        image1, image2 : torch.Tensor
            Shape (B, 3, H, W), float32, RGB from 0 to 255.
        """
        raise NotImplementedError

    def read(self, sample: FlowSample) -> tuple[Any, ...]:
        """Return image1, image2, flow, and where it is known, as the trainer validates on them.

        Shapes (3, H, W), RGB from 0 to 255, twice; (2, H, W), px; and (H, W), which may be left
        out.
        """
        raise NotImplementedError

    def epe(self, flow: Any, label: Any, valid: Any) -> Any:
        """Return the trainer's metric of each sample, (B,), px.

        Parameters
        ----------
        flow, label : torch.Tensor
            Shape (B, 2, H, W), float32, px.
        valid : torch.Tensor
            Shape (B, H, W), bool.
        """
        raise NotImplementedError

    def choose(self, arch: str) -> None:
        """Run this arch from here on; of a net that is no supernet there is but one."""

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
        """Lay samples out as FlyingChairs 1 has them; see :func:`write_chairs`."""
        write_chairs(folder, train, val, split)

    def stepped(self, batches: Iterable[Any]) -> Any:
        """Return what gives these batches, held between steps as a DataLoader of the loop is."""
        return self._held_pass(lambda: iter(batches), None)

    def begin(self) -> None:
        """Start the training loop anew, up to its first batch, as a new process would."""
        self._end_loop()
        self._generators = Generators.fresh()
        self._generators.put()
        self.epoch, self.step, self._seen, self.parts = 0, 0, Seen(), {}
        self._steps_in_pass = 1
        if self._writes("loop"):
            self._loop = HeldLoop(self.loop)
            self._loop.advance()
        self._look_for_parts()

    def variable(self, name: str) -> Any:
        """Return a local variable of the held loop, such as the epoch that it resumes at.

        Raises
        ------
        KeyError
            If the loop has none of that name.
        """
        found = dict(reversed(list(self._loop.variables()))) if self._loop is not None else {}
        if name not in found:
            raise KeyError("the loop has no variable %r, but %s" % (name, ", ".join(found)))
        return found[name]

    # The protocol.

    def describe(self) -> dict[str, Any]:
        """Return what the trainer is, and which calls its adapter can answer."""
        declared = {n: getattr(self, n) for n in _DECLARED if hasattr(type(self), n)}
        if declared.get("slots") == "adam":
            declared["slots"] = slots_of(self.parts)
        always = ("describe", "open", "state", "close")
        opened = [call for call, method in _OPENED_BY.items() if self._writes(method)]
        whole = [call for call in _CALLS if self._writes(call)]
        can = set(always) | set(opened) | set(whole)
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
                self._end_loop()
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder, self.parts = "", {}

    def _end_loop(self) -> None:
        if self._loop is not None:
            self._loop.give_up()
        self._loop = None

    @contextlib.contextmanager
    def _placed(self) -> Iterator[None]:
        """Enter this instance's folder and generators, which leave those of others alone."""
        if self._inside or not self.folder:
            yield
            return
        before, folder, self._inside = Generators.now(), os.getcwd(), True
        os.chdir(self.folder)
        self._generators.put()
        try:
            with watched(lambda: self._seen, self._pass_of, self._mark):
                yield
        finally:
            self._generators, self._inside = Generators.now(), False
            os.chdir(folder)
            before.put()

    # Training.

    def _pass_of(self, loader: Any, begin: Callable[[], Any]) -> Any:
        """Return a pass over a DataLoader; that of a loop, which differentiates, is held."""
        held = self._loop is not None and self._loop.mine and torch.is_grad_enabled()
        return self._held_pass(begin, loader) if held else begin()

    def _mark(self) -> None:
        if self._loop is not None and self._loop.mine:
            self._loop.mark()

    def _held_pass(self, begin: Callable[[], Any], loader: Any) -> Any:
        return Iteration(begin, functools.partial(self._hold, loader), self._note_batch)

    def _hold(self, loader: Any, at_start: bool) -> None:
        """Hold the loop before a pass, and before a batch that follows a step."""
        loop = self._loop
        if loop is None or not loop.mine:
            return
        self._steps_in_pass += self._seen.steps
        if at_start and self._steps_in_pass:
            self._sizes = planned_sizes(loader)
            self._steps_in_pass = 0
            loop.hold(at_start=True)
        elif not at_start and self._seen.steps:
            loop.hold(at_start=False)

    def _note_batch(self, batch: Any) -> None:
        if self._seen.looks:
            self._seen.batches.append(digest(*arrays_in(batch)))

    @_in_own_place
    def train(
        self, epochs: int, evaluate: bool = True, observe: bool = True, steps: int | None = None
    ) -> dict[str, Any]:
        """Let the loop go on until `epochs` are completed, or for so many steps."""
        made: list[dict[str, Any]] = []
        every: list[Seen] = []
        while self.epoch < epochs and (steps is None or len(every) < steps):
            seen, ended = self._advance(observe)
            if seen.steps:
                self.step += 1
                every.append(seen)
                made.append(step_record(seen, self.epoch + 1, self.step, self.archs))
            if ended:
                self.epoch, self.step = self.epoch + 1, 0
                if evaluate and self._writes("validate"):
                    self.evaluate()
        return training_of(made, every, self._sizes, self.config["train"], observe=observe)

    def _advance(self, observe: bool) -> tuple[Seen, bool]:
        """Let the loop make a step, or end an epoch; return what was seen, and whether it ended.

        Raises
        ------
        RuntimeError
            If the loop had ended before.
        """
        loop = self._loop
        if loop is None or loop.ended:
            raise RuntimeError(
                "the training loop ended after %d epochs and %d steps: let it run for longer than "
                "train.num_epochs, %s" % (self.epoch, self.step, self.config["train"]["num_epochs"])
            )
        self._seen = Seen(looks=observe)
        loop.advance()
        seen, self._seen = self._seen, Seen(looks=observe)
        self._look_for_parts()
        return seen, loop.at_start or loop.ended

    def _look_for_parts(self) -> None:
        """Collect what holds state: of this adapter, and of the loop where it is held."""
        own = [(n, v) for n, v in vars(self).items() if n != "parts" and not n.startswith("_")]
        found = list(own)
        if self._loop is not None:
            for name, value in self._loop.variables():
                found.append((name, value))
                if name == "self" and value is not self and hasattr(value, "__dict__"):
                    found.extend(vars(value).items())
        self.parts = parts_among(found)

    # State.

    @_in_own_place
    def state(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Set the named arrays, if any, and return all of them."""
        changes = changes or {}
        found = entries(self.parts)
        for name in changes:
            if name in found:
                found[name].put(changes[name])
        random = "progress/random/"
        drawn = {n[len(random) :]: v for n, v in changes.items() if n.startswith(random)}
        if drawn:
            Generators.now().with_arrays(drawn).put()
        for name in {"progress/epoch", "progress/step"} & set(changes):
            setattr(self, name.rpartition("/")[2], int(changes[name]))
        arrays = {name: entry.get() for name, entry in found.items()}
        arrays.update({random + n: array for n, array in Generators.now().arrays().items()})
        arrays.update({"progress/epoch": np.array(self.epoch), "progress/step": np.array(self.step)})
        return arrays

    # Scores.

    @contextlib.contextmanager
    def _modes_kept(self) -> Iterator[None]:
        """Set modules back to training or not, as the loop had them where it is held."""
        modules = [m for p in self.parts.values() if isinstance(p, torch.nn.Module) for m in p.modules()]
        modes = [(module, module.training) for module in modules]
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    def _eval_samples(self, count: int | None = None) -> list[list[FlowSample]]:
        """Return the samples that an evaluation scores, by batch."""
        evaluation, samples = self.config["eval"], self.samples("val")
        size = int(evaluation["batch_size"] or self.config["train"]["batch_size"])
        batches = [samples[i : i + size] for i in range(0, len(samples), size)]
        asked = count or evaluation["eval_batches_per_arch"]
        return batches if asked == "full" else batches[: int(asked)]

    @_in_own_place
    def evaluate(
        self, archs: Sequence[str] | None = None, batches_per_arch: int | None = None
    ) -> dict[str, Any]:
        """Score archs with the trainer's own validation."""
        samples = [s for batch in self._eval_samples(batches_per_arch) for s in batch]
        scores, reported = {}, []
        for arch in archs or self.archs:
            with self._modes_kept():
                self.choose(arch)
                mean, each = self._validated(samples)
            reported.append(mean)
            scores[arch] = each
        labels = [self._label(sample) for sample in samples]
        zero = [float(np.sqrt((f.astype(np.float64) ** 2).sum(-1))[k].mean()) for f, k in labels]
        return {
            "archs": list(scores), "per_arch_epe": reported, "per_sample": scores,
            "mean_epe": float(np.mean(reported)), "zero_flow_epe": float(np.mean(zero)),
            "eval_batch_hash": digest(*(part for s in samples for part in _content(s))),
        }  # fmt: skip

    def _validated(self, samples: list[FlowSample]) -> tuple[float, list[float]]:
        """Return the mean EPE over samples, and that of each, px."""
        found = self.validate(samples)
        if np.ndim(found):
            each = [float(epe) for epe in found]
            return float(np.mean(each)), each
        return float(found), [float(self.validate([sample])) for sample in samples]

    def _label(self, sample: FlowSample) -> tuple[Any, Any]:
        """Return a sample's flow (H, W, 2) and where it is known: as it is read, or as it lies."""
        if not self._writes("read"):
            return known_flow(read_flo(sample.flow))
        _, _, flow, *valid = self.read(sample)
        return known_flow(_channels_last(flow), *map(_numbers, valid))

    @_in_own_place
    def batches(self, role: str, epoch: int = 1) -> list[dict[str, Any]]:
        """Return the batches of an evaluation, as the trainer reads them."""
        if role != "eval":
            raise NotApplicableError("the adapter serves no batches of %r" % role)
        return [self._served(samples) for samples in self._eval_samples()]

    def _served(self, samples: list[FlowSample]) -> dict[str, Any]:
        read = [self.read(sample) for sample in samples]
        images = [np.concatenate([_bgr(one), _bgr(two)], axis=-1) for one, two, *_ in read]
        labels = [self._label(sample) for sample in samples]
        found = {
            "ids": [sample.id for sample in samples],
            "windows": [(0, 0, *image.shape[:2]) for image in images],
            "frames": np.stack(images), "flow": np.stack([flow for flow, _ in labels]),
            "valid": np.stack([known for _, known in labels]), "flow_clip": None,
        }  # fmt: skip
        return dict(found, digest=digest(*found.values()))

    @_in_own_place
    def predict(self, arch: str, batch: Any) -> list[Any]:
        """Return the flow of a batch, in a list, (B, H, W, 2), px."""
        frames = np.ascontiguousarray(np.asarray(batch.frames).transpose(0, 3, 1, 2)[:, ::-1])
        second, first = torch.as_tensor(frames).float().split(3, dim=1)  # BGR reversed is RGB
        with self._modes_kept(), torch.no_grad():
            self.choose(arch)
            for part in self.parts.values():
                if isinstance(part, torch.nn.Module):
                    part.eval()
            return [_channels_last(self.flow(first, second))]

    @_in_own_place
    def score(self, outputs: Sequence[Any], label: Any, valid: Any) -> Any:
        """Return the trainer's metric of each sample, px."""
        flow, label = (
            torch.as_tensor(np.array(array)[..., :2].transpose(0, 3, 1, 2))
            for array in (outputs[-1], label)
        )
        found = self.epe(flow.float(), label.float(), torch.as_tensor(np.array(valid)))
        return np.asarray(_numbers(found), np.float64).reshape(len(label))


def _content(sample: FlowSample) -> Iterator[Any]:
    """Yield a sample's id, and what its files hold."""
    yield sample.id
    for path in sample[1:]:
        with open(path, "rb") as file:
            yield file.read()


def _numbers(value: Any) -> Any:
    return value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)


def _channels_last(flow: Any) -> Any:
    """Return (..., 2, H, W) as an array (..., H, W, 2)."""
    return np.ascontiguousarray(np.moveaxis(_numbers(flow).astype(np.float32), -3, -1))


def _bgr(image: Any) -> Any:
    """Return an RGB image (3, H, W) as uint8 (H, W, 3), BGR."""
    return np.rint(_channels_last(image)[..., ::-1]).astype(np.uint8)
