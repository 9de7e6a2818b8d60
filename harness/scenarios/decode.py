"""A second decoder that shares no code with the provider: TensorFlow's PNG, NumPy's .flo."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_independently"]


def decode_independently(
    folder: Path, sample: str
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return frames (H, W, 6) uint8, BGR twice, and flow (H, W, 2) float32, px.

    Parameters
    ----------
    folder : pathlib.Path
        The split.
    sample : str
        Path below it, without the member's suffix.
    """
    import tensorflow as tf

    images = []
    for member in ("img_0.png", "img_1.png"):
        rgb: Any = tf.io.decode_png((folder / f"{sample}-{member}").read_bytes(), channels=3)
        images.append(rgb.numpy()[..., ::-1])
    content = (folder / f"{sample}-flow_01.flo").read_bytes()
    width, height = np.frombuffer(content, "<i4", count=2, offset=4)
    flow = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
    return np.concatenate(images, axis=-1), flow.astype(np.float32)
