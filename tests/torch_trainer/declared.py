"""The PyTorch trainer under other optimizers, with what it declares of them."""

import torch
import trainer
from adapter import Torch

DECAY = 0.05


class Usual(Torch):
    """Names the moments of its Adam, and says no more."""

    supports = ["steps"]
    slots = {
        name: [f"optimizer/{name}/exp_avg", f"optimizer/{name}/exp_avg_sq"]
        for name in ("conv.weight", "conv.bias", "head.weight", "head.bias")
    }


class Decayed(Usual):
    """Trains with AdamW and says so; what is normalised, and biases, have no decay."""

    update = {"rule": "adamw", "weight_decay": DECAY, "undecayed": ["*bias"]}
    optimizer = torch.optim.AdamW

    def loop(self):
        before, trainer.torch.optim.Adam = torch.optim.Adam, self.made
        try:
            super().loop()
        finally:
            trainer.torch.optim.Adam = before

    def made(self, parameters, lr):
        """Return the optimizer, with and without decay."""
        weights = list(parameters)
        groups = [
            {"params": [w for w in weights if w.ndim > 1], "weight_decay": DECAY},
            {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
        ]
        return self.optimizer(groups, lr)


class Coupled(Decayed):
    """Says the same, and adds the decay to the gradient."""

    optimizer = torch.optim.Adam


class InItsGradient(Coupled):
    """Says that the decay is added to the gradient, and names the moments of all its weights."""

    update = {"rule": "adam", "weight_decay": DECAY, "undecayed": ["*bias", "norm.*"]}
    slots = {
        name: [f"optimizer/{name}/exp_avg", f"optimizer/{name}/exp_avg_sq"]
        for name in (*Usual.slots, "norm.weight", "norm.bias")
    }


class ClipsTooFar(InItsGradient):
    """Clips at half of what is configured."""

    def loop(self):
        self.args.clip /= 2
        super().loop()


class PerEpoch(Usual):
    """Says that its rate follows a cosine, set anew in each epoch."""

    settings = {**Usual.settings}
    schedule = {"name": "cosine", "per": "epoch"}
    del settings["train.lr_schedule"]


class PerStep(PerEpoch):
    """Says the same of each step, which it does not do."""

    schedule = {"name": "cosine"}


class KeepsGradients(Usual):
    """Adds each step's gradient to those of the steps before: no zero_grad().

    Its moments are known once its loop has made the weights.
    """

    supports = ["stops"]

    @property
    def slots(self):
        return Usual.slots if self.parts.get("model") else {}

    def loop(self):
        before, torch.optim.Adam.zero_grad = torch.optim.Adam.zero_grad, lambda *_, **__: None
        try:
            super().loop()
        finally:
            torch.optim.Adam.zero_grad = before


class SlowBias(trainer.Net):
    """Its last bias has a hundredth of its gradient."""

    def __init__(self):
        super().__init__()
        self.head.bias.register_hook(lambda gradient: 0.01 * gradient)


class Stopped(trainer.Net):
    """Stops two thirds of each gradient at its head, by design."""

    def __init__(self):
        super().__init__()
        self.head.register_forward_hook(lambda *given: (given[2] + 2 * given[2].detach()) / 3)


class LearnsSlowly(Usual):
    """Trains a net of which one weight's gradient is another."""

    net = SlowBias

    def loop(self):
        before, trainer.Net = trainer.Net, self.net
        try:
            super().loop()
        finally:
            trainer.Net = before


class StopsGradients(LearnsSlowly):
    """Trains a net that stops gradients, as RAFT does between its iterations."""

    net = Stopped
