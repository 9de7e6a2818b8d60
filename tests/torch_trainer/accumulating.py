"""A PyTorch trainer that accumulates micro-batches under a loss of its own, and how it may err.

It serves no training batches, and nothing of it is recomputed from outside.
"""

import os
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from trainer import Net, read_flow, read_image

from harness.torch_system import TorchSystem


class Whole(Dataset):
    def __init__(self, samples, crop):
        self.samples, self.crop = samples, crop

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        _, first, second, flow = self.samples[index]
        arrays = [read_image(first), read_image(second), np.nan_to_num(read_flow(flow))]
        (height, width), top = (
            self.crop,
            [(s - c) // 2 for s, c in zip(arrays[0].shape[1:], self.crop)],
        )
        cut = (slice(None), slice(top[0], top[0] + height), slice(top[1], top[1] + width))
        return [torch.from_numpy(np.ascontiguousarray(array[cut])) for array in arrays]


class Accumulating(TorchSystem):
    """Weighs the mean of each micro-batch by its samples."""

    name = "accumulating"
    supports = ["stops"]
    loss = "own"
    statistics_kept = 0.9
    momentum = 0.1
    shuffle = True
    heads = {"flow": ["head.weight"]}
    settings = {
        "train.epoch_mode": "full_pass", "train.lr_schedule": "none", "eval.crop": "frame",
        "train.clip_position": "update", "train.grad_clip_global_norm": 1e9,
        "train.train_crop_mode": "center",
    }  # fmt: skip
    slots = {
        name: [f"optimizer/{name}/exp_avg", f"optimizer/{name}/exp_avg_sq"]
        for name in (
            "conv.weight",
            "conv.bias",
            "norm.weight",
            "norm.bias",
            "head.weight",
            "head.bias",
        )
    }

    def made(self):
        """Return the net; the same again for the same seed."""
        net = Net()
        net.norm.momentum = self.momentum
        return net

    def loop(self):
        given, data = self.config["train"], self.config["data"]
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        model = self.made()
        optimizer = torch.optim.Adam(model.parameters(), given["lr"])
        crop = data["input_height"], data["input_width"]
        pairs = Whole(self.samples("train"), crop)
        micro = int(given["micro_batch_size"] or given["batch_size"])
        for _ in range(given["num_epochs"]):
            self.trained(model, optimizer, pairs, int(given["batch_size"]), micro)

    def trained(self, model, optimizer, pairs, size, micro):
        """Train one epoch: each batch in micro-batches."""
        for batch in DataLoader(pairs, size, shuffle=self.shuffle):
            optimizer.zero_grad()
            for piece in self.pieces(batch, micro):
                share = self.share(len(piece[0]), len(batch[0]), micro, size)
                (self.own(model, *piece) * share).backward()
            optimizer.step()

    def pieces(self, batch, micro):
        return list(zip(*(array.split(micro) for array in batch)))

    def share(self, samples, batch, micro, size):
        return samples / batch

    def own(self, model, first, second, flow):
        """Return a robust loss, which nobody outside knows."""
        return torch.sqrt((model(first, second) - flow).square().sum(1) + 1e-4).pow(0.7).mean()

    def validate(self, samples):
        model = self.parts["model"]
        pairs = Whole(
            [tuple(sample) for sample in samples], read_image(samples[0].image1).shape[1:]
        )
        model.eval()
        with torch.no_grad():
            found = [
                torch.linalg.vector_norm(model(a[None], b[None]) - flow[None], dim=1).mean()
                for a, b, flow in pairs
            ]
        model.train()
        return float(torch.stack(found).mean())

    def save(self, path):
        os.makedirs(path)
        kept = [self.parts[name].state_dict() for name in ("model", "optimizer")]
        torch.save((kept, self.epoch), os.path.join(path, "last.pth"))

    def restore(self, path):
        (model, optimizer), epoch = torch.load(os.path.join(path, "last.pth"))
        self.begin()
        self.parts["model"].load_state_dict(model)
        self.parts["optimizer"].load_state_dict(optimizer)
        self.epoch = epoch


class InAStream(Accumulating):
    """Steps every so many batches of its DataLoader, and at the end of a pass: by their number."""

    def trained(self, model, optimizer, pairs, size, micro):
        loader, every = DataLoader(pairs, micro, shuffle=self.shuffle), -(-size // micro)
        last = len(loader) - 1
        optimizer.zero_grad()
        for place, piece in enumerate(loader):
            group = min(every, last + 1 - place // every * every)
            (self.own(model, *piece) / self.parts_of(group, every)).backward()
            if self.steps_at(place, every, last):
                optimizer.step()
                optimizer.zero_grad()

    def parts_of(self, group, every):
        return group

    def steps_at(self, place, every, last):
        return (place + 1) % every == 0 or place == last


class RemainderOverAll(InAStream):
    """Divides the few batches at the end of a pass by as many as a step has."""

    def parts_of(self, group, every):
        return every


class RemainderForgotten(InAStream):
    """Makes no step at the end of a pass."""

    def steps_at(self, place, every, last):
        return (place + 1) % every == 0


class PlannedPieces(Accumulating):
    """Divides by the micro-batches of a full batch."""

    def share(self, samples, batch, micro, size):
        return 1 / -(-size // micro)


class FullBatch(Accumulating):
    """Divides by the samples of a full batch."""

    def share(self, samples, batch, micro, size):
        return samples / size


class Summed(Accumulating):
    """Sums the means of micro-batches."""

    def share(self, samples, batch, micro, size):
        return 1.0


class LastForgotten(Accumulating):
    """Leaves a last micro-batch that is not full out, and shares its weight among the others."""

    def pieces(self, batch, micro):
        found = super().pieces(batch, micro)
        whole = [piece for piece in found if len(piece[0]) == micro] or found
        self.samples_of_whole = sum(len(piece[0]) for piece in whole)
        return whole

    def share(self, samples, batch, micro, size):
        return samples / self.samples_of_whole


class SumOfSamples(Accumulating):
    """Its loss is a sum over samples, by design."""

    def share(self, samples, batch, micro, size):
        return float(samples)


class Ramped(Accumulating):
    """Its loss weighs more with each step, by design."""

    def trained(self, model, optimizer, pairs, size, micro):
        self.steps_begun = 0
        super().trained(model, optimizer, pairs, size, micro)

    def pieces(self, batch, micro):
        self.steps_begun += 1
        return super().pieces(batch, micro)

    def share(self, samples, batch, micro, size):
        return samples / batch * self.steps_begun


class DropsOut(Accumulating):
    """Its net has dropout, which each micro-batch draws anew."""

    def made(self):
        net = super().made()
        net.head = nn.Sequential(nn.Dropout(0.5), net.head)
        return net

    heads = {"flow": ["head.1.weight"]}
    slots = {
        name.replace("head.", "head.1."): [slot.replace("head.", "head.1.") for slot in pair]
        for name, pair in Accumulating.slots.items()
    }


class OtherMomentum(Accumulating):
    """Keeps 0.99 of its statistics, where it says 0.9."""

    momentum = 0.01


class OtherWayRound(Accumulating):
    """Keeps 0.1, as one does who takes TensorFlow's momentum to PyTorch."""

    momentum = 0.9


class RunTwice(Accumulating):
    """Looks at each micro-batch twice, as a net does that is recomputed for its gradient."""

    def own(self, model, first, second, flow):
        with torch.no_grad():
            model(first, second)
        return super().own(model, first, second, flow)


class InOneOrder(Accumulating):
    """Forgets to shuffle."""

    shuffle = False


class SameEachEpoch(Accumulating):
    """Seeds each epoch with the same number."""

    def trained(self, *args):
        torch.manual_seed(self.seed)
        super().trained(*args)
