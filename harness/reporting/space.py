"""What scores say of the search space, in lines for people."""

from collections.abc import Iterator

from harness.evaluation.scored_space import ScoredSpace
from harness.evaluation.search_space import ESTIMATOR, Effect, Stability
from harness.wording import counted

__all__ = [
    "CODES",
    "COST_NAMES",
    "batches_text",
    "error_names",
    "errors_of",
    "option_text",
    "space_lines",
    "stability_text",
]

COST_NAMES = {"macs": "MACs of a sample", "parameters": "parameters"}
CODES = "An arch's code has a digit for each of these blocks, in this order: its option's number"
_MOST_ROWS = 20


def space_lines(space: ScoredSpace) -> Iterator[str]:
    """Yield the fronts, what each block contributes, and how stable the ranking is in K."""
    yield from _front_lines(space, "macs")
    other = space.front("parameters")
    yield f"front of EPE against parameters: {len(other)} of {len(space.archs)} archs (--csv FILE)"
    yield from _effect_lines(space)
    yield from map(stability_text, space.stability)


def _front_lines(space: ScoredSpace, kind: str) -> Iterator[str]:
    front, costs = space.front(kind), {kind: space.cost(kind) for kind in COST_NAMES}
    yield (
        f"front of EPE against MACs: {len(front)} of {len(space.archs)} archs, of which none is "
        "cheaper and better"
    )
    yield "      arch       EPE (px)  MACs of a sample   parameters"
    for place in front[:_MOST_ROWS]:
        macs, parameters = (cost[place] for cost in costs.values())
        yield f"      {space.archs[place]}  {space.epe[place]:8.6f}  {macs:16,d}  {parameters:11,d}"
    if len(front) > _MOST_ROWS:
        yield f"      ... and {len(front) - _MOST_ROWS} more"


def _effect_lines(space: ScoredSpace) -> Iterator[str]:
    found = space.effects
    if found.reason is not None:
        yield f"what each block contributes: not known: {found.reason}"
        return
    yield "what each option of each block does to EPE, px; below 0 is better"
    yield f"      {CODES}."
    yield f"      block   share  option        effect  {'   '.join(error_names(space))}"
    rows = zip(space.blocks, found.blocks, strict=True)
    for place, ((name, options), effects) in enumerate(rows):
        for option, effect in zip(options, effects, strict=True):
            share = f"{found.shares[place]:6.1%}" if found.shares and not effect.option else ""
            errors = "   ".join(
                f"{'-' if error is None else f'{error:.4f}':>{len(title)}}"
                for title, error in zip(error_names(space), errors_of(space, effect), strict=True)
            )
            shown, chosen = name if not effect.option else "", option_text(effect, option)
            line = f"      {shown:6}  {share:>6}  {chosen:10}  {effect.effect:+9.4f}  {errors}"
            yield line.rstrip()
    if found.shares:
        left = max(0.0, 1 - sum(found.shares))  # rounding may leave less than nothing
        yield f"      {left:.1%} of the variance: interactions of blocks"
    yield f"      {ESTIMATOR}."


def option_text(effect: Effect, name: str) -> str:
    """Return an option as an arch's code has it, and by name: ``0: depth 1``."""
    return f"{effect.option}: {name}"


def batches_text(batches: int, recal: int) -> str:
    """Say what archs were scored on, with the letters that configurations use for it."""
    return f"{counted(batches, 'validation batch')} (K), {recal} to recalibrate (R)"


def error_names(space: ScoredSpace) -> tuple[str, ...]:
    """Return what the standard errors of effects are called; of the whole space one is nothing."""
    return ("SE samples",) if space.is_whole else ("SE archs", "SE samples")


def errors_of(space: ScoredSpace, effect: Effect) -> tuple[float | None, ...]:
    """Return the standard errors of an effect, px, in the order of their names."""
    over = (effect.over_archs, effect.over_samples)
    return over[1:] if space.is_whole else over


def stability_text(entry: Stability) -> str:
    """Say how a ranking on K batches agrees with that on all."""
    found = f"undefined: {entry.reason}" if entry.tau is None else f"{entry.tau:.4f}"
    first = "batch" if entry.batches == 1 else f"{entry.batches} batches"
    return f"ranking on the first {first} against that on all: tau-b {found}"
