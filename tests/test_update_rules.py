"""The decay that weights moved by is told apart from rounding, of PyTorch's own optimizers."""

import numpy as np
import pytest

from harness.promises.gradients import gradient_between
from harness.promises.update_rules import Moved, decay_beside, planned_moves
from harness.systems.declared import UpdateRule

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

LR, STEPS = 1e-3, 3
SHAPES = {"conv.weight": (3, 3, 6, 16), "norm.bias": (64,)}


def step_of(optimizer, rule, **options):
    """Return the last of a few steps that an optimizer of PyTorch makes in float32."""
    draw = torch.Generator().manual_seed(7)
    weights = {n: torch.nn.Parameter(torch.randn(s, generator=draw)) for n, s in SHAPES.items()}
    groups = [
        {"params": [w], "weight_decay": rule.decay_of(n) if "weight_decay" not in options
         else options["weight_decay"]}
        for n, w in weights.items()
    ]  # fmt: skip
    made = optimizer(groups, lr=LR, **{k: v for k, v in options.items() if k != "weight_decay"})
    names = ("momentum_buffer",) * 2 if rule.rule == "sgd" else ("exp_avg", "exp_avg_sq")
    for _ in range(STEPS):
        before = {n: w.detach().numpy().copy() for n, w in weights.items()}
        old = {n: made.state.get(w, {}).get(names[0]) for n, w in weights.items()}
        old = {n: 0 if m is None else m.numpy().copy() for n, m in old.items()}
        for weight in weights.values():
            weight.grad = torch.randn(weight.shape, generator=draw)
        made.step()
    moments = [
        {n: made.state[w][name].numpy().copy() for n, w in weights.items()} for name in names
    ]
    after = {n: w.detach().numpy().copy() for n, w in weights.items()}
    gradient = gradient_between(rule, old, moments[0])
    return Moved(rule, LR, STEPS, before, after, tuple(moments), gradient)


ADAMW = UpdateRule("adamw", weight_decay=1e-3, undecayed=("*bias",))
SOUND = {
    "AdamW": (torch.optim.AdamW, ADAMW, {}),
    "AdamW's usual decay": (torch.optim.AdamW, UpdateRule("adamw", weight_decay=1e-2), {}),
    "Adam": (torch.optim.Adam, UpdateRule("adam", weight_decay=1e-2), {}),
    "SGD": (torch.optim.SGD, UpdateRule("sgd", momentum=0.9, weight_decay=1e-2), {"momentum": 0.9}),
    "SGD with Nesterov": (
        torch.optim.SGD, UpdateRule("sgd", momentum=0.9, nesterov=True),
        {"momentum": 0.9, "nesterov": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_a_declared_rule_gives_the_step_of_pytorch(name):
    optimizer, rule, options = SOUND[name]
    step = step_of(optimizer, rule, **options)
    assert decay_beside(step, "step 3") == ([], "")
    for weight, planned in planned_moves(step, corrected=True).items():
        np.testing.assert_allclose(step.moves[weight], planned, atol=5e-7)


FALSE = {
    "Adam in the place of AdamW": (torch.optim.Adam, ADAMW, {}, "such as conv.weight: .* found"),
    "biases decayed too": (torch.optim.AdamW, ADAMW, {"weight_decay": 1e-3}, "1 weight such as"),
    "ten times the decay": (torch.optim.AdamW, ADAMW, {"weight_decay": 1e-2}, r"found 0\.0(1|099)"),
    "AdamW in the place of Adam": (
        torch.optim.AdamW, UpdateRule("adam", weight_decay=1e-2), {}, "found 0.01 of each, decou",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FALSE)
def test_another_decay_than_the_declared_one_is_named(name):
    optimizer, rule, options, text = FALSE[name]
    violations, _ = decay_beside(step_of(optimizer, rule, **options), "step 3")
    with pytest.raises(AssertionError, match=text):
        assert not violations, "; ".join(map(str, violations))


def test_a_decay_below_rounding_is_said_to_be_unseen():
    rule = UpdateRule("adamw", weight_decay=1e-6)
    violations, untold = decay_beside(step_of(torch.optim.AdamW, rule), "step 3")
    assert (violations, untold) == (
        [],
        "; a decay of 1e-06 is too small beside rounding to be seen",
    )
