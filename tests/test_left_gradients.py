"""A gradient of the step before is told from whatever else a second step may depend on."""

import numpy as np
import pytest

from harness.promises.left_gradients import AfterAnother, left_of_the_first


def gradient(seed):
    rng = np.random.default_rng(seed)
    return {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}


def added(one, other, share=1.0):
    return {name: one[name] + share * other[name] for name in one}


FIRST, ELSE, SECOND, ODD = map(gradient, range(4))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_gradient_that_is_still_there_is_named(share):
    straight, other = added(SECOND, FIRST, share), added(SECOND, ELSE, share)
    found = AfterAnother((FIRST, straight), (ELSE, other), straight)
    (violation,) = left_of_the_first(found, "step 2")
    words = (
        f"step 2, gradient: expected its own alone, found {share:g} times the gradient of step 1"
    )
    assert str(violation).startswith(words)


@pytest.mark.parametrize(
    "found",
    [
        AfterAnother((FIRST, SECOND), (ELSE, SECOND), SECOND),
        # A loss that follows a mean of earlier losses: scaled, and not by the first gradient.
        AfterAnother((FIRST, SECOND), (ELSE, added(SECOND, SECOND, 0.2)), SECOND),
        # A step that does not repeat itself says nothing.
        AfterAnother((FIRST, added(SECOND, FIRST)), (ELSE, added(SECOND, ELSE)), ODD),
    ],
)
def test_what_is_something_else_is_not_accused(found):
    assert left_of_the_first(found, "step 2") == []
