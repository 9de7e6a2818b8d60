"""What is wrong in an adapter is said in words, call by call, before any promise is asked."""

import json
from pathlib import Path

import pytest

from harness.cli import main
from harness.fc2.synthetic import write_dataset
from harness.promises.adapter_calls import Called
from harness.promises.adapter_check import check_adapter
from harness.promises.openings import SAYINGS, applying, offered, openings
from harness.promises.registry import PROMISES
from harness.promises.setting import MATRIX_SIZE, MATRIX_TRAIN, MATRIX_VAL, matrix_config
from harness.reporting.adapter import CALLS, call_lines
from harness.systems.process import Worker
from harness.systems.protocol import METHODS, Description
from harness.systems.remote import Workers, load
from harness.systems.spec import SystemSpec

HERE = Path(__file__).parent / "numpy_trainer"
WRONG = {
    "NoOpen": ("describe()", "can lacks 'open'", "add it to can"),
    "CallNotThere": ("describe()", "unknown call 'recalibrat'", "take it off can"),
    "MethodNotThere": (
        "describe()", "can names 'recalibrate', and the class has no method of that name",
        "write it, or take it off can",
    ),
    "OtherOnceOpen": (
        "describe(), opened", "supports differs before and after open(): , then steps",
        "say the same both times",
    ),
    "NoSupport": ("describe()", "supports names 'step'", "did you mean 'steps'?"),
    "NoSetting": (
        "describe()", "settings names 'train.batchsize'", "did you mean 'train.batch_size'?",
    ),
    "SettingOutOfRange": ("describe()", "settings cannot be those of a configuration", "each may"),
    "NoPromise": ("describe()", "known_defects names 'nan-stop'", "did you mean 'nan-stops'?"),
    "NeedsAnArgument": (
        "the class, made", "TypeError: NeedsAnArgument.__init__() missing 1 required positional "
        "argument: 'root'", "--system-root",
    ),
    "HeadMisspelt": (
        "state()", "describe().heads['h'] names 'head/kernal', which is no array of state()",
        "did you mean 'head/kernel'?",
    ),
    "OpenFails": (
        "open(config)", "FileNotFoundError: weights.bin is not there (mistaken.py, line ", "",
    ),
    "EndsItself": ("evaluate()", "its log ends: no more memory on device 0", ""),
    "NoCounters": ("state()", "no array under 'progress/'", "add np.array(step)"),
    "PlainCounter": ("state()", "state()['step']: expected an array, found int 3", "np.array(3)"),
    "CounterAsWeight": (
        "state()", "'num_batches_tracked': int64", "as 'progress/num_batches_tracked'",
    ),
    "RunningMean": ("state()", "'norm/running_mean': moving statistics", "moving_mean"),
    "StateNotAssigned": ("state(changes)", "did not assign the array", "trainer's own array"),
    "StateIsACopy": ("state(), trained", "changed no weight, statistic or slot", "not of a copy"),
    "DoubleFlow": (
        "batches('train')", "batches()[0].flow: expected an array of float32, found an array of "
        "float64", ".astype(np.float32)",
    ),
    "ScaledFrames": (
        "batches('train')", "frames hold at most 0, expected bytes up to 255", "are scaled",
    ),
    "OwnCrop": ("batches('train')", "expected crops of 16 x 32 px, found 12 x 32", "settings"),
    "OwnBatchSize": (
        "batches('train')", "expected 3 samples in the first batch (train.batch_size), found 4",
        "settings",
    ),
    "IdsWithSuffix": ("batches('train')", "found '0000", "without the member's suffix"),
    "NothingDrawn": (
        "batches('train', epoch=2)", "epoch 2 serves the samples and windows of epoch 1",
        "'sequential'",
    ),
    "DrawnEachTime": (
        "batches('train', epoch=2)", "epoch 1 serves other samples or windows when it is asked",
        "from the seed",
    ),
    "NoZeroFlow": ("evaluate()", "evaluate(): no field 'zero_flow_epe'", "add it"),
    "ScoresNaN": ("evaluate()", "an EPE is NaN, infinite or negative", ""),
    "ArchsNotHeeded": (
        "evaluate(['half'], 1)", "expected the archs that were asked for, ['half'], found "
        "['half', 'full']", "your pool",
    ),
    "TakesNoArchs": ("evaluate(['half'], 1)", "unexpected keyword argument", "The calls"),
    "ScoresRandomCrops": (
        "evaluate(['half'], 1)", "scores otherwise when it is asked for alone", "fixed crops",
    ),
    "ChannelsFirst": (
        "predict('half', batch)", "output 0: expected shape (3, h, w, 2 or more) with h to w "
        "as 16 to 32, found (3, 2, 16, 32)", "transpose",
    ),
    "OneScore": (
        "score(outputs, flow, valid)", "expected an EPE of each of 3 samples, found 1", "average",
    ),
    "StepsFromZero": (
        "train(1)", "steps[0]: expected epoch, step = (1, 1), found (1, 0)", "counted from 1",
    ),
    "OtherDigests": ("train(1)", "steps[0].batch is not the digest of batches('train')[0]", ""),
    "StepsNotHeeded": ("train(2, steps=1)", "expected one step, found 3", "off supports"),
    "SavesNothing": ("restore(path)", "FileNotFoundError: ", ""),
    "LosesMomentum": ("state(), restored", "restored by a second instance:", "save it and restore"),
    "UnseededStart": (
        "state() of both", "opened twice under one runtime.seed: head/kernel", "seed every",
    ),
    "CannotBeSent": ("evaluate()", "cannot send a builtin_function_or_method", "NumPy arrays"),
    "DrawsNothing": (
        "draws('order', seed)", "another seed draws the same: nothing is drawn", "seed given",
    ),
    "DrawsFloats": (
        "draws('order', seed)", "expected 'order': integers on 1 axis, found float64 of shape",
        "docs/your-trainer.md, Draws",
    ),
    "DrawsAnew": ("draws('order', seed)", "the same seed draws otherwise", "start from the seed"),
    "RecalibratesNothing": (
        "batches('recal')", "no batch was served for 'recal'", "serve those of the split",
    ),
}  # fmt: skip
"""Mistake: the call that tells of it, what it says, and what to do."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    frames = tmp_path_factory.mktemp("frames")
    height, width = MATRIX_SIZE
    write_dataset(frames, train=MATRIX_TRAIN, val=MATRIX_VAL, height=height, width=width)
    return matrix_config(frames)


class OneProcess(Workers):
    """Loads each class into one process, as long as that lives."""

    def of(self, spec):
        worker = self._running.get("one")
        if worker is None or not worker.running:
            worker = self._running["one"] = Worker(spec)
        load(worker, spec)
        return worker


@pytest.fixture(scope="module")
def process():
    workers = OneProcess()
    yield workers
    workers.close()


def checked(workers, config, folder, name, file="mistaken.py"):
    return check_adapter(SystemSpec(f"{HERE / file}:{name}", timeout=20), workers, config, folder)


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_in_words_where_it_shows_first(name, process, config, tmp_path):
    call, text, advice = WRONG[name]
    seen = checked(process, config, tmp_path, name)
    wrong = [c for c in seen.calls if c.state == "WRONG"]
    # Where it shows a second time, or hides what follows, it is told of again.
    assert wrong[0].call == call, wrong
    found = [f for c in wrong if c.call == call for f in c.findings if text in f.text]
    assert found, [(c.call, [f.text for f in c.findings]) for c in wrong]
    assert advice in found[0].advice
    assert seen.wrong >= 1


@pytest.mark.parametrize(
    ("name", "call", "text"),
    [
        ("NotInCan", "describe()", "predict is written and not in can"),
        ("NoSteps", "train(1)", "no steps: promises about training see nothing"),
    ],
)
def test_what_is_only_left_out_is_a_note(name, call, text, process, config, tmp_path):
    seen = checked(process, config, tmp_path, name)
    noted = [c for c in seen.calls if c.state == "note"]
    assert [c.call for c in noted][:1] == [call]
    assert text in noted[0].findings[0].text
    assert seen.wrong == 0


def test_nothing_is_wrong_with_the_example(process, config, tmp_path):
    seen = checked(process, config, tmp_path, "NumpySystem", file="adapter.py")
    assert seen.wrong == 0
    assert {c.state for c in seen.calls} == {"ok"}
    assert all(c.seconds is not None and c.memory_mib > 1 for c in seen.calls)


def test_what_hangs_is_ended_and_the_rest_is_left_out(config, tmp_path):
    workers = Workers()
    spec = SystemSpec(f"{HERE / 'mistaken.py'}:Hangs", timeout=2.0)
    seen = check_adapter(spec, workers, config, tmp_path)
    workers.close()
    (wrong,) = [c for c in seen.calls if c.state == "WRONG"]
    assert wrong.call == "evaluate()"
    assert "took longer than 2 s" in wrong.findings[0].text
    after = seen.calls[seen.calls.index(wrong) + 1 :]
    assert after
    assert {c.state for c in after} == {"not tried"}
    assert after[-1].figures == "the process ended in evaluate()"


def test_the_command_says_it_within_80_columns_and_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = main(["check-adapter", f"{HERE / 'mistaken.py'}:NoCounters", "--json", "found.json"])
    said = capsys.readouterr().out
    assert code == 1
    assert max(map(len, said.splitlines())) <= 80
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["wrong"] == 1
    assert {"call": "state()", "state": "WRONG"}.items() <= found["calls"][4 + 1].items()
    assert "no array under 'progress/'" in said
    assert said.splitlines()[-1] == "1 wrong, in state(), 0 notes: mend it, then check again"
    assert {"missing": ["draws"]}.items() <= next(
        one for one in found["opens"] if "draws" in one["missing"]
    ).items()


def test_each_line_of_a_call_keeps_its_columns_apart():
    for state in ("ok", "note", "WRONG", "n/a", "not tried"):
        called = Called("predict()", state, figures="it is given what batches() serves " * 3)
        first, *others = call_lines(called)
        assert first[46:56] == f"{state:10}"
        assert first[45] == first[55] == " " != first[56]
        assert others
        assert all(line[:56] == " " * 56 != line[56] for line in others)


def test_what_is_no_adapter_is_wrong_input(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    numpy = f"{HERE / 'adapter.py'}:NumpySystem"
    for words in (["builtin"], ["nothing.py:A"], ["a b"], [numpy, "--fc2-root", "no"]):
        assert main(["check-adapter", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


# ---- what could be judged


def test_a_promise_says_only_what_is_known_to_be_said():
    known = {*METHODS, *SAYINGS}
    assert {word for promise in PROMISES.values() for word in promise.needs} <= known
    assert set(CALLS) | {"describe", "close"} == set(METHODS)


def test_every_promise_is_applied_or_opened_by_something():
    for can in ((), ("describe", "open"), METHODS):
        has = offered(Description("n", frozenset(can)))
        opened = {name for one in openings(has) for name in one.promises}
        assert opened.isdisjoint(applying(has))
        late = {p.id for p in PROMISES.values() if not p.in_quick}
        assert opened | set(applying(has)) | late == set(PROMISES)
