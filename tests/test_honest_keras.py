"""Keras trainers that do something legitimate in another way are not accused; bugs are named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.commands.init_adapter import template
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.setting import embedded_config, fit_to_system
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

FOLDER = Path(__file__).parent / "keras_trainer"


@pytest.fixture(scope="module")
def workers():
    pytest.importorskip("keras", reason="Keras 3 is not installed")
    lent = Workers()
    yield lent
    lent.close()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Return the folder of the trainers' files, beside the toy that they are made of."""
    folder = tmp_path_factory.mktemp("keras")
    (folder / "toy.py").write_text(template("tensorflow"), encoding="utf-8")
    for file in FOLDER.glob("*.py"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture
def judged(workers, adapters, embedded_frames, tmp_path):
    """Return a function that judges promises of an adapter."""

    def found(name, promises, file="honest.py"):
        spec = SystemSpec(f"{adapters / file}:{name}")
        make = system_factory(spec, workers)
        config = fit_to_system(embedded_config(embedded_frames), make().describe())
        bench = Bench(make, spec, config.model_dump(mode="json", by_alias=True), tmp_path)
        try:
            return [judge(PROMISES[promise], bench) for promise in promises]
        finally:
            bench.close()

    return found


ACCUSED = {
    "Plain": ["every-update-is-adam", "update-is-adam", "gradient-of-loss"],
    "Factored": ["checkpoint-complete", "training-moves"],
    "Several": ["training-moves", "nan-stops"],
    "Accumulates": ["training-moves", "train-unobserved"],
    "Scaled": ["training-moves", "update-is-adam"],
    "Averaged": ["every-update-is-adam", "resume-before-evaluation"],
    "AtOnce": ["every-update-is-adam", "seeds-matter", "passes-trained-whole"],
    "Terminates": ["nan-stops"],
    "TerminatesLast": ["nan-stops"],
    "Loaded": ["resume-exact", "training-moves"],
    "Halves": ["checkpoint-complete", "nan-stops"],
    "Nested": ["update-is-adam", "gradient-everywhere", "checkpoint-complete"],
    "Sequence": ["training-moves", "seeds-matter", "resume-exact"],
    "PerBatch": ["ledger-learning-rate", "training-moves"],
    "SinglePath": ["training-moves", "arch-executed", "seeds-matter"],
}
"""Adapter to the promises that once took it for broken, and those beside them."""

BROKEN = {
    "Unsaved": "resume-exact",
    "Shares": "eval-pure",
    "Counts": "resume-exact",
    "Anew": "resume-exact",
    "Begins": "resume-exact",
    "Swapped": "train-unobserved",
    "GoesOn": "nan-stops",
}
"""Adapter with a bug to the promise that names it."""

_SLOW = ("Plain", "Terminates", "TerminatesLast")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in _SLOW else pytest.mark.nightly)
        for n in ACCUSED
    ],
)
def test_an_honest_keras_trainer_is_not_accused(judged, name):
    found = judged(name, ACCUSED[name])
    assert [(j.promise.id, j.text) for j in found if j.verdict not in ("holds", "n/a")] == []
    assert any(j.verdict == "holds" for j in found)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n == "Shares" else pytest.mark.nightly)
     for n in BROKEN],
)  # fmt: skip
def test_a_bug_of_a_keras_trainer_is_named(judged, name):
    (found,) = judged(name, [BROKEN[name]], "broken.py")
    assert found.verdict == "BROKEN", found.text


@pytest.mark.slow
def test_what_is_given_is_the_batches_of_one_epoch():
    given = pytest.importorskip("harness.systems.keras_fit.given")

    class Endless:
        def cardinality(self):
            return -1

    with pytest.raises(ValueError, match=r"training\(\) repeats without end.*\.take\(steps\)"):
        given.batches_of(Endless(), "training()")
    with pytest.raises(ValueError, match=r"gives a batch that is a ndarray, expected \(x, y\)"):
        given.batches_of([np.zeros((2, 3))], "training()")
    assert given.batches_of([{"x": 1}, [2, 3]], "training()") == [{"x": 1}, (2, 3)]
    with pytest.raises(ValueError, match=r"has \['x'\], expected \(x, y\)"):
        given.samples_of({"x": 1})
