"""Which arrays each option of each block runs."""

from collections.abc import Sequence

from harness.archs import array_of
from harness.errors import NotApplicableError
from harness.promises.arch_codes import options_run
from harness.systems.protocol import Description, Training

__all__ = ["OptionArrays", "arrays_not_drawn", "arrays_of_options", "may_rest"]


OptionArrays = Sequence[Sequence[frozenset[str]]]


def arrays_of_options(about: Description, names: Sequence[str]) -> OptionArrays:
    """Return for each block and option the arrays that it runs: kernels, scales, statistics.

    Parameters
    ----------
    names : sequence of str
        Of ``state()``.

    Raises
    ------
    NotApplicableError
        If the system does not say what its options run.
    """
    if not about.options:
        msg = "the system does not say which kernels an option runs"
        raise NotApplicableError(msg)
    return [
        [
            frozenset((*kernels, *_beside(about, names, block, option)))
            for option, kernels in enumerate(options)
        ]
        for block, options in enumerate(about.options)
    ]


def _beside(about: Description, names: Sequence[str], block: int, option: int) -> Sequence[str]:
    """Return what an option runs beside its kernels: as declared, else of the same unit."""
    if about.option_arrays:
        return about.option_arrays[block][option]
    kernels = [array_of(kernel) for kernel in about.options[block][option]]
    units = tuple(
        f"{k.rpartition('/')[0]}/" for k in kernels if k.split(":")[0].endswith("/kernel")
    )
    slots = {name for pair in about.slots.values() for name in pair}
    # Of a kernel that is named in part, the whole would follow.
    return [
        name for name in names
        if units and name.startswith(units) and name not in slots and name not in kernels
    ]  # fmt: skip


def may_rest(about: Description, names: Sequence[str]) -> frozenset[str] | None:
    """Return the weights that a step may pass over: of options that it does not run.

    A fair cycle runs every option, and a net without options all that it has. Of a space that is
    sampled otherwise, None where the system does not say what its options run: any weight may be
    of one.
    """
    if about.space is None or about.space.sampling == "fair":
        return frozenset()
    if not about.options:
        return None
    arrays = arrays_of_options(about, names)
    return frozenset(array_of(n) for block in arrays for entries in block for n in entries)


def arrays_not_drawn(about: Description, names: Sequence[str], run: Training) -> frozenset[str]:
    """Return what options alone run, and their slots, that no step of a run has drawn.

    Of a space that is sampled in fair cycles none; where steps do not tell their archs, of every
    option: which were drawn is not known.
    """
    if not about.options or about.space is None or about.space.sampling == "fair":
        return frozenset()
    options = arrays_of_options(about, names)
    told = [arch for step in run.steps for arch in step.archs]
    drawn = set[str]()
    for arch in told if all(about.space.read(arch) is not None for arch in told) else ():
        run_by = options_run(arch, about.space)
        drawn.update(n for block, option in enumerate(run_by) for n in options[block][option])
    found = {n for block in options for arrays in block for n in arrays} - drawn
    arrays = {array_of(entry) for entry in found} - {array_of(entry) for entry in drawn}
    slots = {slot for n in arrays for slot in about.slots.get(n, ())}
    # What an optimizer or an average keeps of a weight has its name within its own.
    kept = (name for name in names if any(f"/{n}/" in f"/{name}/" for n in arrays))
    return frozenset({*arrays, *slots, *kept})
