"""No order and no subset of promises changes what is said of a system."""

import random
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.second_process import FROM_CHECKPOINTS
from harness.promises.setting import EMBEDDED_TRAIN, EMBEDDED_VAL, fit_to_system, matrix_config
from harness.runs.session import CompiledCache
from harness.systems.beside import SecondProcess
from harness.systems.opening import system_factory
from harness.systems.remote import Workers
from harness.systems.spec import SystemSpec

HERE = Path(__file__).parent / "numpy_trainer"
NUMPY, IDLE = f"{HERE / 'adapter.py'}:NumpySystem", f"{HERE / 'broken.py'}:IdleHead"
QUICK = [name for name, promise in PROMISES.items() if promise.in_quick]


DEAD = {"metric-alive", "training-moves", "seeds-matter"}
"""What a head that nothing reads breaks."""


def systems(builtin):
    """Return the systems that are judged in other orders; `builtin` marks the dear one."""
    small = [pytest.param(NUMPY, id="numpy"), pytest.param(IDLE, id="idle")]
    dear = pytest.param("builtin", id="builtin", marks=builtin)
    return pytest.mark.parametrize("gate", [*small, dear], indirect=True)


IN_ANY_ORDER = systems(builtin=pytest.mark.nightly)
"""The builtin system takes half a minute for each order."""


class Judged(NamedTuple):
    verdict: str
    text: str
    violations: tuple[str, ...]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    write_dataset(root, train=EMBEDDED_TRAIN, val=EMBEDDED_VAL, height=29, width=43)
    return matrix_config(root)


@pytest.fixture(scope="module")
def gate(request, setting, tmp_path_factory):
    """Return a function that judges promises of one system, in order, on a new bench."""
    spec = SystemSpec(request.param)
    with ExitStack() as stack:
        second = stack.enter_context(closing(SecondProcess()))
        shared = stack.enter_context(closing(Workers())) if spec.foreign else CompiledCache()
        make = system_factory(spec, shared)
        apply_environment(setting)  # as the gate does, before anything computes
        config = fit_to_system(setting, make().describe()) if spec.foreign else setting
        tree = config.model_dump(mode="json", by_alias=True)

        def judged(names, early=FROM_CHECKPOINTS):
            folder = tmp_path_factory.mktemp("bench")
            with closing(Bench(make, spec, tree, folder, early, second)) as bench:
                found = {name: judge(PROMISES[name], bench) for name in names}
            return {n: Judged(j.verdict, j.text, j.violations) for n, j in found.items()}

        judged.system = request.param
        yield judged


@pytest.fixture(scope="module")
def forwards(gate):
    return gate(QUICK)


def drawn(seed, count):
    return random.Random(seed).sample(QUICK, count)


def same(found, forwards):
    return {n: (j, forwards[n]) for n, j in found.items() if j != forwards[n]} == {}


@IN_ANY_ORDER
def test_a_gate_backwards_says_the_same(gate, forwards):
    assert same(gate(QUICK[::-1]), forwards)


@IN_ANY_ORDER
def test_a_gate_in_a_drawn_order_says_the_same(gate, forwards):
    assert same(gate(drawn(1, len(QUICK))), forwards)


@pytest.mark.nightly
@IN_ANY_ORDER
@pytest.mark.parametrize("seed", [2, 3])
def test_a_gate_in_another_drawn_order_says_the_same(gate, forwards, seed):
    assert same(gate(drawn(seed, len(QUICK))), forwards)


@IN_ANY_ORDER
@pytest.mark.parametrize("seed", range(8))
def test_a_part_of_a_gate_says_the_same(gate, forwards, seed):
    assert same(gate(drawn(seed, 2 + seed)), forwards)


@IN_ANY_ORDER
@pytest.mark.parametrize("name", QUICK)
def test_a_promise_alone_says_the_same(gate, forwards, name):
    assert same(gate([name], early=()), forwards)


@IN_ANY_ORDER
def test_the_idle_head_is_seen(gate, forwards):
    verdicts = {name: judgement.verdict for name, judgement in forwards.items()}
    broken = {name for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert broken == (DEAD if gate.system == IDLE else set())
    assert "error" not in verdicts.values()
    if gate.system == IDLE:
        assert "kernels of idle" in forwards["metric-alive"].text
        assert forwards["eval-pure"].text.endswith("training draws cannot be asked for")
