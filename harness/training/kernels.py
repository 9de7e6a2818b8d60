"""Whether the device has a deterministic kernel for all that training and evaluation compute.

A tiny net of a skeleton goes through every pass twice. An operation without such a kernel
raises, because op determinism is on; two results that differ in a bit show one that has
a kernel and does not keep the promise.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from harness.supernet.loss import accumulate_flow
from harness.supernet.network import (
    BatchNorm,
    FixedNorm,
    GivenNorm,
    RecalNorm,
    forward,
    frames_to_input,
    resize_bilinear,
)
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS
from harness.training.model import Supernet
from harness.training.step_functions import loss_and_gradients
from harness.training.train_parts import TrainParts

__all__ = [
    "KernelProblem",
    "NoDeterministicKernelError",
    "find_problems",
    "require_kernels",
    "tiny_passes",
]

Arrays = Sequence[NDArray[Any]]
Pass = Callable[[], Arrays]

_WIDTH, _SAMPLES, _CROP = 4, 3, (32, 48)
_ARCHS = tuple((option,) * NUM_BLOCKS for option in range(NUM_OPTIONS))
"""Together they run every option of every block."""


class NoDeterministicKernelError(RuntimeError):
    """The device lacks a deterministic kernel for something that training or evaluation needs."""


@dataclass(frozen=True)
class KernelProblem:
    """An operation that the device does not compute deterministically.

    Attributes
    ----------
    where : str
        The pass that asked for it.
    operation : str
        TensorFlow's name of it; empty where it is not known.
    text : str
        What was seen.
    """

    where: str
    operation: str
    text: str


def require_kernels(skeleton: str) -> str:
    """Return in words that every pass of a tiny net is deterministic on this device.

    Raises
    ------
    NoDeterministicKernelError
        If one is not; names every operation, the pass that asks for it, and what to do.
    """
    passes = tiny_passes(skeleton)
    problems = find_problems(passes)
    if problems:
        found = "; ".join(
            f"{p.operation or 'an operation'} in {p.where} ({p.text})" for p in problems
        )
        msg = f"no deterministic kernel on this device: {found}. {_ADVICE}"
        raise NoDeterministicKernelError(msg)
    return f"{', '.join(passes)}: deterministic"


_ADVICE = (
    "Two runs would not end alike here: train with `train.gpu_device: -1`, on another device, or "
    "under a TensorFlow that has the kernel"
)


def find_problems(passes: Mapping[str, Pass]) -> list[KernelProblem]:
    """Run each pass twice; return those that raise, or that differ in a bit."""
    found = []
    for name, run in passes.items():
        try:
            once, again = run(), run()
        except tf.errors.OpError as error:
            found.append(KernelProblem(name, _operation(error.message), _sentence(error.message)))
            continue
        pairs = list(zip(once, again, strict=True))
        differ = sum(a.tobytes() != b.tobytes() for a, b in pairs)
        if differ:
            text = f"{differ} of {len(pairs)} tensors differ between two runs on the same input"
            found.append(KernelProblem(name, "", text))
    return found


def _operation(message: str) -> str:
    """Return the operation that an error message names, in a graph or eager."""
    # In a graph the operation of the call is that of the whole function.
    node = re.search(r"\{\{node (?:[^}\s]*/)?([^}/\s]+?)(?:_\d+)?\}\}", message)
    found = node or re.search(r"\[Op:(\w+)\]", message)
    return found[1] if found else ""


def _sentence(message: str) -> str:
    """Return the line of a message that says what is missing."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    about = (line for line in lines if "determin" in line.lower())
    return next(about, lines[0] if lines else "no message")


def tiny_passes(skeleton: str) -> dict[str, Pass]:
    """Return the passes of a tiny net by name: of training, recalibration and evaluation.

    They are not compiled: tracing every branch of every skeleton takes a minute, and asks for
    the same kernels.

    Parameters
    ----------
    skeleton : str
        Key of :data:`harness.supernet.space.SKELETONS`.
    """
    model = Supernet(skeleton, _WIDTH, seed=0)
    moving = {u: (m.read_value(), v.read_value()) for u, (m, v) in model.moving.items()}
    codes = [tf.constant(arch, tf.int32) for arch in _ARCHS]
    weights, pixels = model.weight_tensors(), _pixels()

    def backward(norm: type) -> Arrays:
        found = [
            loss_and_gradients(model, TrainParts(), 1e-4, code, pixels, lambda w: norm(w, moving))
            for code in codes
        ]  # fmt: skip
        return [t.numpy() for loss, gradients, _ in found for t in (loss, *gradients)]

    def normalised(make_norm: Callable[[], Any]) -> Arrays:
        x = frames_to_input(pixels[0])
        found = [forward(skeleton, weights, code, x, make_norm()) for code in codes]
        return [
            t.numpy() for outputs, stats in found
            for t in (*outputs, accumulate_flow(outputs), *(s for p in stats.values() for s in p))
        ]  # fmt: skip

    return {
        "gradient": lambda: backward(BatchNorm),
        "gradient with fixed statistics": lambda: backward(FixedNorm),
        "update": lambda: _update(skeleton),
        "recalibration": lambda: normalised(lambda: RecalNorm(weights)),
        "evaluation": lambda: normalised(lambda: GivenNorm(weights, moving)),
        "resizing": _resize,
    }


def _pixels() -> tuple[Any, Any, Any]:
    """Return frames, flow and where it is known, (B, H, W, ...)."""
    shape, draws = (_SAMPLES, *_CROP), np.random.default_rng(0)
    return (
        tf.constant(draws.integers(0, 256, (*shape, 6), np.uint8)),
        tf.constant(draws.normal(0, 3, (*shape, 2)).astype(np.float32)),
        tf.constant(draws.random(shape) > 0.1),
    )


def _update(skeleton: str) -> Arrays:
    """Return the state of a fresh net after one accumulated, clipped update."""
    model, parts = Supernet(skeleton, _WIDTH, seed=0), TrainParts()
    zeros = [tf.zeros_like(w) for w in model.weights.values()]
    moves = [tf.fill(w.shape, 0.1) for w in model.weights.values()]
    clipped, *_ = parts.clip(parts.accumulate(zeros, moves, tf.constant(0.5)), tf.constant(1.0))
    parts.apply(
        list(model.weights.values()), list(model.first.values()), list(model.second.values()),
        model.powers, clipped, tf.constant(1e-3),
    )  # fmt: skip
    return list(model.get_state().values())


def _resize() -> Arrays:
    x = tf.constant(np.random.default_rng(1).random((2, 5, 7, 4), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = resize_bilinear(x, tf.constant([11, 17]))
    return [y.numpy(), tape.gradient(y, x).numpy()]
