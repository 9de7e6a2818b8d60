"""An adapter for PyTorch of a trainer that validates an average of its weights."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

from harness.promises.adapter_findings import described  # noqa: E402
from harness.promises.setting import embedded_config  # noqa: E402
from harness.systems.protocol import Description  # noqa: E402
from harness.torch_system import TorchSystem  # noqa: E402


class Order(torch.utils.data.Sampler):
    """The samples of an epoch in an order of the sampler's own."""

    def __init__(self, generator=None):
        self.generator = generator

    def __iter__(self):
        return iter((1, 0, 2))

    def __len__(self):
        return 3


def scored(net):
    with torch.no_grad():
        for batch in torch.utils.data.DataLoader(torch.ones(2, 3), generator=torch.Generator()):
            net(batch)


def shown(batches):  # as a progress bar does
    yield from batches


class Averaged(TorchSystem):
    """Its loop calls what it trains `net`, and its validation what it scores."""

    steps, workers, of_sampler = True, 0, False

    def loop(self):
        net = torch.nn.Linear(3, 1)
        average = copy.deepcopy(net)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        generator = torch.Generator()
        loader = torch.utils.data.DataLoader(
            torch.ones(3, 3), 2, sampler=Order(generator if self.of_sampler else None),
            generator=generator, num_workers=self.workers,
        )  # fmt: skip
        del generator
        for _ in range(self.config["train"]["num_epochs"]):
            for batch in shown(loader):
                net(batch).square().mean().backward()
                if self.steps:
                    optimizer.step()
            scored(average)

    def validate(self, samples):
        return [self.parts["average"].weight.sum().item()] * len(samples)


def opened(frames, **attributes):
    system = type("Sub", (Averaged,), attributes)()
    tree = embedded_config(frames).model_dump(mode="json", by_alias=True)
    tree["train"]["num_epochs"] = 2
    system.open(tree)
    return system


def test_a_loop_that_has_ended_has_the_parts_that_it_was_held_with(embedded_frames):
    system = opened(embedded_frames)
    held = list(system.parts)
    before = system.state()
    system.train(2)
    assert list(system.parts) == held == ["net", "average", "optimizer"]
    assert not np.array_equal(system.state()["weight"], before["weight"])
    assert np.array_equal(system.state()["average/weight"], before["average/weight"])
    system.close()


def test_a_loop_that_never_steps_is_told_so(embedded_frames):
    system = opened(embedded_frames, steps=False)
    with pytest.raises(RuntimeError, match="ended without a step of an optimizer of PyTorch's"):
        system.train(1)
    system.close()


@pytest.mark.parametrize(("attributes", "kept"), [
    ({}, False), ({"of_sampler": True}, True), ({"workers": 1}, True),
])  # fmt: skip
def test_a_loaders_generator_is_state_where_something_follows_from_it(
    attributes, kept, embedded_frames
):
    system = opened(embedded_frames, **attributes)
    assert ("progress/batches_generator" in system.state()) == kept
    system.close()


def test_calls_of_the_base_that_nobody_wrote_are_no_mistake():
    told = Averaged().describe()
    about = Description(told["name"], frozenset(told["can"]))
    assert "batches" not in about.can
    assert told["supports"] == ["stops"]
    assert list(described(about, dir(Averaged))) == []
