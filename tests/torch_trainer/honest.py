"""PyTorch trainers that do something legitimate in another way than most; all is as they declare.

They were accused once. Each batch comes in an order of its own, so that steps can be recomputed.
"""

import io
import os
import zlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, default_collate
from trainer import Net, Pairs, epe, require_finite, seed_all

from harness.systems.torch.samples import digest
from harness.systems.torch.scoring import served
from harness.systems.torch.watch import arrays_in
from harness.torch_system import TorchSystem


class Centred(Pairs):
    def __getitem__(self, index):
        crop, self.crop = self.crop, None
        arrays, self.crop = super().__getitem__(index), crop
        if not crop:
            return arrays
        top, left = ((s - c) // 2 for s, c in zip(arrays[0].shape[1:], crop))
        return [a[..., top : top + crop[0], left : left + crop[1]] for a in arrays]


class Order:
    """A sampler whose order follows from the seed and the epoch; it may go on within one."""

    def __init__(self, seed, count):
        self.seed, self.count, self.epoch, self.skip = seed, count, 1, 0

    def __iter__(self):
        drawn = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        return iter(drawn.tolist()[self.skip :])

    def __len__(self):
        return self.count


class Own(TorchSystem):
    """Adam at one rate on the l1 of the flow, in micro-batches."""

    loss = "l1"
    supports = ["steps"]
    heads = {"flow": ["head.weight"]}
    settings = {
        "train.epoch_mode": "full_pass", "train.clip_position": "update", "eval.crop": "frame",
        "train.train_crop_mode": "center", "train.lr_schedule": "constant", "data.flow_clip": None,
    }  # fmt: skip
    statistics_kept = 0.9
    slotted = "exp_avg", "exp_avg_sq"
    scored = "model"

    @property
    def slots(self):
        model = self.parts.get("model")
        names = [n for n, w in model.named_parameters() if w.requires_grad] if model else []
        return {name: [f"optimizer/{name}/{slot}" for slot in self.slotted] for name in names}

    # What the others do otherwise.

    def net(self):
        return Net()

    def optimizer(self, model, lr):
        return torch.optim.Adam(model.parameters(), lr)

    def scheduler(self, optimizer, steps):
        return None

    def average(self, model):
        return None

    def objective(self, model, first, second, flow, known):
        error = (model(first, second) - flow).abs().sum(dim=1)
        return (error * known).sum() / (2 * known.sum())

    def clipped(self, model):
        limit = self.config["train"]["grad_clip_global_norm"]
        torch.nn.utils.clip_grad_norm_(model.parameters(), limit)

    def step_of(self, model, optimizer, batch):
        optimizer.zero_grad()
        micro = int(self.config["train"]["micro_batch_size"] or len(batch[0]))
        for piece in zip(*(array.split(micro) for array in batch)):
            loss = self.objective(model, *piece) * (len(piece[0]) / len(batch[0]))
            require_finite(model, loss.item())
            loss.backward()
        self.clipped(model)
        optimizer.step()

    # What they have in common.

    def setup(self, config):
        data = config["data"]
        self.crop = data["input_height"], data["input_width"]
        self.resume = ""

    def pairs(self, role="train"):
        return Centred([s[1:] for s in self.samples(role)], self.crop)

    def loop(self):
        given, pairs = self.config["train"], self.pairs()
        seed_all(self.seed)
        model = self.net()
        optimizer = self.optimizer(model, given["lr"])
        size, sampler = given["batch_size"], Order(self.seed, len(pairs))
        loader = DataLoader(pairs, size, sampler=sampler, generator=torch.Generator())
        scheduler = self.scheduler(optimizer, len(loader) * given["num_epochs"])
        ema = self.average(model)
        epoch, step = self.load(model, optimizer, scheduler, ema)
        while epoch < given["num_epochs"]:
            sampler.epoch, sampler.skip = epoch + 1, step * size
            model.train()
            for batch in loader:
                self.step_of(model, optimizer, batch)
                if ema:
                    ema.update_parameters(model)
                if scheduler:
                    scheduler.step()
            epoch, step = epoch + 1, 0

    def plan(self):
        names = "lr", "batch_size", "micro_batch_size", "grad_clip_global_norm", "num_epochs"
        return {**{n: self.config["train"][n] for n in names}, "crop": self.crop}

    def save(self, path):
        os.makedirs(path)
        names = [n for n in ("model", "optimizer", "scheduler", "ema") if n in self.parts]
        held, states = io.BytesIO(), {n: self.parts[n].state_dict() for n in names}
        place = self.plan(), self.epoch, self.step, torch.get_rng_state(), states
        torch.save(place, held)
        with open(os.path.join(path, "last.pth"), "wb") as file:
            file.write(held.getvalue() + zlib.crc32(held.getvalue()).to_bytes(4, "little"))

    def restore(self, path):
        self.resume = os.path.join(path, "last.pth")
        self.begin()
        self.epoch, self.step = self.variable("epoch"), self.variable("step")

    def load(self, *parts):
        if not self.resume:
            return 0, 0
        with open(self.resume, "rb") as file:
            content = file.read()
        if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
            raise ValueError(f"{self.resume}: the checkpoint is damaged")
        saved = torch.load(io.BytesIO(content[:-4]), weights_only=False)
        for name, value in self.plan().items():
            if saved[0][name] != value:
                raise ValueError(f"{self.resume}: {name} was {saved[0][name]}, and is {value}")
        for name, part in zip(("model", "optimizer", "scheduler", "ema"), parts):
            if part is not None:
                part.load_state_dict(saved[4][name])
        torch.set_rng_state(saved[3])
        return saved[1:3]

    @torch.no_grad()
    def validate(self, samples):
        model, found = self.parts[self.scored], []
        model.eval()
        for sample in samples:
            first, second, flow, known = self.read(sample)
            found.append(float(epe(model(first[None], second[None]), flow[None], known[None])))
        require_finite(model, *found)
        return sum(found) / len(found)

    def flow(self, image1, image2):
        return self.parts[self.scored](image1, image2)

    def read(self, sample):
        return Centred([sample[1:]])[0]

    def epe(self, flow, label, valid):
        return epe(flow, label, valid)

    def batches(self, role, epoch=1):
        if role != "train":
            return super().batches(role, epoch)
        pairs, every, sampler = self.pairs(), self.samples("train"), None
        sampler, size = Order(self.seed, len(every)), int(self.config["train"]["batch_size"])
        sampler.epoch, found = epoch, []
        order = list(sampler)
        for places in (order[i : i + size] for i in range(0, len(order), size)):
            samples = [pairs[i] for i in places]
            batch = served([every[i] for i in places], samples)
            sizes = [self.read(every[i])[0].shape[1:] for i in places]
            tops = [[(s - c) // 2 for s, c in zip(one, self.crop)] for one in sizes]
            batch["windows"] = [(*top, *self.crop) for top in tops]
            found.append(dict(batch, digest=digest(*arrays_in(default_collate(samples)))))
        return found


class Momentum(Own):
    """SGD with Nesterov's momentum and a coupled decay."""

    update = {"rule": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}
    slotted = ("momentum_buffer",)

    def optimizer(self, model, lr):
        return torch.optim.SGD(model.parameters(), lr, 0.9, weight_decay=1e-4, nesterov=True)


class PlainSgd(Own):
    """SGD alone: a bias that the normalisation takes out again does not move at all."""

    update = {"rule": "own"}
    slots = {}

    def optimizer(self, model, lr):
        return torch.optim.SGD(model.parameters(), lr)


class Lion(torch.optim.Optimizer):
    """Chen et al., 2023, with an __init__ of its own."""

    def __init__(self, params, lr, decay=0.01):
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                average = self.state[weight].setdefault("exp_avg", torch.zeros_like(weight))
                weight.mul_(1 - group["lr"] * group["decay"])
                weight.add_((0.9 * average + 0.1 * weight.grad).sign(), alpha=-group["lr"])
                average.lerp_(weight.grad, 0.01)


class OfLion(PlainSgd):
    """Its optimizer is one that nobody knows."""

    def optimizer(self, model, lr):
        return Lion(model.parameters(), lr)


class OneCycle(Own):
    """The 1cycle policy, whose last rate is less than what rounding leaves of a weight."""

    settings = {k: v for k, v in Own.settings.items() if k != "train.lr_schedule"}
    schedule = {"name": "onecycle"}

    def scheduler(self, optimizer, steps):
        rate = self.config["train"]["lr"]
        kind = torch.optim.lr_scheduler.OneCycleLR
        return kind(optimizer, rate, total_steps=steps, cycle_momentum=False)


class Averaged(Own):
    """What is scored is an average of weights and statistics."""

    heads = {"flow": ["ema/head.weight"]}
    scored = "ema"

    def average(self, model):
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        return torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average, use_buffers=True)


class ClipsEach(Own):
    """Clips the gradient of each weight by itself, and says so."""

    clip = "own"

    def clipped(self, model):
        for weight in model.parameters():
            torch.nn.utils.clip_grad_norm_(weight, 0.1)


class FrozenPart(Own):
    """Trains neither its first convolution nor the statistics of its normalisation."""

    frozen = ["conv.*", "norm.moving_*"]
    statistics_kept = None

    def net(self):
        class Part(Net):
            def train(net, mode=True):  # noqa: N805 -- `self` is the adapter
                super().train(mode)
                net.norm.eval()
                return net

        found = Part()
        found.conv.requires_grad_(False)
        return found


class SaysFrozen(Own):
    """Declares a head that it trains."""

    frozen = ["head.bias"]


class Constant(Own):
    """Keeps the mean of images, and a blur of four axes, as buffers."""

    def net(self):
        class Blurred(Net):
            def __init__(net):  # noqa: N805
                super().__init__()
                net.register_buffer("mean", torch.full((1, 3, 1, 1), 9.0), persistent=False)
                net.register_buffer("blur", torch.full((3, 1, 3, 3), 1 / 9))

            def forward(net, first, second):  # noqa: N805
                images = (a - net.mean for a in (first, second))
                return super().forward(
                    *(functional.conv2d(a, net.blur, padding=1, groups=3) for a in images)
                )

        return Blurred()


class Pretrained(Own):
    """Goes on from weights of a file; a seed orders its samples."""

    initializer = "pretrained"

    def net(self):
        with torch.random.fork_rng():
            torch.manual_seed(4)
            found = Net()
            nn.init.constant_(found.head.bias, 0.5)
            return found


class Detached(Own):
    """RAFT's loss over iterations, between which the flow is detached."""

    loss = "detached"

    def net(self):
        class Iterated(Net):
            def forward(net, first, second):  # noqa: N805
                flow, found = 0.0, []
                for _ in range(2):
                    shift = 0.0 if isinstance(flow, float) else flow.detach()
                    flow = shift + super().forward(first + 0 * torch.mean(first), second)
                    flow = flow * torch.sigmoid(flow)
                    found.append(flow)
                return found if net.training else flow

        return Iterated()

    def objective(self, model, first, second, flow, known):
        errors = [((f - flow).abs().sum(dim=1) * known).sum() for f in model(first, second)]
        return (0.8 * errors[0] + errors[1]) / known.sum()


class NaNs(Centred):
    """Takes a flow of NaN for unknown, as the files of some data sets have it."""

    def __getitem__(self, index):
        import trainer

        known, trainer.read_flow = trainer.read_flow, lambda path: masked(known, path)
        try:
            return super().__getitem__(index)
        finally:
            trainer.read_flow = known


def masked(read, path):
    with open(path, "rb") as file:
        data = file.read()
    numbers = np.frombuffer(data, "<f4", offset=12)
    if not np.isnan(numbers).any():
        return read(path)
    width, height = np.frombuffer(data, "<i4", 2, 4).tolist()
    return np.nan_to_num(numbers.reshape(height, width, 2).transpose(2, 0, 1), nan=1e10)


class NaNIsUnknown(Own):
    def read(self, sample):
        return NaNs([sample[1:]])[0]


class Mixed(nn.Module):
    """A block of three options, of which one is run."""

    def __init__(self):
        super().__init__()
        self.options = nn.ModuleList([nn.Conv2d(8, 8, s, padding=s // 2) for s in (5, 3, 1)])
        self.choice = 0

    def forward(self, x):
        return x + functional.relu(self.options[self.choice](x))


class SinglePath(Own):
    """A supernet of which each step trains one path, drawn uniformly: SPOS, not FairNAS."""

    loss = "own"
    archs = ("00", "11", "22", "01", "12")
    space = {"names": [["0", "1", "2"]] * 2, "sampling": "own"}
    options = [
        [[f"head.{b}.options.{o}.weight", f"head.{b}.options.{o}.bias"] for o in range(3)]
        for b in range(2)
    ]
    option_arrays = [[[], [], []]] * 2
    settings = {**Own.settings, "train.micro_batch_size": None}

    def net(self):
        found = Net()
        found.head = nn.Sequential(Mixed(), Mixed(), found.head)
        return found

    heads = {"flow": ["head.2.weight"]}
    path = (0, 0)

    def choose(self, arch):
        for block, option in zip(self.parts["model"].head, arch):
            block.choice = int(option)

    def step_of(self, model, optimizer, batch):
        self.path = torch.randint(3, (2,)).tolist()
        self.choose(self.path)
        super().step_of(model, optimizer, batch)


class TellsItsPath(SinglePath):
    """The same, and tells it."""

    def trained_archs(self):
        return ["".join(map(str, self.path))]
