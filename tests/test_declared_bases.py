"""The bases of adapters declare what their class attributes say, and nothing that is a method."""

from typing import ClassVar

import numpy as np
import pytest

from harness.systems.answers import answer


def test_a_torch_adapter_declares_by_class_attributes():
    pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")
    from harness.systems.torch.scoring import evaluation
    from harness.torch_system import TorchSystem

    class Mine(TorchSystem):
        slots: ClassVar = {"w": ("optimizer/w/exp_avg", "optimizer/w/exp_avg_sq")}
        update: ClassVar = {"rule": "adamw", "weight_decay": 1e-4}
        space: ClassVar = {"names": [["small", "large"]]}
        mean = "pixels"

        def loss(self, flow):
            """Return what an older adapter calls so."""

    found = answer("describe", Mine().describe())
    assert (found.update.rule, found.update.weight_decay) == ("adamw", 1e-4)
    assert (found.space.write((1,)), found.mean, found.loss) == ("large", "pixels", "")

    labels = {
        "a": (np.full((2, 4, 2), 3.0), np.ones((2, 4), bool)),
        "b": (np.full((2, 4, 2), 0.0), np.eye(2, 4, dtype=bool)),
    }
    scores = {"net": (1.8, [2.0, 1.0])}
    over = {
        pixels: evaluation(
            scores, [Named(n) for n in labels], lambda s: labels[s.id], pixels=pixels
        )
        for pixels in (True, False)
    }
    length = np.hypot(3.0, 3.0)
    assert over[True]["pixels"] == [8, 2]
    assert over[True]["zero_flow_epe"] == pytest.approx(length * 0.8)
    assert over[False]["zero_flow_epe"] == pytest.approx(length / 2)
    assert "pixels" not in over[False]


class Named(tuple):
    """A sample without files."""

    def __new__(cls, name):
        return super().__new__(cls, (name,))

    @property
    def id(self):
        return self[0]


def test_a_keras_adapter_declares_by_class_attributes():
    pytest.importorskip("keras", reason="Keras 3 is not installed")
    from harness.keras_system import KerasSystem

    class Mine(KerasSystem):
        mean, devices = "pixels", 2
        archs = ("small", "large")

        def setup(self, config):
            """Build nothing."""

        def validation(self):
            flow = np.full((2, 2, 4, 3), 3.0)
            flow[1, ..., 2] = np.eye(2, 4)
            return [(np.zeros((2, 1)), flow)]

        def validate(self, x, y, *weight):
            return float((y[..., 2] > 0).mean())

        def loss(self):
            """Return what an older adapter calls so."""

    system = Mine()
    found = answer("describe", system.describe())
    assert (found.mean, found.devices, found.loss) == ("pixels", 2, "")
    scores = answer("evaluate", system.evaluate())
    assert scores.pixels == (8, 2)
    assert scores.per_arch_epe == pytest.approx(((8 * 1.0 + 2 * 0.25) / 10,) * 2)
    assert scores.zero_flow_epe == pytest.approx(np.hypot(3.0, 3.0))
