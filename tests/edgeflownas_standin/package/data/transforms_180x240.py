"""Frames to network input."""

import numpy as np


def standardize_image_tensor(image_tensor):
    """Map [0, 255] to [-1, 1]."""
    return ((image_tensor.astype(np.float32) / 255.0 - 0.5) * 2.0).astype(np.float32)
