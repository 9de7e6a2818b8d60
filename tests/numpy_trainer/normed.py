"""The NumPy system with a moving statistic, which an evaluation may stop for good."""

import numpy as np
from declared import Sgd, Started


class Normed(Started):
    def start(self):
        self.moving, self.asleep = np.zeros(3, np.float32), False

    def train_step(self):
        if not self.asleep:
            self.moving = 0.9 * self.moving + np.float32(0.1 * (1 + self.step + self.epoch))
        return super().train_step()


class KeepsMoving(Sgd):
    """Shows the statistic, which every step moves."""

    trainer_class = Normed

    def state(self, changes=None):
        found = super().state(changes)
        return dict(found, **{"norm/moving_mean": self.trainer.moving})


class StopsAtAnEvaluation(KeepsMoving):
    def evaluate(self, archs=None, batches_per_arch=None):
        self.trainer.asleep = True
        return super().evaluate(archs, batches_per_arch)


class TellsItsModes(KeepsMoving):
    """Tells that each step was made in training mode."""

    def train(self, *args, **options):
        found = super().train(*args, **options)
        return dict(found, modes=[{"net": True, "net.norm": True} for _ in found["steps"]])
