"""What may hold under one setting alone is judged under the other too."""

import pytest

from harness.environment import apply_environment
from harness.errors import NotApplicableError
from harness.fc2.synthetic import write_dataset
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.promise import Outcome, Promise, Violation
from harness.promises.registry import PROMISES
from harness.promises.setting import EMBEDDED_TRAIN, EPOCH_MODES, embedded_config
from harness.promises.varied import varied_bench
from harness.systems.opening import system_factory
from harness.systems.protocol import Description
from harness.systems.spec import SystemSpec


class Described:
    """A system that can do nothing but say what it cannot vary."""

    def __init__(self, settings=(), **about):
        can = frozenset({"describe"})
        self._about = Description("described", can=can, settings=dict(settings), **about)

    def describe(self):
        return self._about


def bench(folder, system, mode="full_pass", **changes):
    write_dataset(folder / "data", train=EMBEDDED_TRAIN, val=7, height=29, width=43)
    tree = embedded_config(folder / "data").model_dump(mode="json", by_alias=True)
    tree["train"]["epoch_mode"] = mode
    return Bench(lambda: system, SystemSpec(), tree, folder, vary=varied_bench, **changes)


@pytest.mark.parametrize("mode", EPOCH_MODES)
def test_the_other_setting_has_the_other_epoch_mode_and_a_smaller_recalibration_batch(
    tmp_path, mode
):
    other = bench(tmp_path, Described(), mode).varied
    assert other.config["train"]["epoch_mode"] == next(m for m in EPOCH_MODES if m != mode)
    batches, size = other.config["eval"]["bn_recal_batches"], other.config["eval"]["batch_size"]
    assert (batches - 1) * size < EMBEDDED_TRAIN < batches * size
    assert other.setting == f"{other.config['train']['epoch_mode']} and 4 recalibration batches"
    assert other.folder != tmp_path


def test_what_a_system_cannot_vary_stays_as_it_is(tmp_path):
    settings = {"train.epoch_mode": "full_pass", "eval.bn_recal_batches": 2}
    assert bench(tmp_path, Described(settings)).varied is None
    del settings["eval.bn_recal_batches"]
    other = bench(tmp_path / "again", Described(settings)).varied
    assert other.setting == "4 recalibration batches"
    assert other.config["train"]["epoch_mode"] == "full_pass"


def test_a_system_of_whole_batches_is_asked_for_no_partial_one(tmp_path):
    assert bench(tmp_path, Described(whole_batches=True)).varied.setting == "fixed_steps"


def promise(told, *, varied=True):
    """Return a promise whose evidence is what the setting's name selects."""

    def evidence(bench):
        found = told[bench.setting]
        if isinstance(found, Exception):
            raise found
        return found

    return Promise("p", "is promised", check=lambda x: x, hint="", evidence=evidence, varied=varied)


HELD = Outcome((), "2 steps")
BROKEN = Outcome((Violation("step 1", "1", "2"), Violation("step 2", "1", "3")), "")
ABSENT = NotApplicableError("no steps")
OTHER = "fixed_steps and 4 recalibration batches"


@pytest.mark.parametrize(
    ("first", "second", "verdict", "text"),
    [
        (HELD, HELD, "holds", f"2 steps; {OTHER} too"),
        (HELD, BROKEN, "BROKEN", f"{OTHER}: step 1: expected 1, found 2"),
        (HELD, ABSENT, "holds", "2 steps"),
        (HELD, ValueError("odd"), "error", f"{OTHER}: ValueError: odd"),
        (BROKEN, HELD, "BROKEN", "step 1: expected 1, found 2"),
        (ABSENT, HELD, "holds", f"{OTHER}: 2 steps"),
        (ABSENT, BROKEN, "BROKEN", f"{OTHER}: step 1: expected 1, found 2"),
        (ABSENT, ABSENT, "n/a", "no steps"),
    ],
)
def test_the_worse_of_both_settings_is_the_verdict(tmp_path, first, second, verdict, text):
    found = judge(promise({"": first, OTHER: second}), bench(tmp_path, Described()))
    assert (found.verdict, found.text) == (verdict, text)
    if first is HELD and second is BROKEN:
        assert found.violations == (text, f"{OTHER}: step 2: expected 1, found 3")


def test_a_promise_that_does_not_vary_is_judged_once(tmp_path):
    found = judge(promise({"": HELD, OTHER: BROKEN}, varied=False), bench(tmp_path, Described()))
    assert (found.verdict, found.text) == ("holds", "2 steps")


def test_a_gate_of_full_passes_sees_what_is_wrong_of_fixed_steps(tmp_path):
    fault = "harness.faults.joint_draws:EndsDrawnHalfAsOften"
    gate = bench(tmp_path, None)
    apply_environment(embedded_config(tmp_path / "data"))
    spec = SystemSpec("builtin", fault, {})
    gate.factory = system_factory(spec)
    orders = PROMISES["orders-independent"]
    found = judge(orders, gate)
    assert found.verdict == "BROKEN"
    assert found.text.startswith(f"{OTHER}: orders of 12 samples, 4800 draws, each sample's share")
    gate.vary, gate._kept = None, {}
    assert judge(orders, gate).verdict == "holds"


class Shared:
    """Counts how often it was opened and closed."""

    opened = closed = 0

    def describe(self):
        return Description("described", can=frozenset({"evaluate"}))

    def open(self, config):
        Shared.opened += 1

    def close(self):
        Shared.closed += 1

    def restore(self, path):
        self.path = path


def test_a_parked_system_is_closed_when_nobody_has_it(tmp_path):
    parked = bench(tmp_path, None, parks=True)
    parked.factory = Shared

    class Trained:
        paths = {"end": "the end"}  # noqa: RUF012

    parked._kept["trained"] = Trained
    for times in (1, 2):
        with parked.at("end") as system:
            assert (system.path, Shared.opened, Shared.closed) == ("the end", times, times - 1)
        assert Shared.closed == times
    parked.close()
    assert Shared.closed == 2
