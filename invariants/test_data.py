"""What is served is what lies on disk, in the declared order and window."""

from harness.pytest_plugin import Gate


def test_eval_crop_is_centred(gate: Gate) -> None:
    """Frames and flow are the centre window, pixel by pixel."""
    gate.check("eval-crop-centred")


def test_eval_order_is_fixed(gate: Gate) -> None:
    """Evaluation starts from the first sample, each sample once."""
    gate.check("eval-order-fixed")


def test_training_draws_are_declared(gate: Gate) -> None:
    """Training draws are as declared, new in each epoch and for each seed."""
    gate.check("train-draws-declared")
