"""Epoch rows as TensorBoard scalars.

TensorFlow 2.21 no longer installs TensorBoard, so it is an extra; without it the run says
so and writes none.
"""

import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.records import EpochRecord, Record

__all__ = ["TensorBoardObserver", "tensorboard_available"]

_SECTIONS = {"clip": "clip", "grad": "grad", "train": "train", "lr": "train"}


def tensorboard_available() -> bool:
    """Return whether the ``tensorboard`` package is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class TensorBoardObserver:
    """Writes every number of an epoch's row as a scalar at its epoch."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf: Any = tf
        self._writer = tf.summary.create_file_writer(str(folder))

    def __call__(self, record: Record) -> None:
        """Write the row if the record is an epoch's; nulls and hashes have no scalar."""
        if not isinstance(record, EpochRecord):
            return
        # Arrays: TensorFlow keeps a tensor for every Python number that it was ever given.
        step = np.asarray(record.epoch, np.int64)
        with self._writer.as_default():
            for item in fields(record):
                value = getattr(record, item.name)
                if item.name == "epoch" or not isinstance(value, int | float):
                    continue
                section = _SECTIONS.get(item.name.split("_")[0], "eval")
                number = np.asarray(value, np.float64)
                self._tf.summary.scalar(f"{section}/{item.name}", number, step=step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
