"""What training draws, asked for without drawing it."""

from __future__ import annotations

from typing import Any

from .checkout import Checkout
from .providers import WatchedProvider
from .run import Run

__all__ = ["new_provider", "planned_sizes", "training_batches"]


def training_batches(checkout: Checkout, run: Run, epoch: int) -> list[dict[str, Any]]:
    """Return an epoch's batches: one to come from a copy of the run's provider, where it is.

    One that is over is drawn again from the seed, with a provider built as the trainer does.
    """
    ahead = epoch - run.finished
    if ahead >= 1:
        provider = run.training_provider().copy()
        started = not run.over  # its order is drawn
    else:
        provider, started, ahead = new_provider(checkout, run), False, epoch
    served: list[dict[str, Any]] = []
    for number in range(ahead):
        if hasattr(provider.provider, "start_epoch") and not (started and number == 0):
            provider.provider.start_epoch(shuffle=True)
        served = [provider.described(size) for size in planned_sizes(run, len(provider))]
    return served


def planned_sizes(run: Run, samples: int) -> list[int]:
    """Return the batch sizes of an epoch: a full pass fills its last batch from the start."""
    train = run.config["train"]
    size = int(train["batch_size"])
    if train.get("epoch_mode") == "full_pass":
        return [size] * -(-samples // size)
    return [size] * int(train["steps_per_epoch"])


def new_provider(
    checkout: Checkout, run: Run, *, split: str = "train", mode: str = "train", offset: int = 0
) -> WatchedProvider:
    """Build a provider as the checkout does, beside the run's own.

    Parameters
    ----------
    split, mode : str
        ``train`` or ``val``; ``train`` or ``eval``, where the version knows modes.
    offset : int, default 0
        Added to the seed.
    """
    with_mode = {"provider_mode": mode} if run.provider_modes else {}
    checkout.bind(run)
    try:
        built: WatchedProvider = checkout.trainer.build_fc2_provider(
            config=run.config, split=split, seed_offset=offset, **with_mode
        )
        # It was noted as the trainer's own while it was built, which it is not.
        run.providers.pop()
    finally:
        checkout.bind(None)
    return built
