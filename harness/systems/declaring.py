"""Whether what a description declares can be so, held against the rest of it."""

from collections.abc import Iterator

from harness.archs import is_entry
from harness.systems.declared import CLIPS, LOSSES, MEANS, Wrong
from harness.systems.protocol import Description

__all__ = ["wrong_declarations"]


def wrong_declarations(found: Description) -> Iterator[Wrong]:
    """Yield what a system cannot be, of what it declares: field, what was expected, and found."""
    if found.update is not None:
        yield from _within("update", found.update.faults(list(found.slots)))
    single = found.update is not None and found.update.rule in ("sgd", "own")
    for weight, slots in found.slots.items():
        if len(slots) != 2 and not (single and len(slots) == 1):
            expected = "the name of its buffer" if single else "the names of both moments"
            yield f"slots[{weight!r}]", expected, list(slots)
    if found.space is not None:
        yield from _within("space", found.space.faults([len(block) for block in found.options]))
    for what in ("options", "option_arrays"):
        for entry in (e for block in getattr(found, what) for names in block for e in names):
            if not is_entry(entry):
                yield what, "names of arrays, or slices such as 'conv/kernel[:, :, :8]'", entry
    if found.mean not in MEANS:
        yield "mean", f"one of {', '.join(MEANS)}", found.mean
    if found.clip not in CLIPS:
        yield "clip", f"one of {', '.join(CLIPS)}", found.clip
    if found.devices < 1:
        yield "devices", "a number of devices, at least 1", found.devices
    if found.loss not in LOSSES:
        known = ", ".join(filter(None, LOSSES))
        yield "loss", f"one of {known}, or nothing where it is not told", found.loss
    if found.schedule is not None:
        yield from _within("schedule", found.schedule.faults())
        name = found.settings.get("train.lr_schedule", found.schedule.name)
        if name != found.schedule.name:
            expected = f"{found.schedule.name!r}, as schedule says, or nothing"
            yield "settings['train.lr_schedule']", expected, name
    if found.statistics_kept is not None and not 0 < found.statistics_kept < 1:
        expected = "a share between 0 and 1: TensorFlow's momentum, 1 less PyTorch's"
        yield "statistics_kept", expected, found.statistics_kept
    for call in sorted(found.finite_by_adapter - {"train", "evaluate"}):
        yield "finite_by_adapter", "some of train, evaluate", call


def _within(name: str, faults: Iterator[Wrong]) -> Iterator[Wrong]:
    return ((f"{name}.{field}", wanted, wrong) for field, wanted, wrong in faults)
