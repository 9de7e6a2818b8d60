"""A run that was cut continues as if it had not been."""

import pytest

from harness.pytest_plugin import Gate


def test_checkpoint_restores_everything(gate: Gate) -> None:
    """Every variable, slot and counter comes back."""
    gate.check("checkpoint-complete")


@pytest.mark.parametrize("cut", ["exact", "mid-epoch", "before-evaluation"])
def test_resume_is_exact(gate: Gate, cut: str) -> None:
    """A run cut after, within or before the end of an epoch continues in a fresh process."""
    gate.check(f"resume-{cut}")


def test_a_run_resumes_from_anywhere(gate: Gate) -> None:
    """After every step and every epoch, each time in a process of its own."""
    gate.check("resume-anywhere")


def test_kills_do_no_harm(gate: Gate) -> None:
    """Killed at random moments, at least 20 times."""
    gate.check("resume-after-kill")
