"""Of two faults at once, the two causes come first."""

import pytest

from harness.environment import apply_environment
from harness.fc2.synthetic import write_dataset
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import AREA_OF, PROMISES
from harness.promises.roots import find_roots
from harness.promises.second_process import FROM_CHECKPOINTS
from harness.promises.setting import matrix_config
from harness.systems.opening import system_factory
from harness.systems.spec import SystemSpec
from tests.planted import PAIRS, Pair


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_dataset(folder, train=7, val=5, height=29, width=43)
    config = matrix_config(folder)
    apply_environment(config)
    return config.model_dump(mode="json", by_alias=True)


@pytest.fixture(scope="module")
def compiled():
    from harness.runs.session import CompiledCache

    return CompiledCache()


def roots_of(spec, config, compiled, folder):
    bench = Bench(system_factory(spec, compiled), spec, config, folder, FROM_CHECKPOINTS)
    judgements = [judge(p, bench) for p in PROMISES.values() if p.in_quick]
    bench.close()
    return find_roots(judgements, AREA_OF)


def test_every_planted_fault_is_in_the_catalogue(config):
    for pair in PAIRS:
        assert [fault.id for fault in Pair(*pair).faults] == list(pair)


@pytest.mark.parametrize(
    "pair",
    [pytest.param(p, marks=pytest.mark.nightly if i else pytest.mark.slow)
     for i, p in enumerate(PAIRS)],
    ids=" and ".join,
)  # fmt: skip
def test_the_causes_of_two_faults_come_first(pair, config, compiled, tmp_path):
    spec = SystemSpec(
        "builtin", "tests.planted:Pair", dict(zip(("first", "second"), pair, strict=True))
    )
    found = roots_of(spec, config, compiled, tmp_path)
    names = [root.judgement.promise.id for root in found]
    one, other = (fault.expected for fault in Pair(*pair).faults)
    first, second = names[:2]
    assert (first in one and second in other) or (first in other and second in one), names
