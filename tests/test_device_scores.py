"""Scores that are summed up on the device: of equal bits in any company, and as the host's."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.config import parse_config
from harness.environment import apply_environment
from harness.evaluation.ranking import build_pool
from harness.fc2.batch import Batch
from harness.supernet.space import SKELETONS

WIDTH, CROP = 2, (16, 48)
# Neighbours too: of one subtree, in which values have several uses.
POOL = (
    *build_pool(seed=5, size=8),
    *((1, 1, 1, 1, h0, 1, h1, 2, h2) for h0 in (0, 2) for h1 in (1, 2) for h2 in (0, 1)),
)


def batch(seed: int, size: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        tuple(f"{seed}-{i}" for i in range(size)), (None,) * size,
        rng.integers(0, 256, (size, *CROP, 6), np.uint8),
        rng.normal(0, 3, (size, *CROP, 2)).astype(np.float32),
        rng.random((size, *CROP)) < 0.9, None, str(seed),
    )  # fmt: skip


def parted(whole: Batch, sizes: list[int]) -> tuple[Batch, ...]:
    """Return the samples of a batch, in batches of some sizes."""
    found, start = [], 0
    for size in sizes:
        piece = slice(start, start + size)
        names = ("ids", "windows", "frames", "flow", "valid")
        found.append(replace(whole, **{name: getattr(whole, name)[piece] for name in names}))
        start += size
    return tuple(found)


SAMPLES = batch(1, 5)
RECAL = (batch(2, 3), batch(3, 2))


class Made:
    """An evaluator that scores on the device, weights, and the scores of the pool."""

    def __init__(self, skeleton: str) -> None:
        from harness.evaluation.evaluator import Evaluator, Protocol
        from harness.training.model import Supernet

        self.evaluator = Evaluator(skeleton, WIDTH)
        self.evaluator.scored_on = "device"
        self.weights = Supernet(skeleton, WIDTH, 7).weight_tensors()
        self.protocol = Protocol(POOL, parted(SAMPLES, [3, 2]), RECAL, 2)
        self.scores = self.of(self.protocol)

    def of(self, protocol):
        return self.evaluator.evaluate(self.weights, protocol)[1]


@pytest.fixture(scope="module")
def made():
    """Return what was made for a skeleton, by its name."""
    apply_environment(parse_config({}))
    return cache(Made)


@given(data=st.data())
@settings(max_examples=12)
def test_a_score_has_the_same_bits_in_any_company(made, data):
    one = made("full")
    pool = data.draw(st.lists(st.sampled_from(POOL), min_size=1, unique=True))
    sizes = data.draw(st.sampled_from([[5], [1, 4], [2, 2, 1], [1] * 5]))
    split = data.draw(st.sampled_from([2, 4, 8]))
    scoring, at_once = one.evaluator._scoring, one.evaluator.samples_at_once
    budget, scoring._budget = scoring._budget, data.draw(st.sampled_from([1, 1 << 20, 1 << 29]))
    one.evaluator.samples_at_once = lambda *_: split
    try:
        protocol = replace(one.protocol, pool=tuple(pool), eval_batches=parted(SAMPLES, sizes))
        found = one.of(protocol)
    finally:
        scoring._budget, one.evaluator.samples_at_once = budget, at_once
    assert found == {name: one.scores[name] for name in found}
    assert len(found) == len(pool)


@pytest.mark.parametrize(
    "skeleton", [pytest.param(n, marks=[pytest.mark.slow] * (n != "full")) for n in SKELETONS]
)
def test_they_are_the_hosts_but_for_the_order_of_a_sum(made, skeleton):
    one = made(skeleton)
    one.evaluator.scored_on = "host"
    try:
        record, host = one.evaluator.evaluate(one.weights, one.protocol)
    finally:
        one.evaluator.scored_on = "device"
    assert record.stats_digest == one.evaluator.evaluate(one.weights, one.protocol)[0].stats_digest
    assert host.keys() == one.scores.keys()
    for arch, samples in one.scores.items():
        np.testing.assert_allclose(samples, host[arch], rtol=1e-13)
    for arch in POOL[::5]:
        alone = one.of(replace(one.protocol, pool=(arch,)))
        assert alone.items() <= one.scores.items()


def test_every_value_is_freed_when_all_are_scored(made, monkeypatch):
    from harness.evaluation.shared import Shared

    one, walks, start = made("full"), [], Shared.start
    monkeypatch.setattr(
        Shared, "start", lambda *args, **given: walks.append(start(*args, **given)) or walks[-1]
    )
    one.of(one.protocol)
    assert [(walk._values, walk._planes) for walk in walks] == [({}, {})]


def test_whoever_replaces_a_step_is_called_for_each_arch(made):
    from harness.supernet.epe import sample_epe

    one, parts, called = made("full"), made("full").evaluator.parts, []
    one.evaluator.parts = replace(parts, epe=lambda *a: called.append(1) or 2 * sample_epe(*a))
    try:
        found = one.of(one.protocol)
    finally:
        one.evaluator.parts = parts
    assert len(called) > len(POOL)
    for arch, samples in found.items():
        np.testing.assert_allclose(samples, 2 * np.array(one.scores[arch]), rtol=1e-12)


def test_a_sample_without_a_valid_pixel_is_named(made):
    one = made("full")
    blind = replace(SAMPLES, valid=SAMPLES.valid & (np.arange(5) != 3)[:, None, None])
    with pytest.raises(ValueError, match="no valid pixel"):
        one.of(replace(one.protocol, eval_batches=(blind,)))


def test_a_score_that_is_no_number_names_its_arch(made):
    from harness.evaluation.evaluator import NonFiniteScoreError

    one = made("full")
    bad = {**one.weights, "H2Out/k3/kernel": one.weights["H2Out/k3/kernel"] * np.float32("nan")}
    with pytest.raises(NonFiniteScoreError, match=r"arch \d{8}2: EPE is nan, expected a finite"):
        one.evaluator.evaluate(bad, one.protocol)


@given(
    hnp.arrays(
        np.float64, st.tuples(*(st.integers(1, n) for n in (2, 2, 5, 7))),
        elements=st.floats(1e-6, 1e6),
    )
)  # fmt: skip
def test_pixels_are_summed_in_an_order_of_their_own(values):
    from harness.supernet.sharing.scores import _summed

    whole = np.asarray(_summed(values))
    np.testing.assert_allclose(whole, values.sum(axis=(2, 3)), rtol=1e-12)
    for arch, sample in np.ndindex(values.shape[:2]):
        one = values[arch : arch + 1, sample : sample + 1]
        assert np.asarray(_summed(one))[0, 0] == whole[arch, sample]


def test_what_has_no_label_may_hold_anything(made):
    one = made("full")
    flow = SAMPLES.flow.copy()
    flow[~SAMPLES.valid] = np.nan
    found = one.of(replace(one.protocol, eval_batches=(replace(SAMPLES, flow=flow),)))
    assert found == one.scores


SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from harness.config import parse_config
from harness.environment import apply_environment
apply_environment(parse_config({"runtime": {"threads": int(sys.argv[2])}}))
from tests.test_device_scores import Made
print(json.dumps(Made("full").scores))
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_another_process_gives_the_same_bits_for_any_threads(made, threads):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(sys.path), str(threads)], capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == made("full").scores


@pytest.mark.parametrize(
    ("limits", "bytes_left"),
    [([], 1 << 30), ([None], 1 << 30), ([4096], 1 << 29), ([10**6], 1 << 30)],
)
def test_scoring_takes_less_where_memory_is_limited(made, monkeypatch, limits, bytes_left):
    import tensorflow as tf

    from harness.evaluation.on_device import scoring_bytes

    settings_of = [tf.config.LogicalDeviceConfiguration(memory_limit=limit) for limit in limits]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: ["a GPU"])
    monkeypatch.setattr(
        tf.config, "get_logical_device_configuration", lambda _: settings_of or None
    )
    assert scoring_bytes() == bytes_left
