"""Clip checks of a PyTorch loop: under any name, and too late."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `torch`)")

from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm  # noqa: E402

from harness.systems.torch.watch import Seen, samples_in, watched  # noqa: E402

LIMIT = 0.5


def seen_of(step):
    """Return what is seen of a step of two nets, with an optimizer each."""
    seen = Seen()
    nets = [torch.nn.Linear(3, 2) for _ in range(2)]
    optimizers = [torch.optim.SGD(net.parameters(), 0.1) for net in nets]
    with watched(lambda: seen, lambda _, begin: begin(), lambda: None):
        step(nets, optimizers, lambda i: (9 * nets[i](torch.ones(4, 3))).square().sum())
    assert len(seen.clips) == 2
    return [(before, after) for before, after, limit in seen.clips if limit == LIMIT]


def in_order(nets, optimizers, loss):
    for i in (0, 1):
        loss(i).backward()
        clip_grad_norm_(nets[i].parameters(), LIMIT)
        optimizers[i].step()


def by_a_norm_of_its_own(nets, optimizers, loss):
    for i in (0, 1):
        torch.autograd.backward(loss(i))
        weights = list(nets[i].parameters())
        norm = get_total_norm([weight.grad for weight in weights], float("inf"))
        clip_grads_with_norm_(weights, LIMIT, norm)
        optimizers[i].step()


def twice(nets, optimizers, loss):
    for _ in (0, 1):
        optimizers[0].zero_grad()
        loss(0).backward()
        clip_grad_norm_(nets[0].parameters(), LIMIT)
        optimizers[0].step()


def together(nets, optimizers, loss):
    (loss(0) + loss(1)).backward()
    for i in (0, 1):
        clip_grad_norm_(nets[i].parameters(), LIMIT)
        optimizers[i].step()


def too_late(nets, optimizers, loss):
    for i in (0, 1):
        loss(i).backward()
        optimizers[i].step()
        clip_grad_norm_(nets[i].parameters(), LIMIT)


@pytest.mark.parametrize("step", [in_order, by_a_norm_of_its_own, twice, together])
def test_what_is_clipped_before_its_step_is_clipped(step):
    for before, after in seen_of(step):
        assert before > 2 * LIMIT
        assert after == pytest.approx(LIMIT, rel=1e-4)


def test_what_is_clipped_after_its_step_was_applied_whole():
    for before, after in seen_of(too_late):
        assert after == before > 2 * LIMIT


def test_the_samples_of_a_batch_are_its_images_and_flow():
    images, flow, ids = torch.zeros(2, 3, 4, 5), torch.zeros(2, 2, 4, 5), torch.arange(2)
    images[1] = 1
    found = list(samples_in([{"images": images, "flow": flow}, ids]))
    assert [[array.shape for array in one] for one in found] == [[(3, 4, 5), (2, 4, 5)]] * 2
    assert [one[0].max() for one in found] == [0, 1]
    assert list(samples_in([images, flow[:1]])) == []  # of no one number of samples
    assert list(samples_in(ids)) == []
