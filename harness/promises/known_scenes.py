"""Pairs of frames of which the flow is exact for every pixel: nothing hides, nothing leaves."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["PERIODS", "known_scene"]

PERIODS = (14.0, 32.0)
"""Of the waves of a texture, px: long enough that a bilinear sample errs by less than
(pi / 14)^2 = 5 % of a wave's height, short enough that 8 px are a quarter of a wave or more."""

_WAVES = 9
_SLOPE = 0.3
"""How much the flow changes from one px to the next, at most: what turns the plane by less than 1
folds it nowhere, and 8 px further it is another flow by 2 px."""


def known_scene(
    number: int, *, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Return both frames (H, W, 3), uint8, and the flow (H, W, 2), float32, px.

    The second frame is a sum of waves T(x), the first is T(x + F(x)), each from its formula, so
    that F is the flow at every pixel, beyond the frame's border too.

    Parameters
    ----------
    number : int
        Which scene: other waves, and another flow.
    height, width : int
        px.
    """
    draw = np.random.default_rng([2026, number])
    y, x = np.indices((height, width), np.float64)
    flow = _field(draw, x, y)
    waves = [_wave(draw) for _ in range(_WAVES)]
    shades = draw.uniform(-1, 1, (_WAVES, 3))
    second = _painted(waves, shades, x, y)
    first = _painted(waves, shades, x + flow[..., 0], y + flow[..., 1])
    return first, second, flow.astype(np.float32)


def _field(draw: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]) -> (
    NDArray[np.float64]
):  # fmt: skip
    """Return a shift of 4 to 6 px along each axis, and waves of up to 2.5 px about it."""
    parts = []
    for _ in range(2):
        turn, phase = draw.uniform(0, 2 * math.pi, 2)
        height = draw.uniform(2, 2.5)
        wave = np.sin(_SLOPE / height * (math.cos(turn) * x + math.sin(turn) * y) + phase)
        parts.append(draw.choice((-1, 1)) * draw.uniform(4, 6) + height * wave)
    return np.stack(parts, axis=-1)


def _wave(draw: np.random.Generator) -> tuple[float, float, float]:
    """Return a wave's two frequencies, 1/px, times 2 pi, and its phase."""
    turn, phase = draw.uniform(0, 2 * math.pi, 2)
    often = 2 * math.pi / draw.uniform(*PERIODS)
    return often * math.cos(turn), often * math.sin(turn), phase


def _painted(
    waves: list[tuple[float, float, float]], shades: NDArray[np.float64],
    x: NDArray[np.float64], y: NDArray[np.float64],
) -> NDArray[np.uint8]:  # fmt: skip
    heights = np.stack([np.sin(a * x + b * y + phase) for a, b, phase in waves], axis=-1)
    # Three deviations are black or white: hardly a px is cut off.
    value = heights @ shades / np.sqrt((shades**2).sum(axis=0) / 2)
    shade: NDArray[np.uint8] = np.rint(127.5 + 42 * value).clip(0, 255).astype(np.uint8)
    return shade
