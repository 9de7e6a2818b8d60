"""The NumPy system with one mistake of its adapter each, as first adapters have them."""

import os
import sys
import time

import numpy as np
from adapter import NumpySystem
from broken import RandomEvalCrops


class NoOpen(NumpySystem):
    def describe(self):
        return {"name": "n", "can": ["describe", "evaluate"]}


class CallNotThere(NumpySystem):
    def describe(self):
        return dict(super().describe(), can=["describe", "open", "evaluate", "recalibrat"])


class MethodNotThere(NumpySystem):
    def describe(self):
        found = super().describe()
        return dict(found, can=found["can"] + ["recalibrate"])


class NotInCan(NumpySystem):
    def describe(self):
        found = super().describe()
        return dict(found, can=[call for call in found["can"] if call != "predict"])


class OtherOnceOpen(NumpySystem):
    trainer = None

    def describe(self):
        found = super().describe()
        return found if self.trainer else dict(found, supports=[])


class NoSupport(NumpySystem):
    def describe(self):
        return dict(super().describe(), supports=["step"])


class NoSetting(NumpySystem):
    def describe(self):
        return dict(super().describe(), settings={"train.batchsize": 4})


class SettingOutOfRange(NumpySystem):
    def describe(self):
        return dict(super().describe(), settings={"train.batch_size": -4})


class NoPromise(NumpySystem):
    def describe(self):
        return dict(super().describe(), known_defects={"nan-stop": "not yet"})


class NeedsAnArgument(NumpySystem):
    def __init__(self, root):
        self.root = root


class HeadMisspelt(NumpySystem):
    def describe(self):
        return dict(super().describe(), heads={"h": ["head/kernal"]})


class OpenFails(NumpySystem):
    def open(self, config):
        raise FileNotFoundError("weights.bin is not there")


class EndsItself(NumpySystem):
    def evaluate(self, archs=None, batches_per_arch=None):
        sys.stderr.write("no more memory on device 0\n")
        sys.stderr.flush()
        os._exit(3)


class Hangs(NumpySystem):
    def evaluate(self, archs=None, batches_per_arch=None):
        time.sleep(60)


class NoCounters(NumpySystem):
    def state(self, changes=None):
        return {n: a for n, a in super().state(changes).items() if not n.startswith("progress/")}


class PlainCounter(NumpySystem):
    def state(self, changes=None):
        return dict(super().state(changes), step=3)


class CounterAsWeight(NumpySystem):
    def state(self, changes=None):
        return dict(super().state(changes), num_batches_tracked=np.array(3))


class RunningMean(NumpySystem):
    def state(self, changes=None):
        return {**super().state(changes), "norm/running_mean": np.zeros(3)}


class StateNotAssigned(NumpySystem):
    def state(self, changes=None):
        return super().state()


class StateIsACopy(NumpySystem):
    def open(self, config):
        super().open(config)
        self.kept = {name: np.array(array) for name, array in super().state().items()}

    def state(self, changes=None):
        self.kept.update(changes or {})
        return self.kept


class DoubleFlow(NumpySystem):
    def served(self, folder, draws):
        found = super().served(folder, draws)
        return dict(found, flow=found["flow"].astype(np.float64))


class ScaledFrames(NumpySystem):
    def served(self, folder, draws):
        found = super().served(folder, draws)
        return dict(found, frames=(found["frames"] // 255).astype(np.uint8))


class OwnCrop(NumpySystem):
    def open(self, config):
        super().open(dict(config, data=dict(config["data"], input_height=12)))


class OwnBatchSize(NumpySystem):
    def open(self, config):
        super().open(dict(config, train=dict(config["train"], batch_size=4)))


class IdsWithSuffix(NumpySystem):
    def served(self, folder, draws):
        found = super().served(folder, draws)
        return dict(found, ids=[name + "-img_0.png" for name in found["ids"]])


class NothingDrawn(NumpySystem):
    def open(self, config):
        super().open(config)
        plan = self.trainer.plan
        self.trainer.plan = lambda epoch: plan(1)


class DrawnEachTime(NumpySystem):
    def batches(self, role, epoch=1):
        self.calls = getattr(self, "calls", 0) + 1
        return super().batches(role, epoch + 10 * self.calls if role == "train" else epoch)


class NoZeroFlow(NumpySystem):
    def evaluate(self, archs=None, batches_per_arch=None):
        found = super().evaluate(archs, batches_per_arch)
        del found["zero_flow_epe"]
        return found


class ScoresNaN(NumpySystem):
    def evaluate(self, archs=None, batches_per_arch=None):
        return dict(super().evaluate(archs, batches_per_arch), mean_epe=float("nan"))


class ArchsNotHeeded(NumpySystem):
    def evaluate(self, archs=None, batches_per_arch=None):
        return super().evaluate(None, batches_per_arch)


class TakesNoArchs(NumpySystem):
    def evaluate(self):
        return super().evaluate()


class ScoresRandomCrops(RandomEvalCrops):
    pass


class ChannelsFirst(NumpySystem):
    def predict(self, arch, batch):
        return [output.transpose(0, 3, 1, 2) for output in super().predict(arch, batch)]


class OneScore(NumpySystem):
    def score(self, outputs, label, valid):
        return super().score(outputs, label, valid).mean(keepdims=True)


class StepsFromZero(NumpySystem):
    def train(self, epochs, evaluate=True, observe=True, steps=None):
        found = super().train(epochs, evaluate, observe, steps)
        for step in found["steps"]:
            step["step"] -= 1
        return found


class OtherDigests(NumpySystem):
    def train(self, epochs, evaluate=True, observe=True, steps=None):
        found = super().train(epochs, evaluate, observe, steps)
        for step in found["steps"]:
            step["batch"] = step["batch"][::-1]
        return found


class NoSteps(NumpySystem):
    def train(self, epochs, evaluate=True, observe=True, steps=None):
        super().train(epochs, evaluate, observe, steps)
        return {}


class StepsNotHeeded(NumpySystem):
    def train(self, epochs, evaluate=True, observe=True, steps=None):
        return super().train(epochs, evaluate, observe)


class SavesNothing(NumpySystem):
    def save(self, path):
        pass


class LosesMomentum(NumpySystem):
    def restore(self, path):
        super().restore(path)
        self.trainer.momentum = {n: np.zeros(a.shape) for n, a in self.trainer.momentum.items()}


class UnseededStart(NumpySystem):
    def open(self, config):
        super().open(config)
        self.trainer.weights["head/kernel"] += np.random.default_rng().normal(size=(3, 3, 4, 2))


class CannotBeSent(NumpySystem):
    def evaluate(self, archs=None, batches_per_arch=None):
        return dict(super().evaluate(archs, batches_per_arch), archs=iter([len]))


class DrawsNothing(NumpySystem):
    def describe(self):
        found = super().describe()
        return dict(found, can=found["can"] + ["draws"])

    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        return {what: np.arange(5)}


class DrawsFloats(DrawsNothing):
    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        return {what: np.random.default_rng(seed).random(5)}


class DrawsAnew(DrawsNothing):
    def draws(self, what, seed, epoch=1, samples=None, frame=None):
        return {what: np.random.default_rng().integers(99, size=5)}


class RecalibratesNothing(NumpySystem):
    def describe(self):
        found = super().describe()
        return dict(found, can=found["can"] + ["recalibrate"])

    def recalibrate(self, arch, inputs=False):
        return {"arch": arch, "stats": {}, "inputs": {}, "batch_hash": "0"}


class NoName(NumpySystem):
    def describe(self):
        return dict(super().describe(), name="")
