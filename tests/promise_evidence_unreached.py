"""Evidence of states that a short run does not reach: far weights, small gradients, odd pixels."""

from dataclasses import replace

import numpy as np

from harness.promises import far_updates, logged_zero_flow, weight_slopes
from harness.promises.far_weights import FarUpdate
from harness.promises.logged_zero_flow import LoggedZeroFlow
from harness.promises.update_rules import Moved, planned_moves
from harness.promises.weight_slopes import Probe, WeightSlopes
from harness.systems.declared import ADAM, UpdateRule

RNG = np.random.default_rng(13)
NAME, HUGE, BETA = "E0/kernel", 1e12, 0.999
BEFORE = RNG.normal(0, 0.3, (3, 3, 2, 4)).astype(np.float32)
BEFORE.flat[5] = 5e6
GRADIENT = RNG.normal(0, 1, BEFORE.shape)


def step(second, *, rule=ADAM, divisor=None, most=np.inf, fades=True):
    """Return a third step of one kernel, whose second moment was as given."""
    old = np.full(BEFORE.shape, second, np.float32)
    first = 0.1 * GRADIENT
    new = (BETA * old if fades else old) + (1 - BETA) * GRADIENT**2
    moments = ({NAME: first}, {NAME: new if rule is ADAM else first})
    moved = Moved(rule, 1e-3, 3, {NAME: BEFORE}, {}, moments, {NAME: GRADIENT})
    used = moved if divisor is None else replace(moved, moments=({NAME: first}, {NAME: divisor}))
    after = BEFORE - planned_moves(used)[NAME]
    after = np.clip(after, -most, most).astype(np.float32)
    return FarUpdate("step 3, far heads", replace(moved, after={NAME: after}), {NAME: old})


FADED = (step(HUGE), step(1e-3))
SGD = UpdateRule("sgd", momentum=0.9)

SOUND = WeightSlopes(109, 6, ())
SLOW = Probe(("E1/gamma",), 5e-5, 5e-5, 6.005, 5.995, 6.0)
KNOWN = LoggedZeroFlow(2.0, (1.5, 2.5), (1.0, 2.5), (40, 60))

CLEAN = {
    far_updates.far_updates_follow_the_rule: [FADED, FADED[:1], (step(0.1, rule=SGD),)],
    weight_slopes.each_gradient_is_a_slope: [SOUND],
    logged_zero_flow.zero_flow_is_of_known_pixels: [
        KNOWN, replace(KNOWN, logged=2.1, mean="pixels"),
    ],
}  # fmt: skip
EMPTY = {
    far_updates.far_updates_follow_the_rule: (),
    weight_slopes.each_gradient_is_a_slope: WeightSlopes(0, 0, ()),
    logged_zero_flow.zero_flow_is_of_known_pixels: LoggedZeroFlow(),
}
CORRUPTED = {
    far_updates.far_updates_follow_the_rule: {
        "clamped": (
            (step(1e-3, most=3.0),),
            r"step 3, far heads, 1 of 1 weights such as E0/kernel: expected 5000000 moved by .*, "
            r"by Adam, found by 5e\+06, to 3$",
        ),
        "a second moment that does not fall": (
            (step(HUGE, fades=False),),
            r"second moment of E0/kernel: expected 9\.99e\+11, 0\.999 of 1e\+12 and its own, found "
            r"1e\+12, as it was: it does not fade",
        ),
        "divided by the largest so far": (
            (step(1e-3, divisor=np.full(BEFORE.shape, HUGE)),),
            "1 of 1 weights such as E0/kernel: expected .* moved by .*, by Adam, found by",
        ),
    },
    weight_slopes.each_gradient_is_a_slope: {
        "a hundredth": (
            replace(SOUND, wrong=(SLOW,)),
            "loss with E1/gamma moved along its gradient: expected 5e-05 more, as its gradient "
            "says, found 0.005 more: a hundred times that",
        ),
        "hardly a gradient": (
            replace(SOUND, wrong=(replace(SLOW, expected=0.0),)),
            "expected 0 more, as its gradient says, found 0.005 more: it has hardly a gradient",
        ),
    },
    logged_zero_flow.zero_flow_is_of_known_pixels: {
        "over unknown pixels": (
            replace(KNOWN, logged=1.75),
            "EPE of the all-zero flow in the record of an evaluation: expected 2 px, found 1.75 px:"
            " unknown flow counted as 0",
        ),
        "another": (replace(KNOWN, logged=3.0), "expected 2 px, found 3 px$"),
        "not a number": (replace(KNOWN, logged=np.nan), "expected 2 px, found nan px$"),
    },
}
NOTHING_TO_TELL = {
    logged_zero_flow.zero_flow_is_of_known_pixels: {
        "all is known": (
            replace(KNOWN, everywhere=KNOWN.epe),
            "found no pixel without a label was scored: nothing to leave out",
        ),
    },
}
