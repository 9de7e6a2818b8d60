"""The PyTorch trainer behind the harness's protocol; see docs/pytorch.md."""

import os
from types import SimpleNamespace

import trainer

from harness.torch_system import TorchSystem


class Torch(TorchSystem):
    name = "torch"
    heads = {"flow": ["head.weight"]}
    augmentation = True  # random crops
    settings = {
        "train.epoch_mode": "full_pass", "train.lr_schedule": "per epoch", "eval.crop": "frame",
        "train.micro_batch_size": None, "train.clip_position": "update",
    }  # fmt: skip

    def setup(self, config):
        data, train = config["data"], config["train"]
        self.args = SimpleNamespace(
            lr=train["lr"], batch_size=train["batch_size"], clip=train["grad_clip_global_norm"],
            crop=(data["input_height"], data["input_width"]), epochs=train["num_epochs"],
            seed=self.seed, resume="",
        )  # fmt: skip

    def loop(self):
        pairs, val = ([s[1:] for s in self.samples(role)] for role in ("train", "val"))
        trainer.train(self.args, trainer.Pairs(pairs, self.args.crop), trainer.Pairs(val))

    def validate(self, samples):
        return trainer.validate(self.parts["model"], trainer.Pairs([s[1:] for s in samples]))

    def save(self, path):
        os.makedirs(path)
        names = "model", "optimizer", "scheduler", "ema"
        parts = [self.parts[name] for name in names]
        trainer.save(os.path.join(path, "last.pth"), self.args, self.epoch, *parts)

    def restore(self, path):
        self.args.resume = os.path.join(path, "last.pth")
        self.begin()
        self.epoch = self.variable("epoch")

    def flow(self, image1, image2):
        return self.parts["model"](image1, image2)

    def read(self, sample):
        return trainer.Pairs([sample[1:]])[0]

    def epe(self, flow, label, valid):
        return trainer.epe(flow, label, valid)
