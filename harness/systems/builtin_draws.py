"""What training of the builtin system draws, by the very functions that it draws by."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from harness.fc2.provider import Provider
from harness.runs.session import Session
from harness.supernet.space import SKELETONS, variable_shapes
from harness.systems.protocol import Arrays, Drawn

__all__ = ["draws_of"]


def draws_of(
    session: Session, what: Drawn, seed: int, epoch: int, *,
    samples: int | None, frame: tuple[int, int] | None,
) -> Arrays:  # fmt: skip
    """Return what a session draws for a seed and an epoch; see ``System.draws``."""
    if what == "kernels":
        return _kernels(session, seed)
    provider = _as_if(session.provider, seed, samples)
    if what == "order":
        found = np.array([i for batch in provider.order(epoch) for i in batch], np.int64)
    elif what == "windows":
        found = _windows(provider, epoch, frame)
    else:
        cycle = session.parts.train.fair_cycle
        steps = range(len(provider.planned_sizes))
        found = np.array([cycle(seed=seed, epoch=epoch, step=step) for step in steps], np.int64)
    return {what: found}


def _as_if(provider: Provider, seed: int, samples: int | None) -> Provider:
    """Return the training provider of another seed, and as if its split had so many samples."""
    if samples is None:
        return dataclasses.replace(provider, seed=seed)
    steps = None if provider.steps is None else math.ceil(samples / provider.batch_size)
    # Drawing looks at no sample, and needs their number alone.
    split = provider.samples[:1] * samples
    return dataclasses.replace(provider, seed=seed, samples=split, steps=steps)


def _windows(provider: Provider, epoch: int, frame: tuple[int, int] | None) -> NDArray[np.int64]:
    """Return top and left of every draw of an epoch, px, shape (n, 2)."""
    order = [i for batch in provider.order(epoch) for i in batch]
    if frame is None:
        sizes = [provider.parts.decode(sample).flow.shape for sample in provider.samples]
        frames = [(sizes[i][0], sizes[i][1]) for i in order]
    else:
        frames = [(frame[0], frame[1])] * len(order)
    found = [provider.window(size, epoch=epoch, index=i) for i, size in enumerate(frames)]
    return np.array([(window.top, window.left) for window in found], np.int64).reshape(-1, 2)


def _kernels(session: Session, seed: int) -> Arrays:
    model = session.config.model
    shapes = variable_shapes(SKELETONS[model.skeleton], model.width)
    initial = session.parts.train.initial
    return {n: initial(seed, n, s) for n, s in shapes.items() if n.endswith("/kernel")}
