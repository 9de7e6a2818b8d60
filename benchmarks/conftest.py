"""The setting that all benchmarks share, their timer, and the section after the tables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

try:
    from pytest_benchmark.fixture import BenchmarkFixture
except ModuleNotFoundError:
    # Of every other error here pytest shows a traceback.
    sys.exit("benchmarks need pytest-benchmark: pip install -e '.[dev]' -c constraints.txt")

from benchmarks import baseline as comparing
from benchmarks import expected
from benchmarks.baseline import Baseline, baseline, pytest_sessionstart
from benchmarks.expected import pytest_collection_modifyitems, pytest_report_collectionfinish
from benchmarks.report import Report
from benchmarks.timer import Timer
from harness.commands.common import with_fc2_root
from harness.config import Config, parse_config
from harness.environment import Environment, apply_environment
from harness.fc2.decode import decode_triplet
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import write_dataset
from harness.gate_state import option

if TYPE_CHECKING:  # imports TensorFlow, which the environment must precede
    from harness.runs.session import Session

__all__ = [
    "baseline", "pytest_collection_modifyitems", "pytest_report_collectionfinish",
    "pytest_sessionstart",
]  # fmt: skip

_REPORT = pytest.StashKey[Report]()
_COLUMNS = ["median", "iqr", "min", "max", "rounds"]
_SAMPLES = 16  # of each split: as many as the longest evaluation takes
_SETTING: dict[str, dict[str, Any]] = {
    "runtime": {"seed": 7},
    "model": {"width": 8},
    "data": {"input_height": 64, "input_width": 96},
    "train": {
        "num_epochs": 1000, "epoch_mode": "fixed_steps", "steps_per_epoch": 3,
        "batch_size": 4, "micro_batch_size": 2,
    },
    "eval": {
        "eval_pool_size": 4, "bn_recal_batches": 2, "eval_batches_per_arch": 2, "batch_size": 2,
        "early_stop_patience": 1000,
    },
}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, in one group."""
    comparing.pytest_addoption(parser)
    expected.pytest_addoption(parser)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was saved."""
    comparing.pytest_sessionfinish(session)
    expected.pytest_sessionfinish(session)


def pytest_configure(config: pytest.Config) -> None:
    """Open the report; show few columns, medians first, unless others were asked for."""
    config.stash[_REPORT] = Report()
    expected.pytest_configure(config)
    config.option.benchmark_columns = config.option.benchmark_columns or _COLUMNS


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the report after the tables."""
    config.stash[_REPORT].write(terminalreporter)
    comparing.pytest_terminal_summary(terminalreporter, config)


@pytest.fixture(scope="session")
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Return the configuration, on ``--fc2-root`` or on synthetic frames of 512 x 384 px."""
    given = option(request.config, "fc2_root")
    root = Path(given) if given else tmp_path_factory.mktemp("frames") / "synthetic"
    if not given:
        write_dataset(root, train=_SAMPLES, val=_SAMPLES, height=384, width=512)
    return with_fc2_root(parse_config(_SETTING), root)


@pytest.fixture(scope="session")
def environment(setting: Config) -> Environment:
    """Apply the environment, before anything imports TensorFlow."""
    return apply_environment(setting)


@pytest.fixture(scope="session")
def session(setting: Config, environment: Environment) -> "Session":  # noqa: ARG001
    """Return data, supernet and evaluator."""
    from harness.runs.session import open_session

    return open_session(setting)


@pytest.fixture(scope="session")
def facts(
    request: pytest.FixtureRequest, setting: Config, environment: Environment
) -> dict[str, Any]:
    """Return what a result depends on, and head the report with it."""
    data = option(request.config, "fc2_root") or "synthetic"
    first = list_triplets(setting.data.split_dir("train"))[0]
    height, width = decode_triplet(first).flow.shape[:2]
    found = {
        **environment.as_dict(), "skeleton": setting.model.skeleton, "width": setting.model.width,
        "crop": list(setting.train_crop), "batch": setting.train.batch_size,
        "micro_batch": setting.train.micro_batch, "eval_batch": setting.eval_batch_size,
        "pool": setting.eval.eval_pool_size, "data": data, "frame": [height, width],
    }  # fmt: skip
    heading = request.config.stash[_REPORT].heading
    heading += [environment.line(), *_setting_lines(found)]
    if option(request.config, "config"):
        heading.append("--config is not used here: results compare at one setting only")
    return found


def _setting_lines(facts: dict[str, Any]) -> list[str]:
    crop, frame = (" x ".join(map(str, facts[key])) for key in ("crop", "frame"))
    return [
        f"skeleton {facts['skeleton']}, width {facts['width']}, crop {crop} px (H x W) of {frame} "
        f"px frames, {facts['data']}",
        f"train batch {facts['batch']} in micro-batches of {facts['micro_batch']}, K and R count "
        f"batches of {facts['eval_batch']}, pool of {facts['pool']} archs",
    ]


@pytest.fixture
def timer(
    request: pytest.FixtureRequest, benchmark: BenchmarkFixture, facts: dict[str, Any],
    baseline: Baseline | None,
) -> Timer:  # fmt: skip
    """Return the test's timer; its result carries environment and setting."""
    benchmark.extra_info.update(facts)

    def judge(seconds: float) -> None:
        if baseline is not None:
            baseline.judge(request.node.nodeid, seconds, facts)

    most = expected.QUICK_ROUNDS if expected.is_quick(request.config) else None
    return Timer(benchmark, request.config.stash[_REPORT], judge, most)
