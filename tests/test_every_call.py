"""`check-adapter` makes every call of the protocol that an adapter offers; none is forgotten."""

import pytest

from harness.promises.adapter_check import ORDER
from harness.systems.protocol import METHODS
from tests.test_check_adapter import checked, config, process

__all__ = ["config", "process"]  # fixtures

FILE = "every_call.py"
OPENING = {"describe", "open", "close"}


def test_each_call_of_the_protocol_has_its_place():
    assert len(set(ORDER)) == len(ORDER)
    assert {*ORDER, *OPENING} == set(METHODS)


def test_each_call_that_is_offered_is_made(process, config, tmp_path):
    seen = checked(process, config, tmp_path, "EveryCall", file=FILE)
    assert seen.about.can == set(METHODS)
    made = {c.call.partition("(")[0] for c in seen.calls if c.state in ("ok", "n/a")}
    assert made >= set(METHODS)
    assert seen.wrong == 0
    assert {c.call.partition("(")[0] for c in seen.calls if c.state == "n/a"} == {
        "draws", "recalibrate",
    }  # fmt: skip
    told = {c.call: c.figures for c in seen.calls}
    assert told["training_samples()"] == "8 samples, 16 x 32 px"
    assert told["evaluate_offline(path)"].startswith("2 archs, mean EPE ")


@pytest.mark.parametrize(
    ("name", "call", "text", "advice"),
    [
        ("NoSamples", "training_samples()", "expected the samples of an epoch, found none", "step"),
        ("NoneValid", "training_samples()", "valid is nowhere true, of no sample", "is known"),
        ("SamplesOfNaN", "training_samples()", "sample 0 holds NaN or infinity", "computes on"),
        ("SamplesInDouble", "training_samples()", "[0].first: expected an array of float32", "ast"),
        ("OfflineFails", "evaluate_offline(path)", "net.bin is not there", ""),
        ("OfflineNaN", "evaluate_offline(path)", "an EPE is NaN, infinite or negative", ""),
    ],
)
def test_a_mistake_of_a_rare_call_is_told(name, call, text, advice, process, config, tmp_path):
    seen = checked(process, config, tmp_path, name, file=FILE)
    (wrong,) = [c for c in seen.calls if c.state == "WRONG"]
    assert wrong.call == call
    assert text in wrong.findings[0].text
    assert advice in wrong.findings[0].advice


def test_why_a_call_is_not_made_is_told(process, config, tmp_path):
    seen = checked(process, config, tmp_path, "NoCheckpoint", file=FILE)
    assert {c.call: c.figures for c in seen.calls if c.state == "not tried"} == {
        "predict()": "it is given what batches() serves, and batches is not in can",
        "score()": "it is given what predict() returns, and batches is not in can",
        "restore()": "it is given what save() writes, and save is not in can",
        "evaluate_offline()": "it is given what save() writes, and save is not in can",
        "training_samples()": "asked where describe()['augmentation'] is true",
    }
