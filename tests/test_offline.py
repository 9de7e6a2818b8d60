"""The evaluator outside of training is held to one score, on a small system of another kind."""

from pathlib import Path

import pytest

from harness.environment import apply_environment
from harness.faults.anywhere import offline as faults
from harness.faults.base import fault_path
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import AREA_OF, PROMISES, SUBJECTS
from harness.promises.roots import find_roots
from harness.promises.setting import fit_to_system, matrix_config
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

OURS = Path(__file__).parent / "numpy_trainer" / "offline.py"
ALL = SUBJECTS["offline"]
FAULTS = [getattr(faults, name) for name in faults.__all__]


@pytest.fixture(scope="module")
def workers():
    lent = Workers()
    yield lent
    lent.close()


@pytest.fixture
def judged(workers, embedded_frames, tmp_path):
    """Return a function that judges the promises of an adapter, with or without a fault."""

    def found(name, fault="", also=()):
        spec = SystemSpec(f"{OURS}:{name}", fault=fault)
        make = system_factory(spec, workers)
        apply_environment(matrix_config(embedded_frames))
        config = fit_to_system(matrix_config(embedded_frames), make().describe())
        tree = config.model_dump(mode="json", by_alias=True)
        bench = Bench(make, spec, tree, tmp_path)
        judgements = [judge(PROMISES[one], bench) for one in (*also, *ALL)]
        bench.close()
        return {j.promise.id: j for j in judgements}

    return found


def broken(found):
    return {name for name, judgement in found.items() if judgement.verdict == "BROKEN"}


def test_a_sound_evaluator_holds_every_one(judged):
    found = judged("OfflineNumpy")
    assert {name: j.verdict for name, j in found.items()} == dict.fromkeys(ALL, "holds"), found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CarriesOn", {"offline-permuted", "offline-alone", "offline-as-in-training"}),
        ("WorkersStartElsewhere", {"offline-workers"}),
        ("ScoresWhatIsOpen", {"offline-as-in-training"}),
    ],
)
def test_what_moves_a_score_is_named(judged, name, expected):
    assert broken(judged(name)) == expected


def test_what_is_carried_on_is_one_root(judged):
    roots = find_roots(judged("CarriesOn").values(), AREA_OF)
    assert [root.judgement.promise.id for root in roots] == ["offline-permuted"]
    followers = {j.promise.id for j in roots[0].consequences}
    assert followers == {"offline-alone", "offline-as-in-training"}


def test_another_score_of_an_arch_alone_is_a_root_of_its_own(judged):
    roots = find_roots(judged("CarriesOnAndScoresOtherwise").values(), AREA_OF)
    found = {root.judgement.promise.id: root.consequences for root in roots}
    assert set(found) == {"offline-permuted", "offline-as-in-training"}
    assert [j.promise.id for j in found["offline-permuted"]] == ["offline-alone"]


@pytest.mark.parametrize(
    ("name", "promise", "reason"),
    [
        ("DeclaresAnotherNorm", "offline-as-in-training", "it scores the average of two"),
        ("OneArch", "offline-workers", "the pool is one arch"),
        ("OneWorker", "offline-workers", "this evaluator has one worker"),
    ],
)
def test_what_cannot_be_asked_is_not_applicable_by_its_reason(judged, name, promise, reason):
    found = judged(name)
    assert found[promise].verdict == "n/a"
    assert reason in found[promise].text
    assert not broken(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_each_fault_is_caught_by_what_should(judged, fault):
    assert set(fault.expected) <= broken(judged("OfflineNumpy", fault_path(fault)))


def test_a_system_without_the_call_is_not_judged(workers, embedded_frames, tmp_path):
    spec = SystemSpec(f"{OURS.with_name('adapter.py')}:NumpySystem")
    bench = Bench(system_factory(spec, workers), spec, {}, tmp_path)
    for name in ALL:
        found = judge(PROMISES[name], bench)
        assert (found.verdict, found.text) == ("n/a", "the system does not offer evaluate_offline")
    bench.close()
