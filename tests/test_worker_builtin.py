import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.fc2.synthetic import write_dataset
from harness.promises.registry import PROMISES
from harness.promises.setting import matrix_config
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec


def driven(system, config, folder):
    """Make every call of the protocol and return what each one returned."""
    found = {"unopened": system.describe()}
    system.open(config)
    found["describe"], found["start"] = system.describe(), system.state()
    found["batches"] = [system.batches(role, epoch=2) for role in ("train", "eval", "recal")]
    found["first"] = system.train(1, evaluate=True)
    system.save(str(folder / "cut"))
    found["part"] = system.train(2, steps=1)
    found["bare"] = system.train(2, evaluate=False, observe=False)
    system.restore(str(folder / "cut"))
    found["again"] = system.train(2, evaluate=False)
    archs = ["012012012", "210210210"]
    found["scores"] = system.evaluate(archs, batches_per_arch=1)
    found["recal"] = [system.recalibrate(arch, inputs=True) for arch in archs]
    batch = found["batches"][1][0]
    found["outputs"] = system.predict(archs[0], batch)
    found["score"] = system.score(found["outputs"], batch.flow, batch.valid)
    name = next(name for name, array in found["start"].items() if array.ndim == 4)
    found["changed"] = system.state({name: found["start"][name]})
    system.close()
    return found


def differing(a, b, where=""):
    """Return the places where two answers differ: in type, dtype, shape or any bit."""
    if type(a) is not type(b) and not isinstance(a, list | tuple | dict):
        return [f"{where}: {type(a).__name__} and {type(b).__name__}"]
    if isinstance(a, np.ndarray):
        same = (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        return [] if same else [where]
    if dataclasses.is_dataclass(a):
        a, b = vars(a), vars(b)
    if isinstance(a, dict):
        lost = [] if list(a) == list(b) else [f"{where}: keys"]
        return lost + [d for k in a if k in b for d in differing(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, list | tuple):
        lost = [] if len(a) == len(b) else [f"{where}: length"]
        pairs = enumerate(zip(a, b, strict=False))
        return lost + [d for i, (x, y) in pairs for d in differing(x, y, f"{where}[{i}]")]
    same = a == b and (isinstance(a, frozenset) or repr(a) == repr(b))
    return [] if same else [f"{where}: {a!r} and {b!r}"]


SECONDS = ("eval_seconds", "bn_recal_seconds")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    write_dataset(folder / "data", train=7, val=5, height=29, width=43)
    config = matrix_config(folder / "data").model_dump(mode="json", by_alias=True)
    here = driven(system_factory(SystemSpec())(), config, folder / "here")
    spec, workers = SystemSpec(python=sys.executable), Workers()
    there = driven(system_factory(spec, workers)(), config, folder / "there")
    about = workers.of(spec).about
    workers.close()
    return here, there, about


@pytest.mark.slow
def test_builtin_answers_the_same_in_a_process_of_its_own(answers):
    here, there, _ = answers
    assert here.keys() == there.keys()
    wrong = [d for name in here for d in differing(here[name], there[name], name)]
    assert [d for d in wrong if not any(s in d for s in SECONDS)] == []


@pytest.mark.slow
def test_a_difference_of_one_bit_would_be_seen(answers):
    here, there, _ = answers
    name = next(name for name, array in there["start"].items() if array.ndim == 4)
    changed = dict(there["start"])
    changed[name] = np.array(changed[name])
    changed[name].view(np.uint8).flat[5] ^= 1
    assert differing(here["start"], changed, "start") == [f"start.{name}"]


@pytest.mark.slow
def test_a_worker_says_what_it_runs_on(answers):
    assert answers[2]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert answers[2]["packages"]["numpy"] == np.__version__
    assert "tensorflow" in answers[2]["packages"]


def judgements(file, *options):
    """Run the whole gate in a process of its own; return verdict and text by promise."""
    command = [
        sys.executable, "-m", "pytest", "invariants", "-q", "--gate-file", str(file), *options,
    ]  # fmt: skip
    root = Path(__file__).parents[1]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    return json.loads(file.read_text())["relations"]


@pytest.mark.nightly
def test_the_whole_gate_judges_the_same_in_a_process_of_its_own(tmp_path):
    here = judgements(tmp_path / "here.json")
    there = judgements(tmp_path / "there.json", "--system-python", sys.executable)
    parts = here.keys() - there.keys()  # properties of functions, which are not in this process
    assert not parts & PROMISES.keys()
    assert there == {name: here[name] for name in there}
    assert set(there) == {n for n, promise in PROMISES.items() if promise.in_quick}
