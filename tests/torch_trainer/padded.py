"""The PyTorch trainer with a net that takes sides of whole eights, validated on padded frames."""

import torch
import trainer
from adapter import Torch
from torch.nn import functional


class Padder:
    """Pads frames to sides of whole eights, half on each side, and takes it off of a flow."""

    def __init__(self, shape):
        height, width = -shape[-2] % 8, -shape[-1] % 8
        self.sides = [width // 2, width - width // 2, height // 2, height - height // 2]

    def pad(self, *images):
        return [functional.pad(image, self.sides, mode="replicate") for image in images]

    def unpad(self, flow):
        left, right, top, bottom = self.sides
        return flow[..., top : flow.shape[-2] - bottom, left : flow.shape[-1] - right]


def predict(model, first, second):
    padder = Padder(first.shape)
    first, second = padder.pad(first, second)
    if any(side % 8 for side in first.shape[-2:]):
        raise ValueError(f"{first.shape}: sides of whole eights are expected")
    return padder.unpad(model(first, second))


@torch.no_grad()
def validate(model, pairs):
    """Return the mean EPE over whole frames, px."""
    model.eval()
    found = [
        float(trainer.epe(predict(model, first[None], second[None]), flow[None], known[None]))
        for first, second, flow, known in pairs
    ]
    trainer.require_finite(model, *found)
    return sum(found) / len(found)


class Padded(Torch):
    stride = 8

    def validate(self, samples):
        return validate(self.parts["model"], trainer.Pairs([s[1:] for s in samples]))

    def flow(self, image1, image2):
        return predict(self.parts["model"], image1, image2)


class UnpadsAtTheCorner(Padded):
    """Takes off of the flow what was padded as if all of it lay below and to the right."""

    def validate(self, samples):
        def unpad(self, flow):
            left, right, top, bottom = self.sides
            return flow[..., : flow.shape[-2] - top - bottom, : flow.shape[-1] - left - right]

        Padder.unpad, before = unpad, Padder.unpad
        try:
            return super().validate(samples)
        finally:
            Padder.unpad = before
