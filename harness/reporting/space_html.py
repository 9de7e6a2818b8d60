"""The search space on a page: scatter plots with their fronts, effects, stability."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from harness.evaluation.scored_space import COSTS, ScoredSpace
from harness.evaluation.search_space import ESTIMATOR
from harness.reporting.forest import forest
from harness.reporting.markup import Column, data, note, number, safe, table
from harness.reporting.pool_space import PoolSpace, Tau
from harness.reporting.space import (
    CODES,
    COST_NAMES,
    error_names,
    errors_of,
    option_text,
    stability_text,
)
from harness.reporting.space_file import SpaceFile
from harness.supernet.costs import Additive
from harness.supernet.space import NUM_OPTIONS

__all__ = ["archs_data", "space_section"]

_FRONT: tuple[Column, ...] = (
    ("arch", lambda row: row["arch"], False),
    ("EPE (px)", number("epe", ".6f"), True),
    ("MACs of a sample", number("macs", ",d"), True),
    ("parameters", number("parameters", ",d"), True),
    ("on the front of", lambda row: row["fronts"], False),
)
_TAUS: tuple[Column, ...] = (
    # First what is looked for: two long names would leave it beyond the window's edge.
    ("tau-b", lambda row: row["reason"] or f"{row['tau']:.4f}", True),
    ("archs in common", number("archs", ",d"), True),
    ("one", lambda row: row["one"], False),
    ("other", lambda row: row["other"], False),
)
_ABOUT = (
    "Each dot is an arch. On the front are those of which none is cheaper and better. MACs are the "
    "multiply-accumulates of the convolutions for one sample, parameters the kernels, gammas and "
    "betas that run."
)


def space_section(
    pools: Sequence[PoolSpace], files: Sequence[SpaceFile], taus: Sequence[Tau]
) -> str:
    """Return the section, as HTML; empty where nothing scored single archs."""
    if not files and all(pool.space is None and not pool.taus for pool in pools):
        return ""
    parts = ["<h2>The search space</h2>", note(_ABOUT)]
    for file in files:
        parts.append(f"<h3>{safe(file.label)}</h3>")
        parts.append(note(f"{file.checkpoint}, digest {file.digest}; batches {file.eval_hash}"))
        parts += _scored(file.space)
    for pool in pools:
        parts.append(f"<h3>{safe(pool.name)}: {safe(pool.about)}</h3>")
        parts += [] if pool.space is None else _scored(pool.space)
        parts += _epochs(pool)
    if taus:
        rows = [{"one": t.one, "other": t.other, "archs": t.archs, "tau": t.tau,
                 "reason": t.reason} for t in taus]  # fmt: skip
        parts += ["<h3>Rankings against each other (Kendall's tau-b)</h3>", table(_TAUS, rows)]
    return "\n".join(parts)


def _scored(space: ScoredSpace) -> list[str]:
    plots = [
        f"<figure><figcaption>EPE against {COST_NAMES[kind]}</figcaption>"
        f'<div class="plot scatter" data-cost="{kind}" data-title="{COST_NAMES[kind]}">'
        f'<canvas role="img" aria-label="EPE of each arch against {COST_NAMES[kind]}; the front is '
        'in the table"></canvas></div></figure>'
        for kind in COSTS
    ]
    return [
        '<div class="archs">', f'<div class="plots">{"".join(plots)}</div>',
        data(archs_data(space)), "</div>",
        "<h4>On a front</h4>", table(_FRONT, _front_rows(space)),
        *_effects(space),
        *(note(f"{stability_text(entry)}.") for entry in space.stability),
    ]  # fmt: skip


def archs_data(space: ScoredSpace) -> dict[str, Any]:
    """Return scored archs for the page's script, packed; costs follow from what blocks cost."""
    codes = np.array([int(arch, NUM_OPTIONS) for arch in space.archs], "<u2")
    return {
        "codes": _packed(codes), "epe": _packed(np.array(space.epe, "<f8")),
        **{kind: _cost(getattr(space.costs, kind)) for kind in COSTS},
        "front": {kind: space.front(kind) for kind in COSTS},
    }  # fmt: skip


def _packed(values: np.ndarray[Any, np.dtype[Any]]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _cost(cost: Additive) -> dict[str, Any]:
    return {"base": cost.base, "more": cost.more}


def _front_rows(space: ScoredSpace) -> Iterator[dict[str, Any]]:
    costs, fronts = ({kind: of(kind) for kind in COSTS} for of in (space.cost, space.front))
    places = sorted({place for front in fronts.values() for place in front},
                    key=lambda place: (costs["macs"][place], space.archs[place]))  # fmt: skip
    for place in places:
        on = [{"macs": "MACs"}.get(kind, kind) for kind in COSTS if place in fronts[kind]]
        yield {
            "arch": space.archs[place], "epe": space.epe[place], "fronts": ", ".join(on),
            **{kind: cost[place] for kind, cost in costs.items()},
        }  # fmt: skip


def _effects(space: ScoredSpace) -> list[str]:
    title = "<h4>What each option of each block does to EPE</h4>"
    if space.effects.reason is not None:
        return [title, note(f"Not known: {space.effects.reason}.")]
    columns: tuple[Column, ...] = (
        ("block", lambda row: row["block"], False),
        ("option", lambda row: row["option"], False),
        ("effect (px)", number("effect", "+.4f"), True),
        *((f"± {name} (px)", number(name, ".4f"), True) for name in error_names(space)),
        ("archs", number("archs", ",d"), True),
        *([("share of variance", number("share", ".1%"), True)] if space.effects.shares else []),
    )
    return [
        title,
        note(f"Below 0 is better. A bar is one standard error to each side, the larger where there "
             f"are two. {CODES}. {ESTIMATOR}."),
        f'<div class="beside">{forest(space)}{table(columns, _effect_rows(space))}</div>',
        _interactions(space),
    ]  # fmt: skip


def _interactions(space: ScoredSpace) -> str:
    if not space.effects.shares:
        return note("What blocks do together is not told apart: it is in the error over archs.")
    left = max(0.0, 1 - sum(space.effects.shares))  # rounding may leave less than nothing
    return note(f"{left:.1%} of the variance is of interactions of blocks.")


def _effect_rows(space: ScoredSpace) -> Iterator[dict[str, Any]]:
    rows = zip(space.blocks, space.effects.blocks, strict=True)
    for place, ((block, options), effects) in enumerate(rows):
        for option, effect in zip(options, effects, strict=True):
            yield {
                "block": block, "option": option_text(effect, option), "effect": effect.effect,
                "archs": effect.archs,
                "share": space.effects.shares[place] if space.effects.shares else None,
                **dict(zip(error_names(space), errors_of(space, effect), strict=True)),
            }  # fmt: skip


def _epochs(pool: PoolSpace) -> list[str]:
    if len(pool.epochs) < 2:
        return [note("How stable its ranking is between epochs is not known: one evaluation.")]
    columns: list[Column] = [("epoch", number("epoch", "d"), True)]
    columns += [(str(epoch), number(str(epoch), ".3f"), True) for epoch in pool.epochs]
    rows = (
        {"epoch": epoch, **dict(zip(map(str, pool.epochs), row, strict=True))}
        for epoch, row in zip(pool.epochs, pool.taus, strict=True)
    )
    title = "<h4>Rankings of epochs against each other (Kendall's tau-b)</h4>"
    return [title, table(columns, rows)]
