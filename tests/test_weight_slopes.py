"""A gradient of one weight that is another is named, however small it is beside the others."""

import numpy as np
import pytest

from harness.errors import NotApplicableError
from harness.promises.weight_slopes import _Ways, each_gradient_is_a_slope

RNG = np.random.default_rng(5)
SIZES = {f"layer{i}/{kind}": 72 if kind == "kernel" else 4
         for i in range(8) for kind in ("kernel", "gamma", "beta")}  # fmt: skip
SCALE = {name: 30.0 if "kernel" in name else 0.1 for name in SIZES}
TRUE = {name: RNG.normal(0, SCALE[name], size) for name, size in SIZES.items()}
START = {name: RNG.normal(0, 0.3, size).astype(np.float32) for name, size in SIZES.items()}
LEVEL = 6.0


def loss(moves):
    """Return a loss with a kink close by along every weight, in float32."""
    along = sum(float((TRUE[n] * m).sum()) for n, m in moves.items())
    bent = sum(0.05 * abs(float((TRUE[n] * m).sum())) for n, m in moves.items())
    return float(np.float32(LEVEL + along + bent))


def looked(loss=loss, **gradients):
    """Return the judgement of gradients of which some are others."""
    given = TRUE | {name.replace("__", "/"): g for name, g in gradients.items()}
    return each_gradient_is_a_slope(_Ways(given, START, LEVEL, loss).looked())


def test_gradients_that_are_slopes_hold():
    found = looked()
    assert not found.violations
    assert found.figures.startswith("24 weights moved the loss as their gradients say, 2 ways")


def masked(gradient):
    return np.where(np.arange(gradient.size) < 9, 0.0, gradient)


@pytest.mark.parametrize(
    ("gradients", "named"),
    [
        ({"layer3__gamma": TRUE["layer3/gamma"] * 0.01}, "a hundred times that"),
        ({"layer3__beta": TRUE["layer3/beta"] * 3}, "a third of that"),
        ({"layer3__beta": -TRUE["layer3/beta"]}, "the step goes uphill"),
        ({"layer3__kernel": np.zeros(72)}, "it has hardly a gradient"),
        ({"layer3__kernel": masked(TRUE["layer3/kernel"])}, "layer3/kernel"),
        ({"layer3__gamma": TRUE["layer3/beta"], "layer3__beta": TRUE["layer3/gamma"]}, "gamma"),
        ({"layer3__gamma": np.full(4, np.nan)}, "layer3/gamma"),
    ],
)
def test_one_that_is_another_is_named(gradients, named):
    found = looked(**gradients)
    assert found.violations
    assert all("layer3/" in violation.where for violation in found.violations)
    assert any(named in str(violation) for violation in found.violations)


def test_a_loss_that_cannot_be_asked_for_again_is_no_slope():
    assert looked(loss=lambda _: None).violations


def test_a_gradient_that_is_stopped_everywhere_is_no_accusation():
    with pytest.raises(NotApplicableError, match=r"along its whole gradient, of norm .* by design"):
        looked(**{n.replace("/", "__"): 3 * g for n, g in TRUE.items() if "kernel" in n})
