"""What a green gate of somebody's own system is worth: faults are planted around it."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.cli import main
from harness.config import field_kinds
from harness.environment import apply_environment
from harness.errors import InputError
from harness.faults.base import overriding
from harness.faults.power_file import Planted, Power, read_power
from harness.promises.registry import PROMISES
from harness.promises.setting import embedded_config
from harness.reporting.gate_power import planted_line, power_lines
from harness.systems.opening import remote_factory
from harness.systems.protocol import METHODS, Description, Evaluation
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec
from tests.report_runs import SEGMENTS
from tests.report_runs import write as write_run
from tests.test_sealed import resealed

NUMPY = Path(__file__).parent / "numpy_trainer" / "adapter.py"
ONLY = ("scores-beside-names", "rate-logged-not-used", "recalibration-blended")


def plant(path, *options):
    system = ("--system", f"{NUMPY}:NumpySystem", "--json", str(path))
    return main(["gate-power", *system, *options])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return the exit code and the file of three faults around the NumPy trainer."""
    path = tmp_path_factory.mktemp("power") / "power.json"
    return plant(path, "--only", *ONLY), path


def test_a_gate_is_worth_what_it_notices_on_this_system(planted):
    code, path = planted
    assert code == 1  # one survived
    power = read_power(path)
    found = {one.id: one for one in power.planted}
    assert {name: one.verdict for name, one in found.items()} == {
        "scores-beside-names": "noticed",
        "rate-logged-not-used": "SURVIVED",
        "recalibration-blended": "n/a",
    }
    assert {"same-scores-subset", "metric-recomputed"} <= set(found["scores-beside-names"].red)
    assert "same-scores-subset" in power.holds
    # Survived means that nothing that applies noticed it, and not only what it touches.
    assert found["rate-logged-not-used"].judged == len(power.holds)
    # It says what to add to the adapter, so that a promise can notice.
    reason = power.absent["update-is-adam"]
    assert found["rate-logged-not-used"].reason == f"update-is-adam does not apply: {reason}"
    assert found["recalibration-blended"].reason == "the system does not offer recalibrate"
    assert power.headline == (
        "the gate of adapter.py:NumpySystem notices 1 of 2 faults planted around it; 1 cannot be "
        "planted here"
    )


@pytest.mark.slow
def test_the_page_says_what_the_example_s_gate_is_worth(tmp_path):
    path = tmp_path / "power.json"
    plant(path)
    page = (NUMPY.parents[2] / "docs" / "your-trainer.md").read_text(encoding="utf-8")
    power = read_power(path)
    assert f"    {power.headline}\n" in page
    assert f"all {len(power.holds)} promises that apply still hold" in page
    assert {one.id for one in power.planted if one.verdict == "SURVIVED"} == {
        "rate-logged-not-used", "loss-logged-as-sum",
    }  # fmt: skip
    assert not any(one.by_a_crash for one in power.planted)


def test_a_killed_call_goes_on_where_it_was(planted, capsys):
    _, path = planted
    whole = json.loads(path.read_text())
    cut = path.with_name("cut.json")
    kept = [{**one, "what": "as the first call wrote it"} for one in whole["planted"][:2]]
    cut.write_text(json.dumps(resealed({**whole, "planted": kept})))
    assert plant(cut, "--only", *ONLY) == 1
    shown = capsys.readouterr()
    assert shown.err.count("[3/3]") == 1
    assert "[1/3]" not in shown.err
    assert "judging the system as it is" not in shown.err
    again = read_power(cut)
    assert [one.id for one in again.planted] == list(ONLY)
    assert [one.what for one in again.planted[:2]] == ["as the first call wrote it"] * 2
    assert again.planted[2].what != "as the first call wrote it"
    assert shown.out.splitlines()[0] == again.headline
    assert plant(cut, "--only", *ONLY) == 1
    assert "finished before" in capsys.readouterr().err


def test_the_file_of_another_system_is_not_gone_on_with(planted, capsys):
    _, path = planted
    content = json.loads(path.read_text())
    other = path.with_name("other.json")
    content["asked"]["code"] = "another"
    content = resealed(content)
    other.write_text(json.dumps(content))
    assert plant(other, "--only", *ONLY) == 2
    assert "is of another system: code 'another' there and" in capsys.readouterr().err
    assert json.loads(other.read_text()) == content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "no-such"], "no fault 'no-such'"),
        (["--system", "nowhere.py:Nothing"], "found none of that name"),
        (["--system-timeout", "-1"], "expected a number, above 0"),
        (["--system-root", "."], "the builtin system takes none"),
    ],
)
def test_wrong_input_is_one_plain_line(options, message, capsys):
    assert main(["gate-power", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


class StandIn:
    """Two archs whose score is their share of a weight's sum."""

    def describe(self):
        return Description("stand-in", frozenset({"describe", "open", "evaluate", "state"}))

    def open(self, config):
        self.weight = np.full((1, 1, 2, 3), 0.25)

    def state(self, changes=None):
        self.weight = np.array((changes or {}).get("w", self.weight))
        return {"w": self.weight}

    def evaluate(self, archs=None, batches_per_arch=None):
        if not np.isfinite(self.weight).all():
            raise FloatingPointError("w is not finite")
        names = tuple(archs or ("a", "b"))
        scores = {name: (float(self.weight.sum() * (1 + ord(name))),) * 3 for name in names}
        means = tuple(scores[name][0] for name in names)
        return Evaluation(names, means, scores, float(np.mean(means)), 1.0, "e")

    def close(self):
        pass


@pytest.fixture
def setting(embedded_frames, tmp_path, monkeypatch):
    config = embedded_config(embedded_frames)
    apply_environment(config)
    from harness.faults import power

    monkeypatch.setattr(power, "system_factory", lambda spec, shared: StandIn)
    tree = config.model_dump(mode="json", by_alias=True)
    return power.Setting(SystemSpec("stand_in.py:StandIn"), tree, tmp_path, None)


def verdicts(setting, *names, holds=None):
    from harness.faults import power
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE

    kinds = [kind for kind in FAULTS_ANYWHERE.values() if kind.id in names]
    start = power.judge_clean(setting, Power({}, faults=names))
    assert not start.broken
    start = start if holds is None else replace(start, holds=holds)
    done = power.plant_all(setting, start, kinds, on_result=lambda *_: None)
    return {one.id: (one.verdict, one.reason) for one in done.planted}


def test_what_cannot_be_planted_is_no_survivor(setting):
    assert verdicts(setting, "nan-swallowed", "one-batch-scored", "scores-of-one-arch") == {
        "nan-swallowed": ("n/a", "the system does not offer train"),
        "one-batch-scored": ("n/a", "an evaluation has one batch alone"),
        "scores-of-one-arch": ("noticed", ""),
    }


def test_a_promise_that_is_broken_without_a_fault_notices_none(setting):
    found = verdicts(setting, "score-jitters", holds=("pool-as-declared",))
    assert found == {"score-jitters": ("SURVIVED", "")}


def test_an_error_alone_is_not_what_the_gate_noticed(setting, monkeypatch):
    from harness.faults.anywhere.scores import ScoreJitters

    def refused(inner, *args, **kwargs):
        raise KeyError("of the planting")

    monkeypatch.setattr(ScoreJitters, "wrap", lambda self, s: overriding(s, evaluate=refused))
    from harness.faults import power

    start = power.judge_clean(setting, Power({"system": "x"}, faults=("score-jitters",)))
    done = power.plant_all(setting, start, [ScoreJitters], on_result=lambda *_: None)
    assert done.planted[0].by_a_crash
    assert done.planted[0].judged == len(start.holds)
    assert (done.noticed, done.plantable) == (0, 1)
    assert "1 ended in an error" in done.headline


def test_what_hung_is_started_anew_for_the_next_fault():
    closed = []
    workers = Workers(_running={
        "hung": SimpleNamespace(running=False, close=lambda: closed.append("hung")),
        "well": SimpleNamespace(running=True, close=lambda: closed.append("well")),
    })  # fmt: skip
    workers.forget_ended()
    assert closed == ["hung"]
    assert list(workers._running) == ["well"]


def test_a_fault_of_any_system_says_what_it_needs():
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE

    assert len(FAULTS_ANYWHERE) >= 35
    for kind in FAULTS_ANYWHERE.values():
        assert kind.any_system
        assert kind.needs, kind.id
        assert set(kind.needs) <= set(METHODS), kind.id
        assert set(kind.keys) <= set(field_kinds()), kind.id
        assert set(kind.spoils) <= set(PROMISES) - set(kind.expected), kind.id
        assert not kind().acted


def test_a_key_that_the_system_cannot_vary_is_the_reason():
    from harness.faults.anywhere.runs import SeedNeverArrives

    about = Description("x", frozenset({"train"}), settings={"runtime.seed": 3})
    assert SeedNeverArrives().unplantable(about) == "the system cannot vary runtime.seed"
    assert SeedNeverArrives().unplantable(replace(about, settings={})) == ""


def test_under_another_interpreter_only_what_needs_no_part_is_planted():
    spec = SystemSpec(python="python3", fault="harness.faults.anywhere.scores:MetricHalved")
    made = remote_factory(spec, lambda: None)()
    assert "score" in made._calls
    parts = replace(spec, fault="harness.faults.metric:LastResidualOnly")
    with pytest.raises(ValueError, match="under this interpreter alone"):
        remote_factory(parts, lambda: None)


def test_digests_of_a_changed_state_are_made_from_it():
    class Hosted(StandIn):
        def state_digests(self):
            return {"w": "of the whole state"}

    changed = overriding(Hosted(), state=lambda inner: {"w": np.zeros(3)})
    assert getattr(changed, "state_digests", None) is None
    assert overriding(Hosted()).state_digests() == {"w": "of the whole state"}


FINDINGS = Power(
    {"system": "theirs.py:<b>Net</b>"}, ("eval-pure",), {"metric-alive": "spread 0"},
    {"update-is-adam": "no slots"},
    (
        Planted("crash", "It raises.", "us", "noticed", {"eval-pure": "error: KeyError: 'x'"}),
        Planted("absent", "It lacks a call.", "us", "n/a", reason="the system does not offer x"),
        Planted("overlooked", "It <goes> on.", "a/b#1", "SURVIVED", judged=12, reason="x is n/a"),
    ),
    ("crash", "absent", "overlooked", "later"),
)  # fmt: skip


def test_the_table_begins_with_what_the_gate_is_worth_and_what_it_overlooks():
    first, second, *rest = power_lines(FINDINGS)
    assert first == (
        "the gate of theirs.py:<b>Net</b> notices 0 of 2 faults planted around it; 1 cannot be "
        "planted here; 1 not planted yet; 1 ended in an error, which may be that of the planting; "
        "broken without any fault, and no judge of one: 1 promises"
    )
    assert second == "SURVIVED overlooked"
    assert rest[-1] == "broken without any fault: metric-alive: spread 0"
    assert [planted_line(one) for one in FINDINGS.planted] == [
        "noticed  crash: eval-pure (by an error)",
        "n/a      absent: cannot be planted here: the system does not offer x",
        "SURVIVED overlooked: all 12 promises that apply still hold; x is n/a",
    ]


def test_a_report_shows_the_table(tmp_path, capsys):
    file = tmp_path / "power.json"
    file.write_text(json.dumps(FINDINGS.as_dict()))
    assert read_power(file) == FINDINGS
    run = write_run(tmp_path, SEGMENTS)
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(page), "--gate-power", str(file)]) == 0
    text = page.read_text()
    assert "What a green gate of this system is worth" in text
    assert "It &lt;goes&gt; on." in text
    assert "&lt;b&gt;Net" in text
    assert text.index("<td>overlooked</td>") < text.index("<td>crash</td>")
    assert FINDINGS.headline in capsys.readouterr().out
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert "What a green gate of this system is worth" not in page.read_text()


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "no JSON",
        json.dumps(resealed({**FINDINGS.as_dict(), "format": 2})),
        json.dumps(resealed({**FINDINGS.as_dict(), "planted": [{"id": "x"}]})),
        json.dumps(resealed({**FINDINGS.as_dict(), "holds": [True]})),
        json.dumps({**FINDINGS.as_dict(), "holds": ["metric-oracle"]}),
    ],
)
def test_another_file_is_refused_in_one_line(content, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(InputError, match="expected what `harness gate-power --json` writes"):
        read_power(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_power(tmp_path / "absent.json")
