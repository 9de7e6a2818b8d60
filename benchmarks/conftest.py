"""The setting that all benchmarks share, their timer, and the section after the tables."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.report import Line, Report
from harness.commands.common import with_fc2_root
from harness.config import Config, parse_config
from harness.environment import Environment, apply_environment
from harness.fc2.decode import decode_triplet
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import write_dataset
from harness.pytest_plugin import option

if TYPE_CHECKING:  # imports TensorFlow, which the environment must precede
    from harness.systems.session import Session

_REPORT = pytest.StashKey[Report]()
_COLUMNS = ["median", "iqr", "min", "max", "rounds"]
_SAMPLES = 16  # of each split: as many as the longest evaluation takes
_SETTING: dict[str, dict[str, Any]] = {
    "runtime": {"seed": 7},
    "model": {"width": 8},
    "data": {"input_height": 64, "input_width": 96},
    "train": {
        "num_epochs": 1000, "epoch_mode": "fixed_steps", "steps_per_epoch": 4,
        "batch_size": 4, "micro_batch_size": 2,
    },
    "eval": {
        "eval_pool_size": 4, "bn_recal_batches": 2, "eval_batches_per_arch": 2, "batch_size": 2,
        "early_stop_patience": 1000,
    },
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Open the report; show few columns, medians first, unless others were asked for."""
    config.stash[_REPORT] = Report()
    config.option.benchmark_columns = config.option.benchmark_columns or _COLUMNS


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the report after the tables."""
    config.stash[_REPORT].write(terminalreporter)


@dataclass(frozen=True)
class Timer:
    """Times one function with warm traces and files in the page cache.

    Attributes
    ----------
    benchmark : BenchmarkFixture
        Of the test.
    report : Report
        Of the session.
    """

    benchmark: BenchmarkFixture
    report: Report

    def __call__(
        self, function: Callable[..., Any], *, rounds: int,
        setup: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]] | None = None,
    ) -> tuple[Any, float | None]:  # fmt: skip
        """Return what the last round returned, and the median seconds of a round.

        The first round is not counted. None with ``--benchmark-disable``: one untimed round.
        """
        result = self.benchmark.pedantic(function, setup=setup, rounds=rounds, warmup_rounds=1)
        timed = self.benchmark.stats
        return result, None if timed is None else float(timed.stats.median)

    def note(self, **facts: Any) -> None:
        """Store facts with the result."""
        self.benchmark.extra_info.update(facts)

    def point(self, subject: str, count: int, seconds: float) -> Line | None:
        """Add a point to a series; return the line so far and store it with the result."""
        self.report.series.setdefault(subject, {})[count] = seconds
        line = self.report.fit(subject)
        if line is not None:
            self.note(line=asdict(line))
        return line


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
    from harness.systems.session import open_session

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
    crop = " x ".join(map(str, setting.train_crop))
    request.config.stash[_REPORT].heading += [
        environment.line(),
        f"skeleton {found['skeleton']}, width {found['width']}, crop {crop} px (H x W) of "
        f"{height} x {width}, {data} frames; batch {found['batch']} in micro-batches of "
        f"{found['micro_batch']}, evaluation batch {found['eval_batch']}, pool of {found['pool']}",
    ]
    return found


@pytest.fixture
def timer(
    request: pytest.FixtureRequest, benchmark: BenchmarkFixture, facts: dict[str, Any]
) -> Timer:
    """Return the test's timer; its result carries environment and setting."""
    benchmark.extra_info.update(facts)
    return Timer(benchmark, request.config.stash[_REPORT])
