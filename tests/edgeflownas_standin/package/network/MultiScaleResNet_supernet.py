"""A small supernet with nine choice blocks and three residual outputs."""

import tensorflow as tf

v1 = tf.compat.v1


class MultiScaleResNetSupernet:
    """All branches are computed and one is selected by a one-hot weight.

    Depth options 0, 1, 2 run one, two, three units; kernel options 7x7, 5x5, 3x3.
    """

    def __init__(self, input_ph, arch_code_ph, is_training_ph, num_out=4, init_neurons=32,
                 expansion_factor=2.0, seed=0):  # fmt: skip
        self.input, self.arch, self.training = input_ph, arch_code_ph, is_training_ph
        self.num_out, self.width, self.seed = num_out, init_neurons, seed
        self.statistics = []

    def _conv(self, x, filters, size, name, stride=1):
        self.seed += 1
        with v1.variable_scope(name):
            kernel = v1.get_variable(
                "kernel", [size, size, x.shape[-1], filters],
                initializer=v1.glorot_uniform_initializer(seed=self.seed),
            )  # fmt: skip
        return tf.nn.conv2d(x, kernel, stride, "SAME")

    def _bn(self, x, name):
        shape = [x.shape[-1]]
        with v1.variable_scope(name):
            gamma = v1.get_variable("gamma", shape, initializer=v1.ones_initializer())
            beta = v1.get_variable("beta", shape, initializer=v1.zeros_initializer())
            mean, variance = (
                v1.get_variable(n, shape, initializer=init(), trainable=False)
                for n, init in (
                    ("moving_mean", v1.zeros_initializer),
                    ("moving_variance", v1.ones_initializer),
                )
            )

            def batch():
                return tf.nn.moments(x, [0, 1, 2])

            used, spread = tf.cond(
                self.training, batch, lambda: (mean.read_value(), variance.read_value())
            )
            y = v1.nn.batch_normalization(x, used, spread, beta, gamma, 1e-5)
            # As the fused kernel corrects it.
            count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
            for variable, value in ((mean, used), (variance, spread * count / (count - 1))):
                update = v1.assign_sub(variable, (variable - value) * 0.1)
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
            self.statistics.append((mean, variance, used, spread))
        return y

    def _select(self, candidates, code):
        weights = tf.reshape(tf.one_hot(code, 3), [3, 1, 1, 1, 1])
        return tf.reduce_sum(tf.stack(candidates) * weights, axis=0)

    def _depth(self, x, code, name):
        found = []
        with v1.variable_scope(name):
            for depth in range(3):
                with v1.variable_scope(f"deep{depth + 1}"):
                    y = self._conv(x, x.shape[-1], 3, "conv1")
                    x = tf.nn.relu(self._bn(y, "bn1") + x)
                found.append(x)
        return self._select(found, code)

    def _kernel(self, x, filters, code, name):
        with v1.variable_scope(name):
            found = [self._conv(x, filters, size, f"k{size}") for size in (7, 5, 3)]
        return self._select(found, code)

    def _unit(self, x, filters, size, name, stride=1):
        return tf.nn.relu(self._bn(self._conv(x, filters, size, name, stride), name + "BN"))

    def _up(self, x):
        height, width = x.shape[1] * 2, x.shape[2] * 2
        return v1.image.resize_bilinear(x, [height, width])

    def build(self):
        """Return the outputs at 1/4, 1/2 and full scale."""
        c, arch = self.width, tf.unstack(self.arch, num=9)
        with v1.variable_scope("supernet_backbone"):
            x = self._unit(self.input, c, 5, "E0")
            x = self._depth(x, arch[0], "EB0")
            x = self._unit(x, 2 * c, 3, "Down1", 2)
            x = self._depth(x, arch[1], "EB1")
            x = self._unit(x, 2 * c, 3, "Down2", 2)
            low = self._depth(x, arch[2], "DB0")
            middle = self._depth(self._unit(self._up(low), c, 3, "Up1"), arch[3], "DB1")
            high = self._unit(self._up(middle), c, 3, "Up2")
        with v1.variable_scope("supernet_head"):
            out = [self._kernel(low, self.num_out, arch[4], "H0Out")]
            h1 = tf.nn.relu(self._bn(self._kernel(middle, c, arch[5], "H1"), "H1BN"))
            out.append(self._kernel(h1, self.num_out, arch[6], "H1Out"))
            h2 = tf.nn.relu(self._bn(self._kernel(high, c, arch[7], "H2"), "H2BN"))
            out.append(self._kernel(h2, self.num_out, arch[8], "H2Out"))
        return out
