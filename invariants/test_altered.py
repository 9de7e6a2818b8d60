"""What must stay, must change, or must be refused when something around it is altered."""

import pytest

from harness.pytest_plugin import Gate


def test_a_run_does_not_depend_on_its_place(gate: Gate) -> None:
    """Paths, the order in which files were made, and the run's name change nothing."""
    gate.check("same-run-elsewhere")


def test_seeds_matter(gate: Gate) -> None:
    """One seed repeats its start, another changes it."""
    gate.check("seeds-matter")


def test_the_pool_is_as_declared(gate: Gate) -> None:
    """Six declared archs come first, then distinct ones that the seed draws."""
    gate.check("pool-as-declared")


@pytest.mark.parametrize("promise", ["unknown-flow-masked", "unknown-flow-unscored"])
def test_unknown_flow_is_left_out(gate: Gate, promise: str) -> None:
    """Unknown flow is masked and does not enter the EPE; large flow is served whole."""
    gate.check(promise)


def test_bad_files_are_named(gate: Gate) -> None:
    """A truncated, overlong, NaN or misfit file stops the run by name."""
    gate.check("bad-files-named")


def test_frozen_batches_score_as_their_files(gate: Gate) -> None:
    """A frozen artifact scores as its files do; another one at its path does not."""
    gate.check("frozen-same")


def test_a_cache_is_never_stale(gate: Gate) -> None:
    """Cached batches are what the files hold, when one changes under its name, size and time."""
    gate.check("cache-never-stale")


def test_damaged_checkpoints_are_refused(gate: Gate) -> None:
    """A flipped byte, a cut file and an absent checkpoint are refused by name."""
    gate.check("checkpoint-verified")


def test_a_nan_stops_an_evaluation(gate: Gate) -> None:
    """A NaN in a weight stops the evaluation and is named."""
    gate.check("nan-score-stops")


def test_the_arch_that_is_asked_for_runs(gate: Gate) -> None:
    """A score depends on exactly the options that the arch names."""
    gate.check("arch-executed")


def test_every_knob_is_alive(gate: Gate) -> None:
    """Each configuration key changes what its kind says, and nothing it must not."""
    gate.check("knobs-alive")
