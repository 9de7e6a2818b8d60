"""Keras trainers with a bug each, which the base does not hide."""

import keras
import numpy as np
from honest import Averaged, Own, Sequence
from toy import MyTrainer, as_given

from harness.keras_system import KerasSystem


class Unsaved(Sequence):
    """Shuffles by NumPy's generator, whose state no checkpoint has."""

    save, restore = MyTrainer.save, MyTrainer.restore


class Scored(keras.utils.PyDataset):
    """Batches of validation, behind which something is drawn, as where a data set shuffles."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]

    def on_epoch_end(self):
        np.random.permutation(len(self.batches))


class Shares(Sequence):
    """Validation draws from the generator that training draws from, at its end."""

    def validation(self):
        return Scored(super().validation())


class Counts(Sequence):
    """Draws the order of an epoch from the count of epochs that this process has begun."""

    begun = 0

    def training(self, epoch):
        self.begun += 1
        split, data = self.train_split, self.config["data"]
        order = np.random.default_rng(self.begun).permutation(len(split.names))
        crop = data["input_height"], data["input_width"]
        draws = [(split.names[p], split.window(split.names[p], crop)) for p in order]
        size = self.config["train"]["batch_size"]
        return [as_given(split.read(draws[i : i + size])) for i in range(0, len(draws), size)]


class Halving(keras.callbacks.Callback):
    """Halves the rate with each step that it has seen itself."""

    def __init__(self, lr):
        super().__init__()
        self.lr = lr

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.lr
        self.lr = self.lr / 2


class Anew(Own):
    """Keeps a callback whose count of steps no checkpoint has."""

    schedule = {"name": "own", "title": "halved with each step"}

    def setup(self, config):
        super().setup(config)
        self.halving = Halving(config["train"]["lr"])

    def fit(self, data, **how):
        how["callbacks"] = [*how["callbacks"], self.halving]
        super().fit(data, **how)


class Begins(Anew):
    """Begins to count with fit, as it does behind a resume; it goes on behind an epoch alone."""

    supports = ()

    def setup(self, config):
        super().setup(config)
        lr, halving = config["train"]["lr"], self.halving
        halving.on_train_begin = lambda logs=None: setattr(halving, "lr", lr)


class Swapped(Averaged):
    """Scores the average of the weights, and trains on it from there on."""

    def validate(self, x, y, *weight):
        averages = (v for v in self.model.optimizer.variables if v.path.endswith("_average"))
        for weights, average in zip(self.model.trainable_variables, averages, strict=True):
            weights.assign(average)
        return super().validate(x, y, *weight)


class GoesOn(Own):
    """Has nothing that looks for a NaN."""

    finite_by_adapter = ["evaluate"]

    def fit(self, data, **how):
        KerasSystem.fit(self, data, **how)
