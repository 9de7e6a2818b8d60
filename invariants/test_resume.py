"""A run that was cut continues as if it had not been."""

from harness.pytest_plugin import Gate


def test_checkpoint_restores_everything(gate: Gate) -> None:
    """Every variable, slot and counter comes back."""
    gate.check("checkpoint-complete")


def test_resume_is_exact(gate: Gate) -> None:
    """A run cut at an epoch boundary continues bit-identically in a fresh process."""
    gate.check("resume-exact")
