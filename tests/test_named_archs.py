"""The builtin supernet under codes of names: what holds of digits holds, and is broken, of them."""

import dataclasses
import re
from collections.abc import Mapping
from functools import partial

import pytest

from harness.archs import Space, digits
from harness.environment import apply_environment
from harness.promises.bench import Bench
from harness.promises.judge import judge
from harness.promises.registry import PROMISES
from harness.promises.setting import matrix_config
from harness.runs.session import CompiledCache
from harness.systems.builtin import BuiltinSystem
from harness.systems.spec import SystemSpec

DIGITS = digits((3,) * 9)
NAMED = Space(tuple(tuple(f"b{b}:{o}" for o in ("k7", "k5", "skip")) for b in range(9)), ",")


def named(value):
    """Return a record with its codes of digits written as names."""
    if isinstance(value, str):
        return NAMED.write(DIGITS.read(value)) if re.fullmatch("[0-2]{9}", value) else value
    if dataclasses.is_dataclass(value):
        changes = {f.name: named(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **changes)
    if isinstance(value, Mapping):
        return {named(key): named(one) for key, one in value.items()}
    return type(value)(map(named, value)) if isinstance(value, tuple | list) else value


def in_digits(arch):
    choice = NAMED.read(arch)
    assert choice is not None, arch
    return DIGITS.write(choice)


class Named(BuiltinSystem):
    """Names archs by their options, blocks apart by commas."""

    def describe(self):
        return dataclasses.replace(super().describe(), space=NAMED)

    def evaluate(self, archs=None, *, batches_per_arch=None):
        codes = None if archs is None else [in_digits(arch) for arch in archs]
        return named(super().evaluate(codes, batches_per_arch=batches_per_arch))

    def train(self, *args, **options):
        return named(super().train(*args, **options))

    def recalibrate(self, arch, *, inputs=False):
        return named(super().recalibrate(in_digits(arch), inputs=inputs))

    def predict(self, arch, batch):
        return super().predict(in_digits(arch), batch)


class TwiceTheFirst(Named):
    """Logs the first arch of each step twice."""

    def train(self, *args, **options):
        found = super().train(*args, **options)

        def twice(record):
            archs = getattr(record, "archs", ())
            if "steps" in vars(record) or not hasattr(record, "batch"):
                return record
            return dataclasses.replace(record, archs=(archs[0], archs[0], *archs[2:]))

        return dataclasses.replace(
            found, steps=tuple(map(twice, found.steps)), records=tuple(map(twice, found.records))
        )


HELD = (
    "fair-archs", "ledger-fairness", "same-scores-alone", "arch-executed", "unrun-options-unseen",
    "unrun-statistics-still", "logged-archs-trained", "seeds-matter", "draws-as-trained",
    "cycles-independent", "gradient-everywhere", "moving-statistics", "micro-batches-followed",
    "loss-recomputed", "clip-checks-planned-micro-step",
)  # fmt: skip


def judged(system, promises, cache, frames, folder):
    config = matrix_config(frames)
    apply_environment(config)
    tree = config.model_dump(mode="json", by_alias=True)
    bench = Bench(partial(system, cache=cache), SystemSpec("builtin"), tree, folder)
    try:
        return {promise: judge(PROMISES[promise], bench) for promise in promises}
    finally:
        bench.close()


@pytest.fixture(scope="module")
def cache():
    return CompiledCache()


@pytest.mark.nightly
def test_a_space_of_names_is_judged_as_one_of_digits(cache, embedded_frames, tmp_path):
    found = judged(Named, [*HELD, "pool-as-declared"], cache, embedded_frames, tmp_path)
    verdicts = {promise: f.verdict for promise, f in found.items()}
    assert verdicts == dict.fromkeys(HELD, "holds") | {"pool-as-declared": "n/a"}


BROKEN = {
    "fair-archs": r"block \d: expected options b\d:k7, b\d:k5, b\d:skip once each, found \('b",
    "ledger-fairness": r"block \d: expected options b\d:k7, b\d:k5, b\d:skip once each",
    "logged-archs-trained": r"logged arch b0:.*: the step trains another arch than it logs",
    "draws-as-trained": r"archs of epoch 1, step 1: expected \['b0:",
}


@pytest.mark.nightly
def test_archs_of_names_that_are_not_those_trained_are_told(cache, embedded_frames, tmp_path):
    found = judged(TwiceTheFirst, BROKEN, cache, embedded_frames, tmp_path)
    for promise, text in BROKEN.items():
        assert found[promise].verdict == "BROKEN"
        assert re.search(text, " ".join(found[promise].violations))
