"""The NumPy system with every call of the protocol, and mistakes of those that few write."""

import numpy as np
from offline import OfflineNumpy


class NotApplicableError(Exception):
    """What is asked does not exist here."""


class EveryCall(OfflineNumpy):
    """Answers every call, of those that a trainer has no use for that it has none."""

    def describe(self):
        about = super().describe()
        more = ["draws", "recalibrate", "training_samples"]
        return dict(about, can=[*about["can"], *more], augmentation=True)

    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        raise NotApplicableError("nothing is told of draws")

    def batches(self, role, epoch=1):
        return super().batches("train" if role == "recal" else role, epoch)

    def recalibrate(self, arch, inputs=False):
        raise NotApplicableError("there is no batch normalisation")

    def training_samples(self):
        epoch = self.trainer.epoch + 1
        batches = [self.trainer.train.batch(draws) for draws in self.trainer.plan(epoch)]
        return [self.sample(*one) for batch in batches for one in zip(*batch)]

    def sample(self, frames, flow, known):
        first, second = frames[..., :3].astype(np.float32), frames[..., 3:].astype(np.float32)
        return {"first": first, "second": second, "flow": flow, "valid": known}


class NoSamples(EveryCall):
    def training_samples(self):
        return []


class NoneValid(EveryCall):
    def sample(self, *arrays):
        found = super().sample(*arrays)
        return dict(found, valid=0 * found["valid"] > 0)


class SamplesOfNaN(EveryCall):
    def sample(self, *arrays):
        found = super().sample(*arrays)
        return dict(found, first=found["first"] * np.float32(np.nan))


class SamplesInDouble(EveryCall):
    def sample(self, *arrays):
        found = super().sample(*arrays)
        return dict(found, first=found["first"].astype(float))


class OfflineFails(EveryCall):
    def evaluate_offline(self, path, archs=None, batches_per_arch=None, workers=1):
        raise FileNotFoundError("%s/net.bin is not there" % path)


class OfflineNaN(EveryCall):
    def evaluate_offline(self, path, archs=None, batches_per_arch=None, workers=1):
        found = super().evaluate_offline(path, archs, batches_per_arch, workers)
        return dict(found, per_arch_epe=[float("nan") for _ in found["archs"]])


class NoCheckpoint(EveryCall):
    """Saves nothing, and is asked for nothing that needs a checkpoint."""

    def describe(self):
        about = super().describe()
        can = [call for call in about["can"] if call not in ("save", "batches")]
        return dict(about, can=can, augmentation=False)
