"""Small faults in the builtin system, each the shape of a bug that really happened."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


def _replace(section: str, **changes: Any) -> Callable[[Any], Any]:
    def apply(parts: Any) -> Any:
        broken = dataclasses.replace(getattr(parts, section), **changes)
        return dataclasses.replace(parts, **{section: broken})

    return apply


def _last_residual(outputs: Any) -> Any:
    return outputs[-1][..., :2]


def _initial_statistics(batches: Any, sizes: Any) -> Any:
    return {u: (np.zeros_like(m), np.ones_like(v)) for u, (m, v) in batches[0].items()}


def _last_batch_only(batches: Any, sizes: Any) -> Any:
    return dict(batches[-1])


def _corrected_variance(batches: Any, sizes: Any) -> Any:
    from harness.evaluation.recalibration import pool_statistics

    n = 576  # the fewest inputs that a unit has in the gate's setting
    return {
        u: (m, (v * n / (n - 1)).astype(np.float32))
        for u, (m, v) in pool_statistics(batches, sizes).items()
    }


def _wandering_window() -> Callable[..., Any]:
    from harness.fc2.crop import random_window

    draws = itertools.count()
    return lambda frame, crop: random_window(frame, crop, seed=0, epoch=0, index=next(draws))


def _decoded(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    from harness.fc2.decode import decode_triplet

    return lambda triplet: change(decode_triplet(triplet))


def _rgb(sample: Any) -> Any:
    frames = np.concatenate([sample.frames[..., 2::-1], sample.frames[..., :2:-1]], axis=-1)
    return dataclasses.replace(sample, frames=frames)


def _swapped_flow(sample: Any) -> Any:
    return dataclasses.replace(sample, flow=np.ascontiguousarray(sample.flow[..., ::-1]))


def _same_order_every_epoch(count: int, *, epoch: int, **kwargs: Any) -> list[int]:
    from harness.fc2.order import train_order

    return train_order(count, epoch=1, **kwargs)


def _clip_each_variable(gradients: Any, threshold: Any) -> Any:
    import tensorflow as tf

    clipped = [tf.clip_by_norm(g, threshold) for g in gradients]
    return clipped, tf.linalg.global_norm(gradients), tf.linalg.global_norm(clipped)


def _floor_division(sizes: Any, micro: int, *, position: str) -> int:
    return len(sizes) if position == "update" else 3 * sum(size // micro for size in sizes)


def _unfair(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
    from harness.streams import integer

    return [tuple(integer(seed, f"x{i}", epoch, step, below=[3] * 9)) for i in range(3)]


def _same_cycles_every_epoch(*, seed: int, epoch: int, step: int) -> list[tuple[int, ...]]:
    from harness.training.fairness import fair_cycle

    return fair_cycle(seed=seed, epoch=1, step=step)


def _restore_weights_alone(model: Any, state: Any) -> None:
    for name, variable in model.weights.items():
        variable.assign(state[name])


FAULTS: dict[str, tuple[Callable[[], Callable[[Any], Any]], tuple[str, ...]]] = {
    "only the last residual is scored": (
        lambda: _replace("evaluation", accumulate_flow=_last_residual),
        ("metric-oracle", "metric-recomputed", "metric-alive"),
    ),
    "recalibration never updates a statistic": (
        lambda: _replace("evaluation", pool_statistics=_initial_statistics),
        ("recal-statistics-exact", "recal-effective"),
    ),
    "recalibration keeps the last batch alone": (
        lambda: _replace("evaluation", pool_statistics=_last_batch_only),
        ("recal-statistics-exact",),
    ),
    "recalibration divides by N - 1": (
        lambda: _replace("evaluation", pool_statistics=_corrected_variance),
        ("recal-statistics-exact",),
    ),
    "evaluation crops at random": (
        lambda: _replace("data", center=_wandering_window()),
        ("eval-crop-centred",),
    ),
    "frames are RGB": (lambda: _replace("data", decode=_decoded(_rgb)), ("eval-crop-centred",)),
    "u and v are swapped": (
        lambda: _replace("data", decode=_decoded(_swapped_flow)),
        ("eval-crop-centred",),
    ),
    "every epoch has one order": (
        lambda: _replace("data", train_order=_same_order_every_epoch),
        ("train-draws-declared",),
    ),
    "evaluation starts from the end": (
        lambda: _replace("data", eval_order=lambda count: list(range(count))[::-1]),
        ("eval-order-fixed",),
    ),
    "each variable is clipped alone": (
        lambda: _replace("train", clip=_clip_each_variable),
        ("clip-arithmetic-micro-step",),
    ),
    "the partial micro-batch is not planned": (
        lambda: _replace("train", expected_checks=_floor_division),
        ("clip-checks-planned-micro-step",),
    ),
    "archs are drawn without fairness": (
        lambda: _replace("train", fair_cycle=_unfair),
        ("fair-archs",),
    ),
    "the update is never applied": (
        lambda: _replace("train", apply=lambda *_: None),
        ("training-moves",),
    ),
    "every epoch trains the same cycles": (
        lambda: _replace("train", fair_cycle=_same_cycles_every_epoch),
        ("fair-archs",),
    ),
    "optimizer slots are lost on resume": (
        lambda: _replace("train", restore=_restore_weights_alone),
        ("checkpoint-complete",),
    ),
}
"""What went wrong -> how to break the parts, and the relations that must notice."""
