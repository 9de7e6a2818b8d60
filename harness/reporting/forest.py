"""A plot of effects with their errors, as SVG in the page's colours."""

from collections.abc import Iterator

from harness.evaluation.scored_space import ScoredSpace
from harness.evaluation.search_space import Effect
from harness.reporting.markup import safe
from harness.reporting.space import errors_of, option_text

__all__ = ["forest"]

_WIDTH, _LEFT, _RIGHT, _ROW, _GAP, _TOP = 380, 118, 368, 15, 7, 22


def forest(space: ScoredSpace) -> str:
    """Return the effect of each option of each block: a dot, and a bar of one standard error."""
    every = [effect for effects in space.effects.blocks for effect in effects]
    reach = max(abs(one.effect) + _error(space, one) for one in every) or 1.0
    blocks = list(zip(space.blocks, space.effects.blocks, strict=True))
    height = _TOP + sum(len(effects) * _ROW + _GAP for _, effects in blocks) + 4
    zero = (_LEFT + _RIGHT) / 2
    parts = [
        f'<svg class="forest" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="effects of options; the numbers are in the table">',
        f'<path d="M{zero} {_TOP - 4}V{height}" stroke="var(--line)"/>',
        f'<text class="soft" x="{_LEFT}" y="12">{-reach:.3g} px</text>',
        f'<text class="soft" x="{zero}" y="12" text-anchor="middle">0</text>',
        f'<text class="soft" x="{_RIGHT}" y="12" text-anchor="end">{reach:+.3g} px</text>',
    ]
    y = float(_TOP)
    for (name, options), effects in blocks:
        parts.append(f'<text x="0" y="{y + 11}" font-weight="600">{safe(name)}</text>')
        for option, effect in zip(options, effects, strict=True):
            parts += _row(space, option_text(effect, option), effect, y + _ROW / 2, reach)
            y += _ROW
        y += _GAP
    return "".join([*parts, "</svg>"])


def _row(space: ScoredSpace, option: str, effect: Effect, y: float, reach: float) -> Iterator[str]:
    def across(value: float) -> float:
        return (_LEFT + _RIGHT) / 2 + value / reach * (_RIGHT - _LEFT) / 2

    error = _error(space, effect)
    low, high = across(effect.effect - error), across(effect.effect + error)
    colour = "var(--run-2)" if effect.effect < 0 else "var(--run-1)"
    told = f"{option}: {effect.effect:+.6g} px, standard error {error:.3g} px"
    yield f'<g><title>{safe(told)}</title><text x="54" y="{y + 4}">{safe(option)}</text>'
    yield f'<path d="M{low:.2f} {y}H{high:.2f}" stroke="{colour}" stroke-width="2" opacity=".6"/>'
    yield f'<circle cx="{across(effect.effect):.2f}" cy="{y}" r="3.5" fill="{colour}"/></g>'


def _error(space: ScoredSpace, effect: Effect) -> float:
    return max((error for error in errors_of(space, effect) if error is not None), default=0.0)
