"""``harness budget``: what an evaluation costs here, how noisy it is, and which K and R to use."""

import math
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.bars import Bar, bar
from harness.commands.common import (
    EXIT_DONE,
    add_config_options,
    configured,
    require_crops,
    require_data,
    say,
    write_json,
)
from harness.commands.evaluate import asked_pool
from harness.commands.parsing import CommandParser, add_number
from harness.commands.paths import PathKind
from harness.config import Config, with_overrides
from harness.environment import apply_environment
from harness.errors import InputError
from harness.ranges import SECONDS, Range
from harness.training.checkpoint import Checkpoint, CheckpointStore
from harness.wording import counted

__all__ = ["add_parser", "run"]

_TAU = Range(0, 1, whole=False, above=True)
_COUNTS = (1, 2, 4)
_REPEATS = 2
_FEW = 8
"""Validation batches on which two recalibration sizes are compared."""


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_config_options(parser)
    parser.add_argument(
        "--pool", metavar="N|all|FILE",
        help="pool size, the whole space, or a JSON list of arch codes (default: as configured)",
    )  # fmt: skip
    parser.add_path(
        "--run", kind=PathKind.RUN, metavar="DIR",
        help="run directory whose weights are measured with",
    )  # fmt: skip
    parser.add_path(
        "--checkpoint", kind=PathKind.RUN, words=("best", "last"), metavar="best|last|PATH",
        help="which of its checkpoints, or one anywhere (default with --run: best)",
    )  # fmt: skip
    add_number(parser, "--time-limit", SECONDS, "what one evaluation may take", metavar="SECONDS")
    add_number(parser, "--tau", _TAU, "wanted rank resolution against the whole split", metavar="T")
    parser.add_path(
        "--out", kind=PathKind.NEW_FILE, metavar="FILE", help="plot: .png, .svg or .html"
    )


def run(args: Namespace) -> int:
    """Measure, fit, and advise; exit code 2 where no setting does what was asked."""
    from harness.reporting.budget import FORMATS, budget_lines, plot_budget

    # Before anything is measured: what cannot be written is said at once.
    _check_options(args, FORMATS)
    # The whole split is what every K is held against.
    config = with_overrides(configured(args), ["eval.eval_batches_per_arch=full"])
    require_crops(config)
    require_data(config)
    checkpoint, pool = _chosen_checkpoint(args, config), asked_pool(args.pool, config)
    environment = apply_environment(config)
    say(environment.line())
    from harness.evaluation.advice import advise

    budget = _measure(config, checkpoint, pool)
    advice = None
    if args.tau is not None or args.time_limit is not None:
        advice = advise(budget, tau=args.tau, limit=args.time_limit)
    for line in budget_lines(budget, advice):
        say(line)
    shown = None if advice is None else advice.as_dict()
    write_json(args.json, {**asdict(budget), "advice": shown, "environment": environment.as_dict()})
    if args.out is not None:
        plot_budget(args.out, budget, advice, title=f"{budget.pool} archs, {budget.weights}")
        say(f"plot: {args.out}")
    if advice is not None and advice.batches is None:
        raise InputError("; ".join(advice.reasons))
    return EXIT_DONE


def _measure(
    config: Config, checkpoint: Checkpoint | None, pool: tuple[tuple[int, ...], ...] | None
) -> Any:
    from harness.evaluation.budget import Budget, fit_cost, k_grid, noise_at, recal_effect
    from harness.runs.session import open_session

    session = open_session(config)
    weights = "initial weights"
    if checkpoint is not None:
        session.parts.train.restore(session.model, checkpoint.arrays)
        weights = f"checkpoint {checkpoint.path.name}, digest {checkpoint.digest}"
    protocol = session.fixed.checked_protocol(0, pool=pool)
    design, macs = _timed_settings(protocol), _count_macs(config, protocol, session.evaluator)
    compiling = sorted({*(r for _, r in design), len(protocol.recal_batches)})
    say(
        f"measuring with {weights}, {len(protocol.pool)} archs, {len(design) + 3} evaluations "
        "after those that compile"
    )
    with bar(len(compiling) + len(design) + 3, "evaluations") as drawn:
        measured = _Measured(session, protocol, drawn)
        measured.compile(compiling)
        cost = fit_cost([measured.timed(k, r) for k, r in design])
        full, sums, sizes = measured.per_batch()
        recal = recal_effect(measured.by_recal())
    noise = [noise_at(sums, sizes, k, seed=config.runtime.seed) for k in k_grid(len(sizes))]
    return Budget(len(protocol.pool), weights, macs, cost, tuple(noise), recal, full)


def _check_options(args: Namespace, formats: Sequence[str]) -> None:
    if args.out is not None and args.out.suffix not in formats:
        msg = f"--out {args.out}: expected a name that ends in {', '.join(formats)}"
        raise InputError(msg)


def _chosen_checkpoint(args: Namespace, config: Config) -> Checkpoint | None:
    """Return the checkpoint with whose weights is measured, None for initial ones."""
    if args.run is None and args.checkpoint is None:
        say(
            "note: initial weights; seconds are right, but the noise of an untrained net says "
            "little about a trained one (name a --run)"
        )
        return None
    if args.run is None and args.checkpoint in ("best", "last"):
        msg = f"--checkpoint {args.checkpoint}: name the --run that it is of"
        raise InputError(msg)
    folder = Path() if args.run is None else args.run / "checkpoints"
    checkpoint = CheckpointStore(folder).load(str(args.checkpoint or "best"))
    held = checkpoint.meta.get("config")
    trained = held.get("model") if isinstance(held, dict) else None
    here = config.model.model_dump()
    if trained != here:
        msg = f"{checkpoint.path}: its model is {trained}, the configuration's is {here}"
        raise InputError(msg)
    return checkpoint


def _count_macs(config: Config, protocol: Any, evaluator: Any) -> dict[str, int]:
    from harness.evaluation.on_device import scoring_bytes
    from harness.evaluation.scoring import recal_pieces
    from harness.fc2.batch_store import MIB
    from harness.supernet.macs import pool_macs
    from harness.supernet.sharing.calls import pool_calls
    from harness.supernet.sharing.memory import device_bytes, walk_bytes
    from harness.supernet.sharing.plan import plan_of

    split = evaluator.samples_at_once(*config.eval_crop)
    found = asdict(
        pool_macs(
            config.model.skeleton, config.model.width, config.eval_crop, protocol.pool,
            recal_samples=sum(b.size for b in protocol.recal_batches),
            eval_samples=sum(b.size for b in protocol.eval_batches),
        )
    )  # fmt: skip
    calls = pool_calls(plan_of(config.model.skeleton), protocol.pool)
    samples = sum(batch.size for batch in protocol.eval_batches)
    together = recal_pieces(protocol.recal_batches)
    groups, pieces = len(together), math.ceil(samples / split)
    counts = ", ".join(f"{name} {count / 1e9:.4g}" for name, count in found.items())
    side_by_side = (sum(protocol.recal_batches[i].size for i in piece) for piece in together)
    # A lone sample is run twice.
    at_once = max(2, split, *side_by_side)
    sizes = config.model.skeleton, config.model.width, config.eval_crop, at_once
    on_device = evaluator.scored_on == "device"
    memory = device_bytes(*sizes, scoring_bytes()) if on_device else walk_bytes(*sizes)
    say(
        f"GMAC of the whole split, {counted(len(protocol.eval_batches), 'batch')}, and "
        f"{counted(len(protocol.recal_batches), 'recalibration batch')}: {counts}; dense / shared "
        f"{found['dense'] / found['shared']:.2f}; at most {memory / MIB:.0f} MiB of values; "
        f"{groups * calls.recal + pieces * calls.score} calls of compiled functions, "
        f"{calls.recal} for each of {counted(groups, 'group')} of recalibration batches and "
        f"{calls.score} for each of {counted(pieces, 'piece')} of at most {split} samples"
    )
    return found


def _timed_settings(protocol: Any) -> list[tuple[int, int]]:
    """Return the (K, R) that are timed: the corners and the middle of a grid, twice."""
    k, r = (
        sorted({min(count, len(batches)) for count in _COUNTS})
        for batches in (protocol.eval_batches, protocol.recal_batches)
    )
    if len(k) < 2 or len(r) < 2:
        msg = (
            f"{len(protocol.eval_batches)} validation and {len(protocol.recal_batches)} "
            "recalibration batches: expected at least 2 of each, to tell their costs apart; "
            "lower eval.batch_size or raise eval.bn_recal_batches"
        )
        raise InputError(msg)
    # Three coefficients are fitted: the corners tell K from R, the middle whether a plane fits.
    corners = [(k[0], r[0]), (k[-1], r[0]), (k[0], r[-1]), (k[-1], r[-1]), (k[1], r[1])]
    return [pair for _ in range(_REPEATS) for pair in dict.fromkeys(corners)]


class _Measured:
    """Evaluations of one protocol's batches, each named beside a bar while it is made.

    Parameters
    ----------
    session : Session
        With the weights that are measured.
    protocol : Protocol
        Of the whole split.
    drawn : Bar
        Of as many evaluations as will be asked for.
    """

    def __init__(self, session: Any, protocol: Any, drawn: Bar) -> None:
        self._session, self._protocol, self._drawn = session, protocol, drawn

    def compile(self, recal: Iterable[int]) -> None:
        """Evaluate once with each of some R: later ones then take what they take.

        What is compiled depends on the pool and on how many recalibration batches lie side by side.
        """
        for count in recal:
            self._evaluate(1, count, "compiles")

    def timed(self, batches: int, recal: int) -> Any:
        """Return the timed point of K and R."""
        return self._evaluate(batches, recal, "times")[0]

    def per_batch(self) -> tuple[Any, Any, list[int]]:
        """Score the whole split; return its point, sums (archs, N) of EPE, px, and batch sizes."""
        sizes = [batch.size for batch in self._protocol.eval_batches]
        most = len(self._protocol.recal_batches)
        point, _, per_sample = self._evaluate(len(sizes), most, "scores the whole split")
        scores = np.array(list(per_sample.values()))
        return point, np.add.reduceat(scores, np.cumsum([0, *sizes[:-1]]), axis=1), sizes

    def by_recal(self) -> dict[int, Any]:
        """Return per-arch EPE by R, on a few batches."""
        few = min(_FEW, len(self._protocol.eval_batches))
        most = len(self._protocol.recal_batches)
        sizes = sorted({max(1, most // 2), most})
        return {r: self._evaluate(few, r, "compares R")[1].per_arch_epe for r in sizes}

    def _evaluate(self, batches: int, recal: int, what: str) -> tuple[Any, Any, Any]:
        from harness.evaluation.budget import Point

        self._drawn.say(f"{what}: K = {batches}, R = {recal}")
        session, whole = self._session, self._protocol
        protocol = replace(
            whole, eval_batches=whole.eval_batches[:batches],
            recal_batches=whole.recal_batches[:recal],
        )  # fmt: skip
        weights, start = session.model.weight_tensors(), time.perf_counter()
        record, per_sample = session.evaluator.evaluate(weights, protocol)
        point = Point(batches, recal, time.perf_counter() - start)
        self._drawn.advance(1)
        return point, record, per_sample
