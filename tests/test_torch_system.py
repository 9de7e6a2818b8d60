"""The base class of an adapter for PyTorch: state, steps, instances, layouts."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

from torch.nn.utils import clip_grad  # noqa: E402

from harness.promises.setting import embedded_config  # noqa: E402
from harness.torch_system import NotApplicableError, TorchSystem  # noqa: E402

ROOT = Path(__file__).parents[1]
CLIP = torch.nn.utils.clip_grad_norm_  # under a name of its own, as trainers import it
OPTIMIZERS = {
    "adam": lambda weights: torch.optim.Adam(weights, 0.1),
    "adamw": lambda weights: torch.optim.AdamW(weights, 0.1, amsgrad=True),
    "sgd": lambda weights: torch.optim.SGD(weights, 0.1),
    "momentum": lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, 0.1),
    "rmsprop+": lambda weights: torch.optim.RMSprop(weights, 0.1, momentum=0.9, centered=True),
    "adadelta": lambda weights: torch.optim.Adadelta(weights, 0.1),
    "adagrad": lambda weights: torch.optim.Adagrad(weights, 0.1),
}


class Small(TorchSystem):
    """Trains y = W x on random numbers; what is tried out is an attribute of the class."""

    optimizer, epochs, samples_in_all, batch = "adam", 2, 5, 2
    parts_of_step, ends, pieces, seeded = 1, None, None, True

    def setup(self, config):
        self.draws = np.random.default_rng(self.seed)

    def loop(self):
        if self.seeded:
            random.seed(self.seed)
            np.random.seed(self.seed)
            torch.manual_seed(self.seed)
        net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        model = torch.nn.DataParallel(net).cuda()
        optimizer = OPTIMIZERS[self.optimizer](model.parameters())
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        data = torch.arange(3.0 * self.samples_in_all).reshape(-1, 3)
        batches = torch.utils.data.DataLoader(data, self.batch, shuffle=True, drop_last=True)
        if self.pieces is not None:
            batches = self.stepped(self.pieces)
        try:
            for _ in range(self.epochs):
                self.one_pass(model, optimizer, scaler, batches)
                scheduler.step(1.0)
            open("finished", "w").close()
        finally:
            open("left", "w").close()

    def one_pass(self, model, optimizer, scaler, batches):
        for number, batch in enumerate(batches):
            noise = random.random() + np.random.rand() + self.draws.random()
            loss = model(batch.cuda() + noise + torch.randn(batch.shape)).square().mean()
            scaler.scale(loss).backward()
            if (number + 1) % self.parts_of_step:
                continue
            scaler.unscale_(optimizer)
            CLIP(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            if self.ends is not None and number == self.ends:
                raise ArithmeticError("the trainer's own error")

    def validate(self, samples):
        return float(len(samples))

    def save(self, path):
        raise NotImplementedError

    def restore(self, path):
        raise NotImplementedError


def config(frames, seed=7):
    tree = embedded_config(frames).model_dump(mode="json", by_alias=True)
    tree["runtime"]["seed"] = seed
    return tree


def opened(frames, seed=7, **attributes):
    system = type("Tried", (Small,), attributes)()
    system.open(config(frames, seed))
    return system


def same(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


@pytest.mark.slow
def test_two_that_train_in_turn_are_each_as_alone(embedded_frames):
    before, place = (random.getstate(), torch.get_rng_state()), Path.cwd()
    alone = [opened(embedded_frames, seed) for seed in (7, 8)]
    for system in alone:
        system.train(2)
    turns = [opened(embedded_frames, seed) for seed in (7, 8)]
    for _ in range(4):
        for system in turns:
            system.train(2, steps=1)
            assert len({one.folder for one in turns}) == 2
    for one, other in zip(alone, turns, strict=True):
        other.train(2)
        assert same(one.state(), other.state()) == []
    assert same(alone[0].state(), alone[1].state()) != []
    # Nothing is left behind in the process.
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert Path.cwd() == place
    folders = [system.folder for system in (*alone, *turns)]
    for system in (*alone, *turns):
        system.close()
    assert [folder for folder in folders if os.path.exists(folder)] == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_is_complete_and_goes_into_another_instance(optimizer, embedded_frames):
    first = opened(embedded_frames, optimizer=optimizer)
    names = list(first.state())
    first.train(1)
    # From another seed: whatever is not set there is another.
    second = opened(embedded_frames, seed=8, optimizer=optimizer)
    second.train(1)
    state = first.state()
    assert list(state) == names
    assert {"0.weight", "1.moving_mean", "progress/1.num_batches_tracked"} <= set(state)
    assert {"progress/scaler/scale", "progress/scheduler/num_bad_epochs"} <= set(state)
    assert "progress/draws" in state
    assert len(same(state, second.state())) > 8
    assert same(state, second.state(state)) == []
    first.train(2)
    second.train(2)
    assert same(first.state(), second.state()) == []
    first.close()
    second.close()


def test_a_state_from_before_the_first_step_can_be_set_after_it(embedded_frames):
    system = opened(embedded_frames)
    start = system.state()
    system.train(1)
    assert same(start, system.state(start)) == []
    system.close()


def test_a_step_says_what_was_done(embedded_frames):
    system = opened(embedded_frames, samples_in_all=7)
    found = system.train(1)
    assert [step["step"] for step in found["steps"]] == [1, 2, 3]
    assert found["planned_sizes"] == [2, 2, 2]
    assert len({step["batch"] for step in found["steps"]}) == 3
    assert [step["loss"] for step in found["steps"]] == found["losses"]  # as before scaling
    assert all(0 < loss < 2 for loss in found["losses"])
    for check in found["checks"]:
        expected = min(check["before"], 0.5)
        assert check["after"] == pytest.approx(expected, rel=1e-4)
    assert [check["before"] for check in found["checks"]] == [s["norm"] for s in found["steps"]]
    assert any(step["clipped"] for step in found["steps"])
    assert found["threshold"] == 0.5
    assert {step["lr"] for step in found["steps"]} == {0.1}
    system.close()


def test_who_is_not_observed_trains_the_same(embedded_frames):
    seen, unseen = opened(embedded_frames), opened(embedded_frames)
    assert seen.train(2, evaluate=False)["steps"]
    assert unseen.train(2, evaluate=False, observe=False) == {}
    assert same(seen.state(), unseen.state()) == []
    seen.close()
    unseen.close()


def test_a_step_of_several_batches_is_one(embedded_frames):
    system = opened(embedded_frames, parts_of_step=2, samples_in_all=8)
    found = system.train(1)
    assert (len(found["steps"]), len(found["losses"]), len(found["checks"])) == (2, 4, 2)
    system.close()


def test_a_step_that_a_scaler_leaves_out_is_one_too(embedded_frames):
    pieces = [torch.ones(2, 3), torch.full((2, 3), np.inf), torch.ones(2, 3)]
    system = opened(embedded_frames, pieces=pieces)
    found = system.train(1)
    assert [step["step"] for step in found["steps"]] == [1, 2, 3]
    assert [step["norm"] for step in found["steps"]][1] != found["steps"][0]["norm"]
    system.close()


def test_a_loop_that_ends_or_fails_says_so(embedded_frames):
    system = opened(embedded_frames, epochs=1)
    system.train(1)
    assert os.path.exists(os.path.join(system.folder, "finished"))
    before = system.state()
    with pytest.raises(RuntimeError, match=r"loop ended after 1 epochs and 0 steps, 2 epochs are"):
        system.train(2)
    assert same(before, system.state()) == []  # what it had is still there
    system.close()
    system = opened(embedded_frames, ends=1)
    with pytest.raises(ArithmeticError, match="the trainer's own error"):
        system.train(1)
    system.close()


def test_a_loop_that_ends_before_its_first_batch_has_a_state(embedded_frames):
    system = opened(embedded_frames, epochs=0)
    assert "0.weight" in system.state()
    assert system.variable("optimizer") is system.parts["optimizer"]
    with pytest.raises(KeyError, match="the loop has no variable 'epoch', but"):
        system.variable("epoch")
    system.close()


class Fitted:
    """A trainer that is an object, with a validation of its own in the loop."""

    def __init__(self, rows):
        self.net = torch.nn.Linear(3, 2, dtype=torch.bfloat16)
        self.average = torch.nn.Linear(3, 2)
        self.opt = torch.optim.SGD(self.net.parameters(), 0.1, momentum=0.9)
        self.rows, self.validated = rows.bfloat16(), 0

    def fit(self, epochs):
        order = torch.Generator().manual_seed(3)
        for _ in range(epochs):
            made = torch.utils.data.DataLoader(
                self.rows, 2, shuffle=True, generator=order, num_workers=1
            )
            for row in made:
                self.net(row).square().mean().backward()
                self.opt.step()
            with torch.no_grad():
                self.validated += len(list(torch.utils.data.DataLoader(self.rows, 2)))


def test_a_trainer_that_is_an_object_is_looked_into(embedded_frames):
    class Object(TorchSystem):
        def setup(self, config):
            torch.manual_seed(self.seed)
            self.trainer = Fitted(torch.arange(15.0).reshape(-1, 3))

        def loop(self):
            self.trainer.fit(2)

    system = Object()
    system.open(config(embedded_frames))
    found = system.train(1)
    assert [len(found["steps"]), found["planned_sizes"]] == [3, [2, 2, 1]]
    assert system.trainer.validated == 3
    state = system.state()
    assert {"weight", "opt/weight/momentum_buffer", "average/weight", "progress/order"} <= set(
        state
    )
    assert state["weight"].dtype == np.float32
    system.train(2)
    assert "progress/order" in same(state, system.state())
    system.close()


def test_a_supernet_is_told_which_arch_to_run(embedded_frames):
    class Several(Small):
        archs = ("wide", "narrow")

        def choose(self, arch):
            self.chosen = arch

        def validate(self, samples):
            self.parts["model"].eval()
            return float(len(self.chosen) * len(samples))

        def flow(self, image1, image2):
            assert not self.parts["model"].training
            return torch.stack([image1[:, 0], image2[:, 2]], dim=1)

    system = Several()
    system.open(config(embedded_frames))
    assert system.evaluate()["per_arch_epe"] == [28.0, 42.0]
    assert system.evaluate(archs=["narrow"])["archs"] == ["narrow"]
    frames = np.arange(2 * 3 * 4 * 6, dtype=np.uint8).reshape(2, 3, 4, 6)
    (flow,) = system.predict("wide", SimpleNamespace(frames=frames))
    # Red of the first image, and blue of the second, of BGR twice.
    assert np.array_equal(flow, frames[..., [2, 3]])
    assert system.parts["model"].training  # as the loop had it
    system.close()


def test_a_loop_that_is_never_held_says_what_to_do(embedded_frames):
    class Unheld(Small):
        def one_pass(self, model, optimizer, scaler, batches):
            super().one_pass(model, optimizer, scaler, [torch.ones(2, 3)])

    with pytest.raises(RuntimeError, match=r"before it asks a DataLoader .* self.stepped\(batches"):
        Unheld().open(config(embedded_frames))


def test_a_loop_that_is_given_up_closes_what_it_has_open(embedded_frames):
    system = opened(embedded_frames)
    left = os.path.join(system.folder, "left")
    assert not os.path.exists(left)
    with system._placed():
        system.begin()
    assert os.path.exists(left)
    assert not os.path.exists(os.path.join(system.folder, "finished"))
    system.close()


def test_generators_that_nobody_seeds_are_seen_once_they_are_drawn_from(embedded_frames):
    one, other = (opened(embedded_frames, seeded=False) for _ in range(2))
    names = {f"progress/random/{name}" for name in ("python", "numpy")}
    assert not names & set(same(one.state(), other.state()))
    one.train(1)
    other.train(1)
    assert names <= set(same(one.state(), other.state()))
    one.close()
    other.close()


def test_whatever_was_put_in_place_is_put_back(embedded_frames):
    places = [
        (torch.utils.data.DataLoader, ("__iter__", "__init__")),
        (torch.Tensor, ("backward", "cuda")), (torch.nn.Module, ("cuda",)),
        (torch.amp.GradScaler, ("scale", "step")), (torch.optim.Optimizer, ("__init__",)),
        (clip_grad, ("_get_total_norm", "_clip_grads_with_norm_")),
    ]  # fmt: skip
    before = [vars(holder).get(name) for holder, names in places for name in names]
    system = opened(embedded_frames)
    system.train(1)
    system.close()
    assert [vars(holder).get(name) for holder, names in places for name in names] == before


def test_one_number_becomes_a_score_for_each_sample(embedded_frames):
    system = opened(embedded_frames)
    found = system.evaluate()
    assert found["per_arch_epe"] == [7.0]
    assert found["per_sample"] == {"net": [1.0] * 7}
    assert len(system.evaluate(batches_per_arch=1)["per_sample"]["net"]) == 3
    system.validate = lambda samples: np.arange(len(samples))
    assert system.evaluate()["per_sample"] == {"net": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    assert system.evaluate()["per_arch_epe"] == [3.0]
    with pytest.raises(NotApplicableError, match="serves no batches of 'train'"):
        system.batches("train")
    system.close()


def test_only_what_is_written_is_offered():
    assert Small().describe()["can"] == [
        "close", "describe", "evaluate", "open", "restore", "save", "state", "train",
        "training_samples",
    ]  # fmt: skip
    bare = type("Bare", (TorchSystem,), {"validate": lambda self, samples: 0.0, "stride": 8})
    assert bare().describe() == {
        "name": "Bare", "stride": 8, "supports": (),
        "can": ["close", "describe", "evaluate", "open", "state"],
    }  # fmt: skip


def test_flying_chairs_are_laid_out_as_trainers_of_the_first_read_them(embedded_frames, tmp_path):
    system = opened(embedded_frames)
    folder, split = tmp_path / "data", tmp_path / "split.txt"
    train, val = system.samples("train"), system.samples("val")
    for some in (val, val[2:3]):
        system.chairs(str(folder), train, some, split=str(split))
        images, flows = sorted(folder.glob("*.ppm")), sorted(folder.glob("*.flo"))
        kinds = np.loadtxt(split, dtype=int)
        assert len(images) == 2 * len(flows) == 2 * len(kinds)
        chosen = [i for i, kind in enumerate(kinds) if kind == 2]
        assert [flows[i].resolve() for i in chosen] == [Path(s.flow).resolve() for s in some]
        for i, sample in zip(chosen, some, strict=True):
            pair = [path.resolve() for path in images[2 * i : 2 * i + 2]]
            assert pair == [Path(sample.image1).resolve(), Path(sample.image2).resolve()]
        assert [path.name for path in images[:2]] == ["00001_img1.ppm", "00001_img2.ppm"]
        assert flows[-1].name == f"{len(kinds):05d}_flow.flo"
    system.close()


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, UnicodeError])
def test_an_error_that_names_a_link_names_the_file_behind_it(embedded_frames, error):
    def validate(self, samples):
        self.chairs("chairs", val=samples)
        Path("chairs/00002_img2.ppm").unlink()
        if error is FileNotFoundError:
            Path("chairs/00002_img2.ppm").read_bytes()
        raise error("cannot read chairs/00002_img2.ppm")

    system = opened(embedded_frames, validate=validate)
    second = Path(system.samples("val")[1].image2)
    with pytest.raises(error, match=re.escape(f"00002_img2.ppm is {second.absolute()}")) as caught:
        system.evaluate()
    assert "00001_img" not in str(caught.value)
    system.close()


def test_the_harness_imports_no_pytorch():
    code = (
        "import sys, harness.cli, harness.pytest_plugin, harness.promises.registry\n"
        "import harness.systems.worker, harness.systems.opening\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_an_interpreter_without_the_harness_finds_the_base_class(tmp_path):
    worker = ROOT / "harness" / "systems" / "worker.py"
    code = (
        "import importlib.util, json, sys\n"
        f"sys.path.append({str(Path(torch.__file__).parents[1])!r})\n"
        f"spec = importlib.util.spec_from_file_location('worker', {str(worker)!r})\n"
        "worker = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(worker)\n"
        "sys.meta_path.append(worker._Harness)\n"
        "import harness.torch_system as found\n"
        "others = [n for n in ('pydantic', 'cv2', 'pytest') if n in sys.modules]\n"
        "print(json.dumps([found.__file__, others]))"
    )
    # -S: what an editable install puts on the path would find it first.
    command = [sys.executable, "-I", "-S", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == [str(ROOT / "harness" / "torch_system.py"), []]
