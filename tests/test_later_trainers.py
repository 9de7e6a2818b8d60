"""EdgeFlowNAS's later trainers: their YAML, their spaces by name, batches that are drawn ahead."""

import random
import threading
import time
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from harness.config import Config, ConfigError, load_config, parse_config
from harness.config.theirs import require_ours
from harness.systems.edgeflownas.checkout import load_checkout
from harness.systems.edgeflownas.errors import CheckoutError
from harness.systems.edgeflownas.providers import WatchedProvider
from harness.systems.edgeflownas.spaces import arrays_of_space, kernels_of_space

LATER = Path(__file__).with_name("edgeflownas_v3.yaml")

# ---- their YAML


def leaves(tree, prefix=""):
    found = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        found |= leaves(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


def test_every_key_of_a_later_file_is_kept():
    given = leaves(yaml.safe_load(LATER.read_text(encoding="utf-8")))
    kept = leaves(load_config(LATER).model_dump(mode="json", by_alias=True))
    assert {key: kept[key] for key in given} == given


def test_what_this_project_does_not_train_is_refused_where_it_would_be_trained():
    with pytest.raises(ConfigError) as caught:
        require_ours(load_config(LATER))
    for words in (
        "`train.supernet_mode` is 'balanced_irregular_fairness', only 'strict_fairness'",
        "`train.distill.teacher_arch_code` is '2 1 0 0 0 0 1 1 1 1 1'",
        "--system edgeflownas-v2 or edgeflownas-v3",
    ):
        assert words in str(caught.value)
    require_ours(Config())


def test_one_arch_on_each_gpu_is_not_driven():
    with pytest.raises(ConfigError, match="only 'single_gpu' is implemented"):
        parse_config({"train": {"multi_gpu_mode": "arch_parallel"}})


# ---- their spaces

BLOCKS = [
    {"name": "E0", "labels": ["5x5Conv", "3x3Conv"]},
    {"name": "E1", "labels": ["3x3Conv", "3x3Stride2DilatedConv"]},
    {"name": "EB0", "labels": ["Deep1", "Deep2"]},
    {"name": "H1", "labels": ["3x3Conv", "5x5Conv"]},
]
KERNELS = [
    [["net/E0/cbr0/k5_conv/kernel"], ["net/E0/cbr1/k3_conv/kernel"]],
    [
        ["net/E1/cbr0/k3_conv/kernel"],
        ["net/E1/cbr1/k3_down_conv/kernel", "net/E1/k3_dilated/conv/kernel"],
    ],
    [
        ["net/EB0/branch1_block1/conv/kernel"],
        ["net/EB0/branch2_block1/conv/kernel", "net/EB0/branch2_block2/conv/kernel"],
    ],
    [["net/H1/up/k3/kernel"], ["net/H1/up2/k5/kernel"]],
]
NAMES = [name for block in KERNELS for option in block for name in option]
OTHERS = ["net/Down1Conv/kernel", "net/H1Out/k3/kernel", "net/bn/H1BN/gamma"]


def test_the_kernels_of_an_option_follow_from_its_label():
    found = kernels_of_space([*NAMES, *OTHERS], BLOCKS)
    assert [[list(option) for option in block] for block in found] == KERNELS


def test_names_that_tell_nothing_give_no_space():
    assert kernels_of_space(NAMES[1:], BLOCKS) is None
    other = [{"name": "E0", "labels": ["identity", "3x3Conv"]}]
    assert kernels_of_space(NAMES, other) is None


def test_an_option_has_the_normalisation_of_its_own_alone():
    own = ["net/E0/cbr0/bn/k5_bn/gamma", "net/E1/k3_dilated/bn/moving_mean"]
    found = arrays_of_space([*NAMES, *OTHERS, *own], BLOCKS)
    assert found[0] == [(own[0],), ()]
    assert found[1] == [(), (own[1],)]
    assert found[3] == [(), ()]


# ---- batches that are drawn ahead


class Frames:
    """Serves one pixel, a number that it draws."""

    def __init__(self):
        self.rng, self.samples, self.sampling_mode = random.Random(3), [], "random"
        self._executor = threading.Lock()  # cannot be copied, as threads cannot

    def next_batch(self, batch_size):
        drawn = [self.rng.randint(0, 255) for _ in range(batch_size)]
        frames = np.array(drawn, np.float32)[:, None, None, None].repeat(6, 3)
        return frames, None, None, np.zeros((batch_size, 1, 1, 2), np.float32)

    def start_epoch(self, shuffle=True):
        self.rng.random()


class Ahead:
    """Draws two batches ahead in a thread."""

    def __init__(self, provider, prefetch_batches):
        self.provider, self._queue = provider, Queue(prefetch_batches)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        for _ in range(9):
            time.sleep(0.03)
            self._queue.put(self.provider.next_batch(batch_size=3))

    def __getattr__(self, name):
        return getattr(self.provider, name)

    def next_batch(self, batch_size):
        return self._queue.get()


@pytest.fixture
def served():
    finder = SimpleNamespace(find=lambda crop, paths: ("x-img_0.png", (0, 0, 1, 1)))
    return lambda: WatchedProvider(Frames(), "", finder, [])


def test_what_is_drawn_ahead_is_told_when_it_is_served(served):
    told, plain, ahead = [], served(), served()
    ahead.prefetched(Ahead, 2)
    ahead.listener = told.append
    for _ in range(4):
        wanted = plain.described(3)
        assert np.array_equal(ahead.next_batch(3)[0], wanted["frames"])
        assert told[-1]["digest"] == wanted["digest"]
    assert len(told) == 4


def test_where_a_provider_stands_is_told_once_it_stands_still(served):
    ahead = served()
    ahead.prefetched(Ahead, 2)
    ahead.next_batch(3)
    first = ahead.counters()
    assert first == ahead.counters()
    # Two in the queue and one in the hand of the thread: four batches are drawn, and one served.
    plain = served()
    for _ in range(4):
        plain.described(3)
    assert first == plain.counters()


def test_a_copy_draws_on_and_leaves_the_provider_where_it_is(served):
    ahead = served()
    ahead.prefetched(Ahead, 2)
    copy, before = ahead.copy(), ahead.counters()
    plain = served()
    wanted = [plain.described(3)["digest"] for _ in range(4)]
    # Three are drawn, and none served: the copy draws the fourth.
    assert copy.described(3)["digest"] == wanted[-1]
    assert ahead.counters() == before
    assert ahead.start_epoch() is None


def test_a_trainer_that_a_checkout_lacks_is_told_with_those_that_it_has(tmp_path):
    engine = tmp_path / "efnas" / "engine"
    engine.mkdir(parents=True)
    for name in ("supernet_trainer.py", "supernet_trainer_v2.py"):
        (engine / name).touch()
    with pytest.raises(CheckoutError, match="--system can be edgeflownas, edgeflownas-v2 there"):
        load_checkout(str(tmp_path), "_v3")
