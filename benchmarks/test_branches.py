"""A train step of chosen branches, decode overlapped, against one of dense branches."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.timer import Timer
from harness.config import Config, with_overrides
from harness.environment import Environment
from harness.fc2.provider import Provider, open_provider

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.training.step import TrainStep

_STEPS, _ROUNDS, _BATCH, _LEAST = 6, 2, 8, 1.5
_WORKERS, _PREFETCH = 2, 2


@pytest.fixture(scope="module")
def large(setting: Config, environment: Environment) -> Config:  # noqa: ARG001
    """Return the setting with whole batches: frames of 512 x 384 px, crop 64 x 96, C = 8."""
    keys = {
        "train.batch_size": _BATCH, "train.micro_batch_size": _BATCH,
        "train.steps_per_epoch": _STEPS, "data.num_workers": _WORKERS,
        "data.prefetch_batches": _PREFETCH,
    }  # fmt: skip
    return with_overrides(setting, [f"{key}={value}" for key, value in keys.items()])


@pytest.fixture(scope="module")
def steps(large: Config) -> Iterator[dict[str, "TrainStep"]]:
    """Return a traced step of each kind, each on a supernet of its own."""
    with pytest.MonkeyPatch.context() as patch:
        found = {"chosen": _traced(large)}
        from benchmarks.dense import forward_dense

        patch.setattr("harness.training.step_functions.forward", forward_dense)
        found["dense"] = _traced(large)
        yield found


def _traced(config: Config) -> "TrainStep":
    from harness.training.model import Supernet
    from harness.training.step import TrainStep
    from harness.training.train_parts import TrainParts

    step = TrainStep(
        Supernet(config.model.skeleton, config.model.width, config.runtime.seed),
        config, TrainParts(),
    )  # fmt: skip
    _take(step, config, open_provider(config, "train", "train").batch(1, 0), 0)
    return step


def _take(step: "TrainStep", config: Config, batch: Any, number: int) -> float:
    from harness.training.fairness import fair_cycle

    archs = fair_cycle(seed=config.runtime.seed, epoch=1, step=number)
    return step(archs, batch, config.train.lr).losses[0]


def _overlapped(step: "TrainStep", config: Config, provider: Provider) -> Callable[[int], float]:
    """Return an epoch of steps of which the loader's threads decode the batches ahead."""

    def epoch(number: int) -> float:
        loss = 0.0
        with closing(provider.stream(number)) as batches:
            for index, batch in enumerate(batches):
                loss = _take(step, config, batch, index)
        return loss

    return epoch


def _in_turn(step: "TrainStep", config: Config, provider: Provider) -> Callable[[int], float]:
    """Return an epoch of steps of which each decodes its batch first, in one thread."""

    def epoch(number: int) -> float:
        loss = 0.0
        for index in range(_STEPS):
            loss = _take(step, config, provider.batch(number, index), index)
        return loss

    return epoch


@pytest.mark.benchmark(group="train step, by branches")
def test_train_step_of_chosen_branches(
    timer: Timer, large: Config, steps: dict[str, "TrainStep"]
) -> None:
    """Decode included on both sides; the pipeline starts empty in each round."""
    provider, numbers, beside = open_provider(large, "train", "train"), count(1), count(1)
    chosen = _overlapped(steps["chosen"], large, provider)
    dense = _in_turn(steps["dense"], large, provider)
    timing = timer(
        chosen, rounds=_ROUNDS, arguments=lambda: (next(numbers),),
        reference=lambda: dense(next(beside)),
    )  # fmt: skip
    assert np.isfinite(timing.result)
    timer.note(batch=_BATCH, steps=_STEPS, workers=_WORKERS, prefetch=_PREFETCH)
    if timing.seconds is None or timing.ratio is None:
        return
    speedup = 1 / timing.ratio
    timer.note(dense_per_chosen=speedup)
    timer.report.lines["train step, branches"] = (
        f"{timing.seconds / _STEPS:.4f} s with chosen branches, batch {_BATCH}, decode overlapped "
        f"by {_WORKERS} threads, {_PREFETCH} batches ahead; dense branches, decoded in turn, take "
        f"{speedup:.2f} times as long, over paired rounds of {_STEPS} steps"
    )
    assert speedup >= _LEAST, f"expected at least {_LEAST} times, found {speedup:.2f}"
