"""A small optical-flow trainer in PyTorch, as somebody else might have written it.

A script with a loop: it keeps nothing outside of its functions, has no hooks, trains on crops with
noise, clips, validates on whole frames with one number. Nothing in it knows of the harness.
"""

import random
import zlib

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader, Dataset


def read_image(path):
    """Return an image, float32 (3, H, W), RGB."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)
    except OSError as error:
        raise ValueError(f"{path}: {error}") from error


def read_flow(path):
    """Return flow, float32 (2, H, W), px; a file of another size, or with NaN, is refused."""
    with open(path, "rb") as file:
        data = file.read()
    width, height = np.frombuffer(data, "<i4", 2, 4).tolist()
    if data[:4] != b"PIEH" or len(data) != 12 + 8 * width * height:
        raise ValueError(f"{path}: {len(data)} bytes do not hold {width} x {height}")
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).transpose(2, 0, 1)
    if np.isnan(flow).any():
        raise ValueError(f"{path}: NaN in the flow")
    return flow


def known(flow):
    """Return where flow (2, H, W) is known, by Middlebury's limit of 1e9 px."""
    return (np.abs(flow) <= 1e9).all(axis=0)


class Pairs(Dataset):
    """Pairs of images with their flow, from (image 1, image 2, flow) paths; random crops."""

    def __init__(self, paths, crop=None):
        self.paths, self.crop = paths, crop

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        first, second, label = self.paths[index]
        flow = read_flow(label)
        images = read_image(first), read_image(second)
        for path, image in zip((first, second), images):
            if image.shape[1:] != flow.shape[1:]:
                raise ValueError(f"{path}: another size than its flow")
        mask = known(flow)
        arrays = [*images, np.where(mask, flow, 0), mask]
        if self.crop:
            top, left = (random.randint(0, s - c) for s, c in zip(flow.shape[1:], self.crop))
            rows, columns = (slice(top, top + self.crop[0]), slice(left, left + self.crop[1]))
            arrays = [array[..., rows, columns] for array in arrays]
        return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


class Net(nn.Module):
    """Two convolutions with BN, on a quarter of the size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, first, second):
        x = torch.cat([first, second], dim=1) / 127.5 - 1
        small = functional.relu(self.norm(self.conv(functional.avg_pool2d(x, 4, ceil_mode=True))))
        return functional.interpolate(self.head(small), x.shape[2:], mode="bilinear")


def epe(flow, label, known):
    """Return each sample's mean end-point error over its known pixels, px."""
    distance = torch.linalg.vector_norm((flow - label).double(), dim=1)
    return torch.stack([d[k].mean() for d, k in zip(distance, known)])


@torch.no_grad()
def validate(model, pairs):
    """Return the mean EPE over a data set, px."""
    model.eval()
    found = [
        float(epe(model(first[None], second[None]), flow[None], known[None]))
        for first, second, flow, known in pairs
    ]
    require_finite(model, *found)
    return sum(found) / len(found)


def require_finite(model, *values):
    if not np.isfinite(values).all():
        bad = [name for name, weight in model.state_dict().items() if not weight.isfinite().all()]
        raise FloatingPointError(f"not finite: {values}; weights: {bad or 'finite'}")


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train(args, pairs, val):
    """Train for `args.epochs`, from `args.resume` if there is one; validate after each epoch."""
    seed_all(args.seed)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), args.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    ema = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    loader = DataLoader(pairs, args.batch_size, shuffle=True)
    epoch = load(args.resume, args, model, optimizer, scheduler, ema) if args.resume else 0
    while epoch < args.epochs:
        model.train()
        for first, second, flow, known in loader:
            optimizer.zero_grad()
            noise = np.random.uniform(0, 2) * torch.randn(first.shape)
            error = (model(first + noise, second) - flow).abs().sum(dim=1)
            loss = (error * known).sum() / known.sum()
            require_finite(model, loss.item())
            loss.backward()
            clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            ema.update_parameters(model)
        scheduler.step()
        epoch += 1
        print(f"epoch {epoch}: {validate(model, val):.3f} px")


def plan(args):
    """Return what a run must go on under."""
    return {name: getattr(args, name) for name in ("lr", "batch_size", "crop", "clip", "epochs")}


def save(path, args, epoch, *parts):
    """Write a checkpoint: a checksum, and everything that the next epoch depends on."""
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    content = [plan(args), epoch, generators, [part.state_dict() for part in parts]]
    torch.save(content, path)
    with open(path, "rb+") as file:
        checksum = zlib.crc32(file.read())
        file.write(checksum.to_bytes(4, "little"))


def load(path, args, *parts):
    """Go on from a checkpoint; return its epoch."""
    with open(path, "rb") as file:
        content = file.read()
    if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
        raise ValueError(f"{path}: the checkpoint is damaged")
    saved, epoch, generators, states = torch.load(path, weights_only=False)
    for name, value in plan(args).items():
        if saved[name] != value:
            raise ValueError(f"{path}: {name} was {saved[name]}, and is {value}")
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)
    random.setstate(generators[0])
    np.random.set_state(generators[1])
    torch.set_rng_state(generators[2])
    return epoch
