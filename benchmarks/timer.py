"""Times a function through pytest-benchmark and keeps what the report needs."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.report import Report

__all__ = ["Timer", "Timing"]


@dataclass(frozen=True)
class Timing:
    """What the rounds of one benchmark gave.

    Attributes
    ----------
    result : Any
        What the last round returned.
    seconds : float or None
        Median of a round, s; None with ``--benchmark-disable``, which runs one untimed.
    ratio : float or None
        Median of a round over the reference just before it, where there is one.
    """

    result: Any
    seconds: float | None
    ratio: float | None


@dataclass(frozen=True)
class Timer:
    """Times one function with warm traces and files in the page cache.

    Attributes
    ----------
    benchmark : BenchmarkFixture
        Of the test.
    report : Report
        Of the session.
    judge : callable
        Receives the seconds of the shortest round; fails the test where they are too many.
    most_rounds : int or None
        Rounds that are made at most, whatever a benchmark asks for; None: as many as it does.
    """

    benchmark: BenchmarkFixture
    report: Report
    judge: Callable[[float], None] = lambda _: None
    most_rounds: int | None = None

    def __call__(
        self, function: Callable[..., Any], *, rounds: int,
        arguments: Callable[[], tuple[Any, ...]] = tuple,
        reference: Callable[[], object] | None = None,
    ) -> Timing:  # fmt: skip
        """Time `function` after one round that is not counted.

        Parameters
        ----------
        function : callable
            What a round runs.
        rounds : int
            Rounds that count.
        arguments : callable
            Makes a round's arguments, untimed.
        reference : callable, optional
            Run before each round. A machine's slow spells last longer than a round, so
            that the ratio of neighbours is steadier than that of two benchmarks.
        """
        beside: list[float] = []
        rounds = min(rounds, self.most_rounds or rounds)

        def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
            if reference is not None:
                start = perf_counter()
                reference()
                beside.append(perf_counter() - start)
            return arguments(), {}

        result = self.benchmark.pedantic(function, setup=prepare, rounds=rounds, warmup_rounds=1)
        if self.benchmark.stats is None:
            return Timing(result, None, None)
        found = self.benchmark.stats.stats
        self.judge(float(found.min))
        pairs = zip(found.data, beside[1:], strict=True) if beside else ()
        ratios = [timed / near for timed, near in pairs]
        return Timing(result, float(found.median), median(ratios) if ratios else None)

    def note(self, **facts: Any) -> None:
        """Store facts with the result."""
        self.benchmark.extra_info.update(facts)
