"""What a trainer with a loss of its own adds up, and keeps of its statistics, is judged too."""

from pathlib import Path

import pytest

from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.setting import embedded_config, fit_to_system
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

FILE = Path(__file__).parent / "torch_trainer" / "accumulating.py"
WEIGHED, WHOLE, SHARE = "micro-batches-weighed", "passes-trained-whole", "statistics-kept-share"
SEEDS = "seeds-matter"


@pytest.fixture(scope="module")
def workers():
    lent = Workers()
    yield lent
    lent.close()


@pytest.fixture
def judged(workers, embedded_frames, tmp_path):
    """Return a function that judges promises of an adapter; by their ids."""

    def found(name, *promises):
        spec = SystemSpec(f"{FILE}:{name}")
        make = system_factory(spec, workers)
        config = fit_to_system(embedded_config(embedded_frames), make().describe())
        tree = config.model_dump(mode="json", by_alias=True)
        bench = Bench(make, spec, tree, tmp_path)
        try:
            return [judge(PROMISES[promise], bench) for promise in promises]
        finally:
            bench.close()

    return found


@pytest.mark.slow
def test_one_that_weighs_by_samples_keeps_all_three(judged):
    found = judged("Accumulating", WEIGHED, WHOLE, SHARE)
    assert [j.verdict for j in found] == ["holds"] * 3, [j.text for j in found]


WRONG = {
    "Summed": (WEIGHED, "the sum over micro-batches, not the mean"),
    "LastForgotten": (WEIGHED, "the last micro-batch is lost, the others share its weight"),
    "PlannedPieces": (WEIGHED, "divided by the 3 micro-batches of a full batch"),
    "FullBatch": (WEIGHED, "divided by the 5 samples of a full batch"),
    "InAStream": (WEIGHED, "each micro-batch weighs the same, whatever its size"),
    "RemainderOverAll": (WEIGHED, "divided by the 3 micro-batches of a full batch"),
    "RemainderForgotten": (WEIGHED, "steps of a pass over 7: expected 7, found 6 (6): the rest is"),
    "OtherMomentum": (SHARE, "as 0.99 kept by 3 updates would leave"),
    "OtherWayRound": (SHARE, "as 0.1 kept by 3 updates would leave"),
    "InOneOrder": (SEEDS, "order of the samples with another seed: expected another, found the"),
    "SameEachEpoch": (SEEDS, "order of the samples in epoch 2: expected another, found the same"),
}  # fmt: skip
SOUND = {
    "SumOfSamples": (WEIGHED, "holds", ""),
    "Ramped": (WEIGHED, "holds", ""),
    "RunTwice": (SHARE, "holds", ""),
    "DropsOut": (WEIGHED, "n/a", "the net draws while it trains"),
    "InAStream": (WHOLE, "holds", ""),
    "Accumulating": (SEEDS, "holds", ""),
}


def tier(name):
    """What takes six seconds each is for the night, but for one of each promise."""
    slow = name in ("LastForgotten", "OtherWayRound", "InOneOrder")
    return pytest.param(name, marks=pytest.mark.slow if slow else pytest.mark.nightly)


@pytest.mark.parametrize("name", [tier(name) for name in WRONG])
def test_what_is_wrong_is_named(judged, name):
    promise, words = WRONG[name]
    (found,) = judged(name, promise)
    assert found.verdict == "BROKEN", found.text
    assert any(words in str(violation) for violation in found.violations), found.violations


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly) for n in SOUND])
def test_what_is_right_is_not_accused(judged, name):
    promise, verdict, words = SOUND[name]
    (found,) = judged(name, promise)
    assert found.verdict == verdict, found.violations
    assert words in found.text
