"""The metric."""

import tensorflow as tf


def accumulate_predictions(preds):
    """Add residuals up, coarse to fine."""
    total = preds[0]
    for pred in preds[1:]:
        total = tf.compat.v1.image.resize_bilinear(total, pred.shape[1:3]) + pred
    return total


def build_epe_metric(pred_tensor, label_ph, num_out=2):
    """Return the mean end-point error."""
    squares = tf.reduce_sum(tf.square(pred_tensor[..., :num_out] - label_ph), axis=3)
    return tf.reduce_mean(tf.sqrt(squares + 1e-6), name="mean_epe")
