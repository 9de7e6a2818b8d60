"""Loops as others write them: threads of their own, validation with gradients, steps left out."""

import threading
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

from harness.promises.setting import embedded_config  # noqa: E402
from harness.systems.torch import places  # noqa: E402
from harness.torch_system import TorchSystem  # noqa: E402

TRAIN, VAL = 5, 3


class Loop(TorchSystem):
    """Trains on 5 numbers in batches of 2, and validates on 3 in one batch."""

    keeps_gradients = leaves_out = False

    def setup(self, config):
        self.writer = Writer("setup")

    def loop(self):
        torch.manual_seed(self.seed)
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        batches = torch.utils.data.DataLoader(torch.rand(TRAIN, 1, 1, 1), 2, shuffle=True)
        val = torch.utils.data.DataLoader(torch.rand(VAL, 1, 1, 1), VAL)
        writer, epoch = Writer("loop"), 0
        while epoch < 2:
            steps = 0
            for batch in batches:
                optimizer.zero_grad()
                loss = model(batch.flatten(1)).square().mean()
                if not self.leaves_out:
                    loss.backward()
                    optimizer.step()
                    steps += 1
            epoch += bool(steps)
            with torch.set_grad_enabled(self.keeps_gradients):
                for batch in val:
                    model(batch.flatten(1))
        writer.close()


class Writer:
    """Writes into the current folder, in a thread of its own, when it is asked to."""

    def __init__(self, name):
        self.name, self.go, self.done = name, threading.Event(), threading.Event()
        self.folder = Path()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        if self.go.wait(30):
            self.folder = Path.cwd()
            self.done.set()

    def close(self):
        self.go.set()
        assert self.done.wait(30)


def opened(frames, **attributes):
    system = type("Tried", (Loop,), attributes)()
    system.open(embedded_config(frames).model_dump(mode="json", by_alias=True))
    return system


def can_stay():
    found = []
    thread = threading.Thread(target=lambda: found.append(places._unshared()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.skipif(not can_stay(), reason="threads have no folder of their own here")
def test_a_thread_stays_in_its_folder_between_calls(embedded_frames):
    both = [opened(embedded_frames) for _ in range(2)]
    both[0].train(1)
    for system in both:
        for writer in (system.writer, system.variable("writer")):
            writer.close()
            assert writer.folder == Path(system.folder).resolve()
    assert str(Path.cwd()) not in [system.folder for system in both]
    for system in both:
        system.close()


@pytest.mark.parametrize("keeps", [False, True])
def test_a_validation_that_keeps_gradients_is_no_part_of_a_step(keeps, embedded_frames):
    system = opened(embedded_frames, keeps_gradients=keeps)
    for epoch in (1, 2):
        found = system.train(epoch, evaluate=False)
        assert found["planned_sizes"] == [2, 2, 1]
        assert [len(samples) for samples in found["samples"]] == [2, 2, 1]
        assert [step["epoch"] for step in found["steps"]] == [epoch] * 3
    system.close()


def test_a_loop_that_leaves_every_step_out_ends(embedded_frames):
    system = opened(embedded_frames, leaves_out=True)
    with pytest.raises(RuntimeError, match="passed 20 times over its data and made no step"):
        system.train(1, evaluate=False)
    system.close()


def test_a_pass_whose_only_step_comes_behind_it_keeps_its_batches(embedded_frames):
    class Behind(Loop):
        def loop(self):
            torch.manual_seed(self.seed)
            model = torch.nn.Linear(1, 1)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            batches = torch.utils.data.DataLoader(torch.rand(TRAIN, 1, 1, 1), 2)
            for _ in range(2):
                optimizer.zero_grad()
                for batch in batches:
                    model(batch.flatten(1)).square().mean().backward()
                optimizer.step()

    system = Behind()
    system.open(embedded_config(embedded_frames).model_dump(mode="json", by_alias=True))
    for epoch in (1, 2):
        found = system.train(epoch, evaluate=False)
        assert [len(samples) for samples in found["samples"]] == [TRAIN]
        assert np.isfinite(found["losses"]).all()
    system.close()
