"""Keras trainers that do something legitimate in another way than most; all is as they declare.

They were accused once. `toy` is what `init-adapter --tensorflow` writes.
"""

import os
import pickle
import random
import zlib

import keras
import numpy as np
from keras import layers, optimizers
from toy import MyTrainer, as_given, epe

from harness.keras_system import KerasSystem


def mean_square(y, flow):
    """Return the mean of both components' squared error of known pixels, px^2."""
    known = keras.ops.cast(y[..., 2:], "float32")
    error = (keras.ops.cast(flow, "float32") - y[..., :2]) ** 2
    return keras.ops.sum(error * known) / (2 * keras.ops.sum(known))


class Own(MyTrainer):
    """Adam as Keras has it, at one rate, on the l2 of the flow."""

    loss = "l2"
    schedule = {"name": "constant"}
    slot_kinds = "momentum", "velocity"
    settings = {
        "train.micro_batch_size": None, "train.clip_position": "update",
        "train.grad_clip_global_norm": 1e9, "data.flow_clip": None,
    }  # fmt: skip
    compiled = {"run_eagerly": True}

    def setup(self, config):
        super().setup(config)
        keras.utils.set_random_seed(config["runtime"]["seed"])
        keras.mixed_precision.set_global_policy(self.precision)
        self.model = self.net()
        optimizer = self.optimizer(config["train"]["lr"])
        self.model.compile(optimizer, loss=mean_square, metrics=[epe], **self.compiled)

    # What the others do otherwise.

    precision = "float32"

    def optimizer(self, lr):
        return optimizers.Adam(lr)

    def body(self, x):
        return layers.Conv2D(4, 3, padding="same", activation="relu", name="hidden")(x)

    def net(self):
        frames = keras.Input((None, None, 6))
        x = self.body(layers.Rescaling(1 / 127.5, offset=-1)(frames))
        return keras.Model(frames, layers.Conv2D(2, 3, padding="same", name="head")(x))


class Plain(Own):
    """Adam, with nothing said of its epsilon."""


class Factored(Own):
    """Adafactor, of whose variables several have one path."""

    update = {"rule": "own"}
    slot_kinds = ()

    def optimizer(self, lr):
        return optimizers.Adafactor(lr)


class Several(Factored):
    """An optimizer for the head, and one for the others: neither rate is that of both."""

    def optimizer(self, lr):
        head = {"head/.*": optimizers.SGD(lr, momentum=0.9)}
        return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam(lr), head))


class Accumulates(Factored):
    """Steps every two batches: behind each step nothing is accumulated."""

    def optimizer(self, lr):
        return optimizers.Adam(lr, gradient_accumulation_steps=2)


class Scaled(Own):
    """Scales its loss, by as much at the end as at the begin."""

    def optimizer(self, lr):
        return optimizers.LossScaleOptimizer(optimizers.Adam(lr))


class Averaged(Own):
    """Keeps an average of its weights, which takes their place when training is over."""

    def optimizer(self, lr):
        return optimizers.Adam(lr, use_ema=True, ema_momentum=0.9)


class AtOnce(Own):
    """Lets Keras make three steps at once."""

    compiled = {"steps_per_execution": 3}


class Terminates(Own):
    """Keras's own callback ends training at a NaN, without an error."""

    finite_by_adapter = ["evaluate"]

    def fit(self, data, **how):
        how["callbacks"] = [*how["callbacks"], keras.callbacks.TerminateOnNaN()]
        KerasSystem.fit(self, data, **how)


class TerminatesLast(Terminates):
    """The same, where each step is the last one of its epoch."""

    settings = {
        **Own.settings, "train.epoch_mode": "fixed_steps", "train.steps_per_epoch": 1,
    }  # fmt: skip


class Loaded(AtOnce):
    """Goes on with the model that a file of Keras's holds, compiled as it was saved."""

    update = {"rule": "own"}
    slot_kinds = ()

    def save(self, path):
        super().save(path)
        self.model.save(os.path.join(path, "model.keras"))

    def restore(self, path):
        super().restore(path)
        known = {"mean_square": mean_square, "epe": epe}
        self.model = keras.models.load_model(os.path.join(path, "model.keras"), known)


class Halves(Factored):
    """Weights and statistics in bfloat16, which NumPy does not know."""

    precision = "bfloat16"

    def body(self, x):
        return layers.BatchNormalization()(super().body(x))


def part(inputs):
    frames = keras.Input((None, None, inputs))
    made = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(frames)
    return keras.Model(frames, made)


class Nested(Own):
    """Two nets within the net, whose layers have one name."""

    def body(self, x):
        return part(4)(part(6)(x))


class Shuffled(keras.utils.PyDataset):
    """Batches that come in another order in each epoch, drawn from NumPy's generator."""

    def __init__(self, split, crop, size):
        super().__init__()
        self.split, self.crop, self.size = split, crop, size
        self.order = np.arange(len(split.names))
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.order) // self.size)

    def __getitem__(self, index):
        names = [self.split.names[p] for p in self.order[index * self.size :][: self.size]]
        return as_given(self.split.read([(n, self.split.window(n, self.crop)) for n in names]))

    def on_epoch_end(self):
        np.random.shuffle(self.order)


class Sequence(Factored):
    """Gives fit one PyDataset, and saves the state of NumPy's generator."""

    settings = {
        **Own.settings, "train.epoch_mode": "full_pass", "train.train_crop_mode": "center",
    }  # fmt: skip

    def setup(self, config):
        super().setup(config)
        crop = config["data"]["input_height"], config["data"]["input_width"]
        self.data = Shuffled(self.train_split, crop, config["train"]["batch_size"])

    def training(self, epoch):
        return self.data

    def describe(self):
        found = super().describe()  # what is served is drawn: it is not told before
        left = [c for c in found["can"] if c not in ("batches", "predict", "score")]
        return {**found, "can": left}

    def save(self, path):
        super().save(path)
        held = pickle.dumps((self.data.order, random.getstate(), np.random.get_state()))
        with open(os.path.join(path, "drawn"), "wb") as file:
            file.write(zlib.crc32(held).to_bytes(4, "little") + held)

    def restore(self, path):
        super().restore(path)
        with open(os.path.join(path, "drawn"), "rb") as file:
            held = file.read()
        if zlib.crc32(held[4:]) != int.from_bytes(held[:4], "little"):
            raise ValueError(f"{path}: the checkpoint is damaged")
        self.data.order, python, numpy = pickle.loads(held[4:])
        random.setstate(python)
        np.random.set_state(numpy)


class Cosine(keras.callbacks.Callback):
    """A rate for each batch, of as many as Keras says that there will be."""

    def __init__(self, lr):
        super().__init__()
        self.lr, self.done = lr, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.done = epoch * self.params["steps"]

    def on_train_batch_begin(self, batch, logs=None):
        share = (self.done + batch) / (self.params["epochs"] * self.params["steps"])
        self.model.optimizer.learning_rate = self.lr * (1 + np.cos(np.pi * share)) / 2


class PerBatch(Own):
    """Sets the rate by a callback that counts batches: it goes on behind an epoch alone."""

    supports = ()
    schedule = {"name": "cosine"}

    def fit(self, data, **how):
        how["callbacks"] = [*how["callbacks"], Cosine(self.config["train"]["lr"])]
        super().fit(data, **how)


class Choice(keras.Model):
    """A block of three options, of which one is run."""

    def __init__(self):
        super().__init__()
        sizes = enumerate((5, 3, 1))
        self.options = [layers.Conv2D(6, s, padding="same", name=f"k{i}") for i, s in sizes]
        self.head = layers.Conv2D(2, 3, padding="same", name="head")
        self.choice = 0
        for layer in (*self.options, self.head):
            layer.build((None, None, None, 6))
        self.build((None, None, None, 6))

    def call(self, x):
        return self.head(keras.ops.relu(self.options[self.choice](x / 127.5 - 1)))


class SinglePath(Factored):
    """A supernet of which each step trains one path, drawn uniformly, which it does not tell."""

    loss = "own"
    archs = ("0", "1", "2")
    space = {"names": [["0", "1", "2"]], "sampling": "own"}
    options = [[[f"k{o}/kernel", f"k{o}/bias"] for o in range(3)]]
    heads = {"flow": ["head/kernel"]}

    def net(self):
        return Choice()

    def choose(self, arch):
        self.model.choice = int(arch)

    def fit(self, data, **how):
        class Path(keras.callbacks.Callback):
            def on_train_batch_begin(path, batch, logs=None):  # noqa: N805
                done = int(self.model.optimizer.iterations)
                drawn = np.random.default_rng([self.config["runtime"]["seed"], done])
                self.choose(drawn.integers(3))

        how["callbacks"] = [*how["callbacks"], Path()]
        super().fit(data, **how)
