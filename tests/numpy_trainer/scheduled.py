"""The NumPy system whose rate falls, and systems whose rate is not what they declare."""

import math

from declared import Sgd, Started


class Falling(Started):
    """Sets its rate before each step."""

    def start(self):
        self.base, self.epochs = self.lr, 1

    def plan_values(self):
        return dict(super().plan_values(), lr=self.base)

    def due(self, epoch, done, total):
        """Return the share of the base rate, behind so many epochs and steps."""
        return 0.5 if epoch >= 1 else 1.0

    def train_step(self):
        planned = len(self.plan(self.epoch + 1))
        done = self.epoch * planned + self.step
        self.lr = self.base * self.due(self.epoch, done, self.epochs * planned)
        return super().train_step()


class StepsDown(Sgd):
    """Declares a milestone behind the first epoch, and halves its rate there."""

    schedule = {"name": "step", "per": "epoch", "milestones": [1], "factor": 0.5}
    trainer_class = Falling

    def describe(self):
        return dict(super().describe(), settings={}, schedule=self.schedule)

    def open(self, config):
        super().open(config)
        self.trainer.epochs = config["train"]["num_epochs"]


class Cosine(Falling):
    def due(self, epoch, done, total):
        return (1 + math.cos(math.pi * done / total)) / 2


class SaysStepDoesCosine(StepsDown):
    trainer_class = Cosine


class Later(Falling):
    def due(self, epoch, done, total):
        return 0.5 if epoch >= 2 else 1.0


class OneEpochLate(StepsDown):
    trainer_class = Later


class Tenth(Falling):
    def due(self, epoch, done, total):
        return 0.1 if epoch >= 1 else 1.0


class AnotherFactor(StepsDown):
    trainer_class = Tenth


class Ahead(Falling):
    """Takes the rate of the step that follows."""

    def due(self, epoch, done, total):
        return super().due((done + 1) * self.epochs // total, done, total)


class OneStepAhead(StepsDown):
    trainer_class = Ahead


class Logged(Falling):
    """Logs what is due, and trains at one rate."""

    def train_step(self):
        planned = len(self.plan(self.epoch + 1))
        done, epoch = self.epoch * planned + self.step, self.epoch
        self.lr = self.base
        told = Started.train_step(self)
        self.lr = self.base * self.due(epoch, done, self.epochs * planned)
        return told


class LogsWhatIsDue(StepsDown):
    trainer_class = Logged


class Rising(Falling):
    """Rises for two steps from 0, then falls in a line."""

    def due(self, epoch, done, total):
        return done / 2 if done < 2 else (total - done) / (total - 2)


class Warmed(StepsDown):
    """Declares a line behind a warmup from 0, and is that."""

    schedule = {"name": "linear", "warmup": 2}
    trainer_class = Rising


class SaysNoWarmup(Warmed):
    schedule = {"name": "linear"}


class Cycle(Falling):
    """PyTorch's OneCycleLR, annealed by lines, two steps longer than the run."""

    def due(self, epoch, done, total):
        top, last = 0.3 * (total + 2) - 1, total + 2 - 1
        if done <= top:
            return 0.04 + 0.96 * done / top
        return 1 + (0.04 * 1e-4 - 1) * (done - top) / (last - top)


class OneCycle(StepsDown):
    """Declares the 1cycle policy, and is that."""

    schedule = {"name": "onecycle", "anneal": "linear", "beyond": 2}
    trainer_class = Cycle


class SaysItEndsWithTheRun(OneCycle):
    schedule = {"name": "onecycle", "anneal": "linear"}


class Polynomial(StepsDown):
    """Declares a schedule of its own."""

    schedule = {"name": "own", "title": "polynomial"}


class StepsAlone(Sgd):
    """Serves no batches and has no log; declares that a last batch is left out."""

    def describe(self):
        found = super().describe()
        can = [call for call in found["can"] if call not in ("batches", "predict", "score")]
        return dict(found, can=can, drop_last=True)


class TellsNoSteps(StepsAlone):
    def train(self, *args, **options):
        super().train(*args, **options)
        return {}


class Dropping(Started):
    def plan(self, epoch):
        return [batch for batch in super().plan(epoch) if len(batch) == self.batch]


class DropsLast(StepsAlone):
    trainer_class = Dropping
