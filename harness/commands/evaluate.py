"""``harness eval``: score a pool with a checkpoint, in a process of its own."""

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from harness.commands.cluster import Cluster, add_cluster_options, asked_cluster
from harness.commands.common import (
    EXIT_DONE,
    check_with_data,
    config_of_run,
    read_run_ledger,
    require_crops,
    require_data,
    say,
    write_json,
)
from harness.commands.parsing import CommandParser, add_number
from harness.commands.paths import Named, PathKind, check_paths
from harness.commands.whole_space import Scored, scores_path, whole_space
from harness.config import Config, parse_config
from harness.environment import apply_environment
from harness.errors import InputError
from harness.evaluation.shards import MOST_SHARDS, Shard
from harness.expanding import expanded
from harness.ranges import Range
from harness.records.environments import EnvironmentDifference, environment_difference
from harness.records.records import EvalRecord
from harness.sealed import sealed_values
from harness.training.checkpoint import Checkpoint, CheckpointStore
from harness.whole import check_target, write_text
from harness.wording import counted

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.runs.session import Session

__all__ = ["add_parser", "asked_pool", "run"]

_BATCHES = Range(1, 2**20, "batches")
# Of any script, and signed: whatever is meant as a number is answered as one.
_NUMBER = re.compile(r"[+-]?[\d.²³]+")


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_path("--run", kind=PathKind.RUN, required=True, metavar="DIR", help="run directory")
    parser.add_path(
        "--checkpoint", kind=PathKind.RUN, words=("best", "last"), default="best",
        metavar="best|last|PATH", help="default: %(default)s",
    )  # fmt: skip
    parser.add_path(
        "--fc2-root", kind=PathKind.DATA, metavar="DIR", help="folder with train/ and val/"
    )
    parser.add_argument(
        "--pool", metavar="N|all|FILE",
        help="pool size, the whole space, or a JSON list of arch codes (default: as trained)",
    )  # fmt: skip
    add_number(
        parser, "--batches-per-arch", _BATCHES, "validation batches per arch", words=("full",),
        metavar="K|full",
    )  # fmt: skip
    add_number(parser, "--recal-batches", _BATCHES, "for recalibration", metavar="R")
    parser.add_path("--frozen", kind=PathKind.FILE, metavar="FILE", help="frozen batches to use")
    parser.add_path(
        "--csv", kind=PathKind.NEW_FILE, metavar="FILE",
        help="write every arch with EPE, MACs, parameters and whether it is on a front",
    )  # fmt: skip
    add_cluster_options(
        parser, "shards of --pool all that are scored at once (default: 2)", MOST_SHARDS,
        "score the shards of --pool all",
    )  # fmt: skip
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N",
        help="score a shard of --pool all alone, into a file of its own: what a job does",
    )  # fmt: skip


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from None


def run(args: Namespace) -> int:
    """Evaluate as asked and compare with the run's own evaluation where it is the same."""
    cluster = _asked_shards(args)
    config = _run_config(args)
    pool = asked_pool(args.pool, config)
    checkpoint = CheckpointStore(args.run / "checkpoints").load(str(args.checkpoint))
    if args.pool == "all":
        check_target(scores_path(args, checkpoint))
    require_data(config)
    say(apply_environment(config).line())
    from harness.runs.session import open_session

    session = open_session(config, scored=_scored_in(checkpoint, config))
    session.parts.train.restore(session.model, checkpoint.arrays)
    epoch = int(checkpoint.progress["epoch"])
    protocol = session.fixed.checked_protocol(epoch, pool=pool)
    say(_cost_text(config, protocol))
    # What compares rankings takes most of a second to import: meanwhile, not at the end.
    Thread(target=import_module, args=("scipy.stats",)).start()
    if args.pool == "all":
        scored = whole_space(args, session, checkpoint, protocol, cluster)
        if isinstance(scored, int):  # it was interrupted, or is but a shard
            return scored
    else:
        weights = session.model.weight_tensors()
        scored = session.evaluator.evaluate(weights, protocol, epoch=epoch)
    _tell(args, session, checkpoint, protocol, scored)
    return EXIT_DONE


def _tell(
    args: Namespace, session: "Session", checkpoint: Checkpoint, protocol: "Protocol",
    scored: Scored,
) -> None:  # fmt: skip
    """Say what was scored, beside what the run itself scored, and write what was asked for."""
    from harness.commands.space import told_space
    from harness.evaluation.scored_space import csv_text
    from harness.reporting.terminal import eval_table

    record, per_sample = scored
    say(f"checkpoint {checkpoint.path.name} (epoch {record.epoch}, digest {checkpoint.digest})")
    for line in eval_table(record):
        say(line)
    trained = checkpoint.meta.get("environment") or {}
    elsewhere = environment_difference(trained, session.environment.as_dict())
    for line in _border_lines(trained, elsewhere):
        say(line)
    say(_in_train_text(record, args.run / "ledger.jsonl", elsewhere))
    space = told_space(session.config, protocol, record, per_sample)
    if args.csv is not None:
        write_text(args.csv, csv_text(space))
    result = _result(record, checkpoint, session.environment.as_dict(), elsewhere)
    write_json(args.json, sealed_values({**result, "space": space.as_dict()}))


def _asked_shards(args: Namespace) -> Cluster | None:
    """Return where shards are to be scored, None for here."""
    for option, value in (("--cluster", args.cluster), ("--shard", args.shard)):
        if value is not None and args.pool != "all":
            msg = f"{option}: divides the whole space, add --pool all; a pool takes one process"
            raise InputError(msg)
    # A job is given the same words, and its shard.
    return None if args.shard is not None else asked_cluster(args)


def _scored_in(checkpoint: Checkpoint, config: Config) -> str | None:
    """Return where the run's own scores were summed up, None where that is unknown or not asked."""
    from harness.runs.identity import SCORED

    data = checkpoint.meta.get("data")
    return data.get(SCORED, "host") if data and config.runtime.score_on == "auto" else None


def _run_config(args: Namespace) -> Config:
    config = config_of_run(args)
    changes: dict[str, Any] = {}
    if args.batches_per_arch is not None:
        changes["eval_batches_per_arch"] = args.batches_per_arch
    if args.recal_batches is not None:
        changes["bn_recal_batches"] = args.recal_batches
    if args.frozen is not None:
        changes["frozen"] = str(args.frozen)
    evaluation = {**config.eval.model_dump(), **changes}
    # Validated anew: model_copy() would take whatever the options say.
    config = parse_config({**config.model_dump(by_alias=True), "eval": evaluation})
    check_with_data(args, config)
    require_crops(config)
    return config


def asked_pool(text: str | None, config: Config) -> tuple[tuple[int, ...], ...] | None:
    """Return the archs that ``--pool`` names; None: as configured.

    Raises
    ------
    InputError
        If it is neither a size, nor ``all``, nor a JSON list of arch codes.
    """
    from harness.evaluation.pool_file import read_pool
    from harness.evaluation.ranking import build_pool
    from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS, every_arch

    if text is None:
        return None
    if text == "all":
        return every_arch()
    if _NUMBER.fullmatch(text):
        try:
            size = Range(1, NUM_OPTIONS**NUM_BLOCKS, "archs")(text)
        except InputError as error:
            raise InputError(f"--pool: {error}, or 'all', or a file") from None
        return build_pool(seed=config.runtime.seed, size=size)
    path = Path(expanded(text, "--pool"))
    check_paths([Named("--pool", path, PathKind.FILE)])
    if not path.exists():
        msg = (
            f"--pool {path}: no such file; expected a number of archs, all, or a file of arch codes"
        )
        raise InputError(msg)
    return read_pool(path)


def _cost_text(config: Config, protocol: "Protocol") -> str:
    """Say what the evaluation costs, and what it would cost otherwise."""
    from harness.supernet.macs import pool_macs

    recal, scored = (
        sum(batch.size for batch in batches)
        for batches in (protocol.recal_batches, protocol.eval_batches)
    )
    size = protocol.eval_batches[0].frames.shape[1:3]
    macs = pool_macs(
        config.model.skeleton, config.model.width, (int(size[0]), int(size[1])), protocol.pool,
        recal_samples=recal, eval_samples=scored,
    )  # fmt: skip
    return (
        f"{counted(len(protocol.pool), 'arch')}: {_giga(macs.shared)} GMAC, what archs share once; "
        f"one arch at a time {_giga(macs.chosen)}, with every branch {_giga(macs.dense)}"
    )


def _giga(macs: float) -> str:
    """Return a number of multiply-accumulates in 1e9, with four digits at least and no power."""
    return f"{macs / 1e9:.4g}" if macs < 1e12 else f"{macs / 1e9:,.0f}"


def _border_lines(trained: Mapping[str, Any], elsewhere: EnvironmentDifference) -> Iterator[str]:
    """Yield what an evaluation elsewhere than its checkpoint was trained does not promise."""
    if elsewhere.changed:
        yield (
            "evaluated in another environment than trained in, equal scores are not promised: "
            f"{'; '.join(map(str, elsewhere.changed))}"
        )
    if elsewhere.unnamed and trained:
        yield f"note: {elsewhere.note('the checkpoint')}"
    if not trained:  # imported
        yield "note: the checkpoint does not say in which environment it was trained"


def _in_train_text(record: EvalRecord, ledger: Path, elsewhere: EnvironmentDifference) -> str:
    """Say whether the run's own evaluation of the same thing gave the same numbers."""
    if not ledger.exists():
        return "no ledger to compare with"
    same = [
        old
        for old in read_run_ledger(ledger).effective()
        if isinstance(old, EvalRecord)
        and (old.archs, old.weights_digest, old.eval_batch_hash, old.bn_recal_batch_hash)
        == (record.archs, record.weights_digest, record.eval_batch_hash, record.bn_recal_batch_hash)
    ]
    if not same:
        return "the run itself made no evaluation of these weights, archs and batches"
    equal = same[-1].per_arch_epe == record.per_arch_epe
    verdict = "equal to the last bit" if equal else f"DIFFERENT ({_reason(elsewhere)})"
    return f"in-train evaluation of epoch {same[-1].epoch}: {verdict}"


def _reason(elsewhere: EnvironmentDifference) -> str:
    if elsewhere.changed:
        return "in another environment"
    if elsewhere.unnamed:
        return "another environment?"
    return "in the same environment, as far as it is recorded: something changes what is measured"


def _result(
    record: EvalRecord, checkpoint: Any, environment: dict[str, Any],
    elsewhere: EnvironmentDifference,
) -> dict[str, Any]:  # fmt: skip
    return {
        "archs": record.archs,
        "per_arch_epe": record.per_arch_epe,
        "mean_epe_12": record.mean_epe,
        "std_epe_12": record.std_epe,
        "zero_flow_epe": record.zero_flow_epe,
        "eval_batch_hash": record.eval_batch_hash,
        "bn_recal_batch_hash": record.bn_recal_batch_hash,
        "eval_seconds": record.eval_seconds,
        "bn_recal_seconds": record.bn_recal_seconds,
        "samples": record.samples,
        "batches": record.batches,
        "recal_batches": record.recal_batches,
        "flow_clip": record.flow_clip,
        "unknown_pixels": record.unknown_pixels,
        "stats_digest": record.stats_digest,
        "weights_digest": record.weights_digest,
        "checkpoint": checkpoint.path.name,
        "checkpoint_digest": checkpoint.digest,
        "epoch": record.epoch,
        "environment": environment,
        "environment_changes": [str(change) for change in elsewhere.changed],
        "environment_unnamed": list(elsewhere.unnamed),
    }
