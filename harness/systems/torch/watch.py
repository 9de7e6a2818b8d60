"""What a training loop does, seen from outside: batches, losses, clip checks, rates."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils import clip_grad

from harness.systems.torch.places import staying
from harness.systems.torch.state import array_of

__all__ = ["Seen", "arrays_in", "samples_in", "watched"]

if not hasattr(clip_grad, "_clip_grads_with_norm_"):
    raise ImportError("expected PyTorch 2.6 or newer, found %s" % torch.__version__)


@dataclass
class Seen:
    """What was seen since the loop was held last.

    Attributes
    ----------
    batches : list of str
        Digests of the batches that were taken.
    samples : list of str
        Digests of their samples.
    losses : list of float
        Every loss that was differentiated.
    clips : list of (float, float, float)
        Global norm before a clip check, norm of what is applied, and threshold.
    rate : float
        Learning rate of the last step.
    modes : dict of str to bool
        Whether each module was in training mode, of those whose weights the last step moved.
    steps : int
        Steps of an optimizer, those included that a GradScaler left out.
    applied : set of int
        Identities of the weights whose gradients a step has applied, and no backward pass has
        made anew since.
    looks : bool
        Whether more is noted than steps.
    held : bool
        Whether there is a place at which a loop that makes a step is held.
    """

    looks: bool = True
    held: bool = True
    batches: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    clips: list[tuple[float, float, float]] = field(default_factory=list)
    rate: float = 0.0
    modes: dict[str, bool] = field(default_factory=dict)
    steps: int = 0
    applied: set[int] = field(default_factory=set)


@contextlib.contextmanager
def watched(
    see: Callable[[], Seen],
    loader: Callable[[Any, Callable[[], Any]], Any],
    mark: Callable[..., None],
    parts: Callable[[], dict[str, Any]] = dict,
) -> Iterator[None]:
    """Watch what is done in a ``with`` block, and let code for a GPU run where there is none.

    Parameters
    ----------
    see : callable
        Returns where to note what is seen.
    loader : callable
        Gets a DataLoader and what begins a pass over it, and returns what gives its batches.
    mark : callable
        Called by whoever makes an optimizer or a DataLoader; `optimizer` says which.
    parts : callable, optional
        Returns what holds state, by name: the modules of which the mode is noted.
    """
    with contextlib.ExitStack() as undo:
        put = _Putter(undo)
        begin = torch.utils.data.DataLoader.__iter__
        put(
            torch.utils.data.DataLoader, "__iter__",
            lambda self: loader(self, lambda: begin(self)),
        )  # fmt: skip
        for made in (torch.utils.data.DataLoader, torch.optim.Optimizer):
            here = functools.partial(mark, optimizer=made is torch.optim.Optimizer)
            put(made, "__init__", _marked(made.__init__, here))
        put(threading.Thread, "start", staying(threading.Thread.start))
        if not torch.cuda.is_available():
            # Trainers call .cuda() unasked; where there is no GPU, all there is lies on the CPU.
            put(torch.Tensor, "cuda", lambda self, *_, **__: self)
            put(torch.nn.Module, "cuda", lambda self, *_, **__: self)
        _watch_losses(put, see)
        _watch_clips(put, see)
        _watch_steps(undo, put, see, parts)
        yield


def _marked(make: Callable[..., None], mark: Callable[[], None]) -> Callable[..., None]:
    @functools.wraps(make)
    def marked(*args: Any, **options: Any) -> None:
        mark()
        make(*args, **options)

    return marked


_NOT_HELD = (
    "the training loop makes a step before it asks a DataLoader for a batch, with gradients "
    "enabled: let it iterate over self.stepped(batches), where batches are what it iterates over"
)


class _Putter:
    """Sets attributes, and sets them back when a stack of exits unwinds."""

    def __init__(self, undo: contextlib.ExitStack) -> None:
        self._undo = undo

    def __call__(self, holder: Any, name: str, value: Any) -> None:
        before = getattr(holder, name)
        own = name in vars(holder)
        setattr(holder, name, value)
        self._undo.callback(setattr, holder, name, before) if own else self._undo.callback(
            delattr, holder, name
        )

    def within(self, function: Any, value: Any) -> None:
        """Set what a decorated function calls, whatever name it was imported under."""
        inner = function.__wrapped__
        (cell,) = (c for c in function.__closure__ if c.cell_contents is inner)
        self._undo.callback(setattr, cell, "cell_contents", inner)
        cell.cell_contents = value


def _watch_losses(put: _Putter, see: Callable[[], Seen]) -> None:
    scaled: dict[int, Any] = {}
    backward, scaler = torch.Tensor.backward, torch.amp.GradScaler
    scale, differentiate = scaler.scale, torch.autograd.backward

    def scale_and_keep(self: Any, outputs: Any) -> Any:
        found = scale(self, outputs)
        if torch.is_tensor(found) and found is not outputs:
            scaled[id(found)] = outputs
        return found

    def backward_and_note(self: Any, *args: Any, **options: Any) -> None:
        seen, loss = see(), scaled.pop(id(self), self)
        if seen.looks and loss.numel() == 1:
            seen.losses.append(float(loss.detach()))
        backward(self, *args, **options)

    def differentiate_and_note(*args: Any, **options: Any) -> None:
        see().applied.clear()
        differentiate(*args, **options)

    put(scaler, "scale", scale_and_keep)
    put(torch.autograd, "backward", differentiate_and_note)
    put(torch.Tensor, "backward", backward_and_note)


def _watch_clips(put: _Putter, see: Callable[[], Seen]) -> None:
    """Note what clips by global norm: whatever name a function was imported under calls these."""
    both = clip_grad._get_total_norm, clip_grad._clip_grads_with_norm_
    measure, scale = (function.__wrapped__ for function in both)
    kinds: list[Any] = []

    def measure_and_keep(tensors: Any, norm_type: Any = 2.0, *args: Any, **options: Any) -> Any:
        kinds[:] = [norm_type]
        return measure(tensors, norm_type, *args, **options)

    def scale_and_note(
        parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **options: Any
    ) -> None:
        given = [parameters] if torch.is_tensor(parameters) else list(parameters)
        scale(given, max_norm, total_norm, *args, **options)
        seen = see()
        if seen.looks:
            clipped = [parameter for parameter in given if parameter.grad is not None]
            # Of gradients that a step has applied already, the whole norm was.
            late = clipped and all(id(parameter) in seen.applied for parameter in clipped)
            after = total_norm if late else measure([p.grad for p in clipped], *kinds)
            seen.clips.append((float(total_norm), float(after), float(max_norm)))
        kinds.clear()

    put.within(both[0], measure_and_keep)
    put.within(both[1], scale_and_note)


def _watch_steps(
    undo: contextlib.ExitStack, put: _Putter, see: Callable[[], Seen],
    parts: Callable[[], dict[str, Any]],
) -> None:  # fmt: skip
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def note(optimizer: Any, *_: Any) -> None:
        seen = see()
        if not seen.held:
            raise RuntimeError(_NOT_HELD)
        seen.rate = float(optimizer.param_groups[0]["lr"])
        seen.steps += 1
        weights = (weight for group in optimizer.param_groups for weight in group["params"])
        moved = {id(weight) for weight in weights if weight.grad is not None}
        seen.applied.update(moved)
        if seen.looks:
            seen.modes.update(_modes(parts(), moved))

    undo.callback(register_optimizer_step_pre_hook(note).remove)
    step = torch.amp.GradScaler.step

    def step_and_note(self: Any, optimizer: Any, *args: Any, **options: Any) -> Any:
        seen = see()
        before = seen.steps
        found = step(self, optimizer, *args, **options)
        if seen.steps == before:  # it met Inf, and left the step out
            note(optimizer)
        return found

    put(torch.amp.GradScaler, "step", step_and_note)


def _modes(parts: dict[str, Any], moved: set[int]) -> Iterator[tuple[str, bool]]:
    """Yield the modes of modules that have some of these weights, by identity, and of theirs."""
    for part, module in parts.items():
        if isinstance(module, torch.nn.Module) and any(id(w) in moved for w in module.parameters()):
            for name, one in module.named_modules():
                yield part + "." * bool(name) + name, one.training


def arrays_in(batch: Any) -> Iterator[Any]:
    """Yield the tensors and arrays of a batch, in order, as arrays."""
    if torch.is_tensor(batch):
        yield array_of(batch)
    elif isinstance(batch, np.ndarray):
        yield batch
    elif isinstance(batch, dict):
        for key in batch:
            yield from arrays_in(batch[key])
    elif isinstance(batch, (list, tuple)):
        for item in batch:
            yield from arrays_in(item)


def samples_in(batch: Any) -> Iterator[list[Any]]:
    """Yield of each sample of a batch its arrays of two axes or more, such as images and flow.

    None where the batch has no such arrays of one number of samples: a label of a class, or an
    index of its sample, would tell draws apart that are the same.
    """
    arrays = [array for array in arrays_in(batch) if array.ndim >= 3]
    if len({len(array) for array in arrays}) == 1:
        yield from ([array[i] for array in arrays] for i in range(len(arrays[0])))
