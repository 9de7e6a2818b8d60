"""The supernet of the other space: depths that do not nest, and two kernels."""

import tensorflow as tf
from PACKAGE.network.MultiScaleResNet_supernet import MultiScaleResNetSupernet

v1 = tf.compat.v1


class MultiScaleResNetSupernetV3(MultiScaleResNetSupernet):
    """As the first, with a branch for each depth."""

    def _select(self, candidates, code):
        weights = tf.one_hot(code, len(candidates))
        weights = tf.reshape(weights, [len(candidates), 1, 1, 1, 1])
        return tf.reduce_sum(tf.stack(candidates) * weights, axis=0)

    def _depth(self, x, code, name):
        found = []
        with v1.variable_scope(name):
            for depth in range(3):
                y = x
                for block in range(depth + 1):
                    with v1.variable_scope(f"branch{depth + 1}_block{block + 1}"):
                        y = tf.nn.relu(self._bn(self._conv(y, y.shape[-1], 3, "conv1"), "bn1") + y)
                found.append(y)
        return self._select(found, code)

    def _kernel(self, x, filters, code, name):
        with v1.variable_scope(name):
            found = [self._conv(x, filters, size, f"k{size}") for size in (3, 5)]
        return self._select(found, code)
