"""A step made again from where it began: with other kernels, and along its own gradient."""

import math
from collections.abc import Sequence

import numpy as np

from harness.promises.arch_codes import options_run, require_codes, space_of
from harness.promises.bench import Bench
from harness.promises.gradients import REPEATED, SHARES, gradient_norm
from harness.promises.slices import Parts, parts_of, put, unshared
from harness.promises.slopes import Nudge
from harness.promises.states import other_kernel
from harness.promises.walked_step import Turned, WalkedStep
from harness.systems.protocol import Arrays, Description, System, Training

__all__ = ["nudged", "saved_before", "turned"]


def saved_before(bench: Bench, number: int) -> str:
    """Return the checkpoint from before a step, by its number in the run."""
    return str(bench.folder / f"walk-{number}")


def turned(bench: Bench, system: System, step: WalkedStep, straight: Training) -> Turned | None:
    """Repeat a step with other kernels in place of those that one of its archs runs alone.

    Parameters
    ----------
    straight : Training
        The step as it was made first.

    Returns
    -------
    Turned or None
        None where the step says nothing of its archs: no options are declared, no kernel is run
        by one arch alone, or the losses do not tell one arch from another.
    """
    about, archs, before = system.describe(), straight.steps[0].archs, _losses_by_arch(straight)
    if not about.options or not archs or before is None:
        return None
    require_codes(archs, space_of(about), what="a step logs")
    system.restore(saved_before(bench, step.number))
    state = system.state()
    runs = _parts_run(archs, about, state)
    # Options of depth share kernels: those that one arch alone runs tell it from the others.
    alone = [unshared(mine, (*runs[:i], *runs[i + 1 :])) for i, mine in enumerate(runs)]
    most = max(alone, key=len)
    # One of zeros would become another, whose decay is in the loss of every arch.
    kernels = tuple(name for name in sorted(most) if np.any(state[name][most[name]]))
    if not kernels:
        return None
    others = ((n, other_kernel(state[n], place)) for place, n in enumerate(kernels))
    system.state({n: put(state[n], most[n], other) for n, other in others})
    again = system.train(step.epoch, steps=1, evaluate=False)
    after = _losses_by_arch(again)
    if after is None or again.steps[0].archs != archs:
        return None
    hit = tuple(
        any(n in mine and bool((mine[n] & most[n]).any()) for n in kernels) for mine in runs
    )
    return Turned(archs, kernels, hit, before, after)


def _parts_run(archs: Sequence[str], about: Description, state: Arrays) -> list[Parts]:
    """Return the elements of a state's arrays that each arch runs by its options."""
    space, options = space_of(about), about.options
    return [
        parts_of(
            (n for b, option in enumerate(options_run(arch, space)) for n in options[b][option]),
            state,
        )
        for arch in archs
    ]


def _losses_by_arch(run: Training) -> tuple[float, ...] | None:
    """Return the mean loss of each arch of one step, archs outermost; None where there is none."""
    count = len(run.steps[0].archs) if run.steps else 0
    if not count or not run.losses or len(run.losses) % count:
        return None
    each = len(run.losses) // count
    return tuple(math.fsum(run.losses[i * each : (i + 1) * each]) / each for i in range(count))


def _mean_loss(run: Training, size: int, micro: int) -> float | None:
    """Return a step's mean loss over its samples; None where the losses recorded do not tell.

    Parameters
    ----------
    run : Training
        One step.
    size, micro : int
        Samples of its batch and of a full micro-batch.
    """
    archs, losses = len(run.steps[0].archs), run.losses
    pieces = [min(micro, size - start) for start in range(0, size, micro)]
    if archs and len(losses) == archs * len(pieces):
        weighed = (loss * n for loss, n in zip(losses, pieces * archs, strict=True))
        return math.fsum(weighed) / (size * archs)
    return math.fsum(losses) / archs if archs and len(losses) == archs else None


def nudged(
    bench: Bench, system: System, step: WalkedStep, straight: Training
) -> tuple[Nudge, ...] | None:
    """Return the step's losses with the weights moved along its gradient; None without any.

    That is so of a system that, restored, does not repeat the step.
    """
    train, fixed = bench.config["train"], bench.describe().settings
    micro = fixed.get("train.micro_batch_size", train.get("micro_batch_size")) or step.size
    path, gradient = saved_before(bench, step.number), step.gradient

    def loss(way: float = 0.0) -> float | None:
        system.restore(path)
        if way:
            moved = {n: (step.before[n] + way * g).astype(np.float32) for n, g in gradient.items()}
            system.state(moved)
        again = system.train(step.epoch, steps=1, evaluate=False)
        same = bool(again.steps) and again.steps[0].archs == straight.steps[0].archs
        return _mean_loss(again, step.size, micro) if same else None

    once, level = _mean_loss(straight, step.size, micro), loss()
    if once is None or level is None or not math.isclose(once, level, rel_tol=REPEATED):
        return None
    norm, found = max(gradient_norm(gradient), 1e-12), []
    for share in SHARES:
        length = share * level / norm
        forth, back = loss(length / norm), loss(-length / norm)
        if forth is None or back is None:
            return None
        found.append(Nudge(length, forth, back, level))
    return tuple(found)
