"""BN recalibration uses exactly the named batches and takes effect."""

from harness.pytest_plugin import Gate


def test_recalibration_batches_are_fixed(gate: Gate) -> None:
    """One hash over archs, epochs and processes; one pixel changes it."""
    gate.check("recal-batches-fixed")


def test_recalibration_uses_the_first_training_batches(gate: Gate) -> None:
    """The first R batches of the training split, in order, cropped at the centre."""
    gate.check("recal-batches-first")


def test_recalibrated_statistics_are_exact(gate: Gate) -> None:
    """Statistics equal a float64 recomputation within a relative 1e-5."""
    gate.check("recal-statistics-exact")


def test_recalibration_takes_effect(gate: Gate) -> None:
    """Recalibration changes the statistics and forgets those before."""
    gate.check("recal-effective")
