"""Steps and epoch rows as TensorBoard scalars, pictures as images, under names people look for.

TensorFlow 2.21 no longer installs TensorBoard, so it is an extra; without it the run says
so and writes none.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.pictures import Pictures
from harness.records.records import EpochRecord, Record, ResumeRecord, StepRecord
from harness.reporting.picture_colours import error_shown, predicted_shown, true_shown

__all__ = ["EPOCH_TAGS", "TensorBoardObserver", "tensorboard_available"]

EPOCH_TAGS: Mapping[str, str] = {
    "train_loss_epoch_avg": "train/loss",
    "lr": "train/lr",
    "fairness_gap": "train/fairness_gap",
    "train_grad_norm_epoch_avg": "clip/norm_mean",
    "grad_norm_p50": "clip/norm_p50",
    "grad_norm_p90": "clip/norm_p90",
    "grad_norm_p99": "clip/norm_p99",
    "clip_rate": "clip/rate",
    "clip_count": "clip/count",
    "clip_checks": "clip/checks",
    "expected_clip_checks": "clip/checks_planned",
    "mean_epe_12": "eval/epe_mean",
    "std_epe_12": "eval/epe_std",
    "per_arch_epe_min": "eval/epe_min",
    "per_arch_epe_median": "eval/epe_median",
    "per_arch_epe_max": "eval/epe_max",
    "zero_flow_epe": "eval/epe_zero_flow",
    "best_epe": "eval/epe_best",
    "kendall_tau_prev": "eval/kendall_tau",
    "eval_pool_size": "eval/pool_size",
    "eval_batches_per_arch": "eval/batches_per_arch",
    "bn_recal_batches": "eval/recal_batches",
    "eval_seconds": "seconds/scoring",
    "bn_recal_seconds": "seconds/recalibration",
}
"""Columns of the epoch log to their scalars; any other number is ``epoch/<column>``."""

_STEP_TAGS: Mapping[str, str] = {
    "loss": "step/loss", "lr": "step/lr", "norm": "step/norm", "clipped": "step/clipped",
}  # fmt: skip


def tensorboard_available() -> bool:
    """Return whether the ``tensorboard`` package is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class TensorBoardObserver:
    """Writes the numbers of each step and of each epoch's row, by the steps completed in all.

    And of each evaluation what its best arch predicts of the frozen samples, as images.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf: Any = tf
        self._writer = tf.summary.create_file_writer(str(folder))
        self._steps = 0
        self._labels = set[str]()

    def __call__(self, record: Record) -> None:
        """Write what a record says in numbers; nulls and hashes have no scalar."""
        if isinstance(record, ResumeRecord):
            self._steps = record.global_step
        elif isinstance(record, StepRecord):
            self._steps += 1
            self._write({tag: getattr(record, name) for name, tag in _STEP_TAGS.items()})
        elif isinstance(record, EpochRecord):
            # A row that a crash kept from the logs is of the steps that it names.
            self._write(_epoch_scalars(record), record.global_step)
            self._writer.flush()

    def pictured(self, pictures: Pictures) -> None:
        """Write images of the frozen samples: ``pictures/<sample>/predicted`` and others."""
        for key in pictures.frozen:
            sample = pictures.samples[key]
            flow = pictures.predicted(key)[0].flow
            shown = {
                "predicted": predicted_shown(sample, flow), "error": error_shown(sample, flow),
            }  # fmt: skip
            if key not in self._labels:  # the same at every step
                self._labels.add(key)
                shown["true"] = true_shown(sample)
            step = np.asarray(self._steps, np.int64)
            with self._writer.as_default():
                for kind, image in shown.items():
                    tag = f"pictures/{sample.id}/{kind}"
                    self._tf.summary.image(tag, image[np.newaxis], step=step)

    def _write(self, scalars: Mapping[str, float], steps: int | None = None) -> None:
        # Arrays: TensorFlow keeps a tensor for every Python number that it was ever given.
        step = np.asarray(self._steps if steps is None else steps, np.int64)
        with self._writer.as_default():
            for tag, value in scalars.items():
                self._tf.summary.scalar(tag, np.asarray(value, np.float64), step=step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def _epoch_scalars(row: EpochRecord) -> dict[str, float]:
    values = {item.name: getattr(row, item.name) for item in fields(row)}
    return {
        EPOCH_TAGS.get(name, f"epoch/{name}"): value
        for name, value in values.items()
        if name != "global_step" and isinstance(value, int | float)
    }
