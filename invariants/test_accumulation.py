"""Accumulated gradients equal the whole batch's, with BN statistics held fixed."""

import numpy as np

from harness.config import parse_config
from harness.pytest_plugin import Gate


def test_uneven_micro_batches_give_the_full_gradient(gate: Gate) -> None:
    """10 samples in micro-batches of 4, 4 and 2 give the gradient of the batch of 10."""
    parts = gate.parts.train
    import tensorflow as tf

    from harness.supernet.network import GivenNorm
    from harness.training.model import Supernet
    from harness.training.step import loss_and_gradients

    config = parse_config(gate.book.config)
    model = Supernet(config.model.skeleton, config.model.width, config.runtime.seed)
    frames = np.random.default_rng(1).integers(0, 256, (10, 32, 48, 6), np.uint8)
    flow = np.random.default_rng(2).normal(0, 3, (10, 32, 48, 2)).astype(np.float32)
    valid = np.ones((10, 32, 48), bool)

    def gradient(piece: slice) -> list[np.ndarray]:
        batch = [tf.constant(array[piece]) for array in (frames, flow, valid)]
        code = tf.constant([0, 1, 2, 0, 1, 2, 0, 1, 2])
        return [np.asarray(g) for g in loss_and_gradients(
            model, parts, config.train.weight_decay, code, batch,
            lambda weights: GivenNorm(weights, model.moving),
        )[1]]  # fmt: skip

    with gate.property(
        "accumulated-gradient", "4 + 4 + 2 samples give the gradient of 10", "BN held fixed"
    ):
        whole = gradient(slice(0, 10))
        total = [np.zeros_like(g) for g in whole]
        for piece in parts.micro_batches(10, 4):
            weight = 3 * parts.micro_weight(len(frames[piece]), 10)
            total = parts.accumulate(total, gradient(piece), np.float32(weight))
        flat, expected = (np.concatenate([np.ravel(g) for g in gs]) for gs in (total, whole))
        distance = np.linalg.norm(flat - expected) / np.linalg.norm(expected)
        assert distance < 1e-5, f"relative distance {distance:.1e}, allowed 1e-5"
