"""What callbacks of ``fit`` see: each step is noted, and an epoch has one begin and one end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from harness.systems.keras_fit.given import plain

__all__ = ["Noted", "borders_told"]


class Noted(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes each step with its own loss: Keras would say the mean since the epoch began.

    Parameters
    ----------
    place : (int, int)
        Epochs and steps that are done before.
    archs : callable
        Returns the archs of a step.
    digests : sequence of str
        Of the batches of this call.
    loss : str
        Which of the logs of ``fit`` the loss is.

    Attributes
    ----------
    steps : list of dict
        Records of the protocol.
    ended : bool
        Whether another callback has ended training behind the last of them.
    """

    def __init__(
        self, place: tuple[int, int], archs: Callable[[], Sequence[str]], digests: Sequence[str],
        loss: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.steps: list[dict[str, Any]] = []
        self._place, self._archs, self._digests, self._loss = place, archs, digests, loss
        self._rate, self.ended = 0.0, False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Take the rate, and let metrics begin anew."""
        del batch, logs
        self.model.reset_metrics()
        self._rate = _rate_of(self.model.optimizer)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note the step."""
        epoch, step = self._place
        self.steps.append({
            "epoch": epoch + 1, "step": step + batch + 1, "archs": list(self._archs()),
            "batch": self._digests[batch], "lr": self._rate, "loss": self._loss_of(logs or {}),
            "checks": 0, "clipped": 0, "norm": 0.0,
        })  # fmt: skip
        self.ended = bool(self.model.stop_training)

    def _loss_of(self, logs: Mapping[str, Any]) -> float:
        if self._loss not in logs:
            msg = f"fit logs {sorted(logs)}, and no {self._loss!r}: name the loss in logged_loss"
            raise ValueError(msg)
        return float(logs[self._loss])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """End this call of ``fit``: callbacks know of all epochs of the run."""
        del epoch, logs
        self.model.stop_training = True


def _rate_of(optimizer: Any) -> float:
    """Return the rate that the next step has; of several optimizers that of the first."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # LossScaleOptimizer's
    several = getattr(inner, "optimizers", None)  # MultiOptimizer's
    if several:
        return _rate_of(several[0])
    return float(plain(inner.learning_rate))


@contextmanager
def borders_told(
    callbacks: Sequence[Any], *, begins: bool, ends: bool, begun: list[Any]
) -> Iterator[None]:
    """Keep from callbacks what is a begin or an end of ``fit`` alone, which has part of an epoch.

    Parameters
    ----------
    begins, ends : bool
        Whether the part has the first step of the epoch, and the last.
    begun : list
        Callbacks that a part before has begun, which these come to. One that has nothing to do
        at the end of ``fit`` is not told of a second begin: it goes on, as in one ``fit``.
    """
    names = ["on_epoch_begin"] * (not begins) + ["on_epoch_end"] * (not ends)
    own = [one for one in callbacks if not isinstance(one, Noted)]
    others = [(one, name) for one in own for name in names]
    others += [(o, "on_train_begin") for o in own if any(o is b for b in begun) and not _closes(o)]
    begun.extend(own)
    with _kept_from(others):
        yield


def _closes(callback: Any) -> bool:
    """Say whether a callback has something to do at the end of ``fit``, as what holds a file."""
    theirs = keras.callbacks.Callback.on_train_end
    return type(callback).on_train_end is not theirs or "on_train_end" in vars(callback)


@contextmanager
def _kept_from(others: Sequence[tuple[Any, str]]) -> Iterator[None]:
    """Let these methods of callbacks do nothing."""
    own = [vars(one).get(name) for one, name in others]  # LambdaCallback's
    for one, name in others:
        setattr(one, name, _nothing)
    try:
        yield
    finally:
        for (one, name), call in zip(others, own):
            if call is None:
                delattr(one, name)
            else:
                setattr(one, name, call)


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing at what is no border."""
