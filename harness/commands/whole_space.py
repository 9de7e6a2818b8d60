"""The whole space, scored into a file that a killed evaluation goes on from; or into shards."""

import shutil
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.asides import sync
from harness.bars import bar
from harness.commands.cluster import Cluster
from harness.commands.common import EXIT_DONE, EXIT_INTERRUPTED, StopFlag, say
from harness.commands.interrupts import command_line
from harness.commands.jobs import Job, JobsStoppedError, exit_code, failures, run_jobs
from harness.devices import is_stream
from harness.errors import InputError
from harness.evaluation.entry_costs import entry_macs
from harness.evaluation.journal import Entry, FileJournal
from harness.evaluation.shards import Shard, merge, shard_entries, shard_header, shard_path
from harness.records.environments import EnvironmentDifference
from harness.records.records import EvalRecord
from harness.supernet.sharing.order import Subtree
from harness.training.checkpoint import Checkpoint
from harness.wording import counted

if TYPE_CHECKING:  # import TensorFlow, which the environment must precede
    from harness.evaluation.evaluator import Protocol
    from harness.runs.session import Session

__all__ = ["Scored", "scores_path", "whole_space"]

_JOBS = 2
"""Where ``--jobs`` says nothing."""
Scored = tuple[EvalRecord, dict[str, list[float]]]


@dataclass(frozen=True)
class _Work:
    """What is scored, and where it goes.

    Attributes
    ----------
    path : pathlib.Path
        Of the scores of the whole.
    header : dict
        Everything that they depend on.
    subtrees : tuple of Subtree
        In the order of the walk.
    recal : list of list of int
        Batches that are recalibrated on side by side.
    samples : list of int
        Of each piece that is scored.
    macs : callable
        (entry) -> int: how much work a finished piece was.
    """

    path: Path
    header: dict[str, Any]
    subtrees: tuple[Subtree, ...]
    recal: list[list[int]]
    samples: list[int]
    macs: Callable[[Entry], int]

    def total(self, subtrees: Sequence[Subtree]) -> int:
        """Return how many entries a journal of these has when it is whole."""
        return len(subtrees) * (sum(map(len, self.recal)) + len(self.samples))

    def shard(self, shard: Shard) -> tuple[Path, dict[str, Any], int]:
        """Return the file of a shard, its header, and how many entries it has when it is whole."""
        total = self.total(shard.of(self.subtrees))
        return shard_path(self.path, shard), shard_header(self.header, shard), total


def whole_space(
    args: Namespace, session: "Session", checkpoint: Checkpoint, protocol: "Protocol",
    cluster: Cluster | None,
) -> Scored | int:  # fmt: skip
    """Score the whole space, or a shard of it.

    Returns
    -------
    (EvalRecord, dict) or int
        The record and each arch's EPE by sample, px; an exit code where there is no record: the
        evaluation was interrupted, shards are missing, or it was of a shard.
    """
    work = _work(args, session, checkpoint, protocol)
    if args.shard is not None:
        part: Shard = args.shard
        archs = tuple(arch for subtree in part.of(work.subtrees) for arch in subtree.archs)
        path, header, _ = work.shard(part)
        work = replace(work, path=path, header=header, subtrees=part.of(work.subtrees))
        protocol = replace(protocol, pool=archs)
    elif cluster is not None:
        code = _sharded(args, cluster, work)
        if code != EXIT_DONE:
            return code
    scored = _scored(args, session, int(checkpoint.progress["epoch"]), protocol, work)
    if scored is not None and args.shard is not None:
        say(f"shard {args.shard}: {counted(len(work.subtrees), 'subtree')} scored")
        return EXIT_DONE
    return EXIT_INTERRUPTED if scored is None else scored


def _work(
    args: Namespace, session: "Session", checkpoint: Checkpoint, protocol: "Protocol"
) -> _Work:
    from harness.evaluation.scoring import recal_pieces

    evaluator, weights, config = session.evaluator, session.model.weight_tensors(), session.config
    samples = sum(batch.size for batch in protocol.eval_batches)
    at_once = evaluator.samples_at_once(*config.eval_crop)
    subtrees = evaluator.share(weights, protocol.pool).subtrees
    pieces = [min(at_once, samples - start) for start in range(0, samples, at_once)]
    macs = entry_macs(
        config.model.skeleton, config.model.width, config.eval_crop, protocol.pool,
        subtrees=len(subtrees), recal=[batch.size for batch in protocol.recal_batches],
        scored=pieces,
    )  # fmt: skip
    return _Work(
        scores_path(args, checkpoint), _score_header(session, checkpoint, protocol), subtrees,
        recal_pieces(protocol.recal_batches), pieces, macs,
    )  # fmt: skip


def _scored(
    args: Namespace, session: "Session", epoch: int, protocol: "Protocol", work: _Work
) -> Scored | None:
    """Score what is not in the file yet; None where a signal ended it."""
    entries = shard_entries(work.subtrees, work.recal, len(work.samples))
    total = len(entries)
    with (
        bar(sum(map(work.macs, entries)), "million MACs") as drawn,
        FileJournal(
            work.path, work.header, lambda entry: drawn.advance(work.macs(entry)),
            samples=work.samples,
        ) as journal,
        StopFlag() as stop,
    ):  # fmt: skip
        there = len(journal)
        drawn.advance(sum(map(work.macs, journal)))
        say(f"scores go to {work.path}, {there} of {total} pieces are there")
        if there:
            say("note: seconds are those of what is not there yet")
        for note in journal.notes:
            say(f"note: {work.path}: {note}")
        if journal.unnamed:
            say(f"note: {EnvironmentDifference((), journal.unnamed).note('that file')}")
        try:
            return session.evaluator.evaluate(
                session.model.weight_tensors(), protocol, epoch=epoch, journal=journal,
                between=lambda: _raise_if_stopped(stop),
            )  # fmt: skip
        except _StoppedError:
            again = command_line(args.words)
            say(f"interrupted; the same command goes on from {work.path}: {again}")
            return None


def _sharded(args: Namespace, cluster: Cluster, work: _Work) -> int:
    """Have shards scored as jobs, and merge them into the file of the whole; return a code."""
    if work.path.exists():
        with FileJournal(work.path, work.header, samples=work.samples) as journal:
            there, total = len(journal), work.total(work.subtrees)
        if there not in (0, total):
            msg = (
                f"{work.path}: holds {there} of {total} pieces, scored without --cluster; go on "
                "without it, or move the file away"
            )
            raise InputError(msg)
        if there == total:
            return EXIT_DONE
    count = args.jobs or _JOBS
    shards = [Shard(index, count) for index in range(1, count + 1)]
    todo = [shard for shard in shards if not _is_whole(work, shard)]
    say(f"{counted(count, 'shard')}, {count - len(todo)} there; files and logs: {_folder(work)}")
    code = _run_shards(args, cluster, work, todo)
    if code == EXIT_DONE:
        _merge(work, shards)
    return code


def _folder(work: _Work) -> Path:
    return work.path.with_name(f"{work.path.name}.jobs")


def _is_whole(work: _Work, shard: Shard) -> bool:
    """Return whether a shard is scored; its file is made, so that a job elsewhere is refused."""
    path, header, total = work.shard(shard)
    with FileJournal(path, header, samples=work.samples) as journal:
        return len(journal) == total


def _run_shards(args: Namespace, cluster: Cluster, work: _Work, todo: Sequence[Shard]) -> int:
    if not todo:
        return EXIT_DONE
    jobs = [_job(args, work, shard) for shard in todo]
    with bar(len(jobs), "shards") as drawn, StopFlag() as stop:
        try:
            ended = run_jobs(
                cluster, _folder(work), jobs, at_once=len(jobs), stop=stop,
                done=lambda: drawn.advance(1),
            )  # fmt: skip
        except JobsStoppedError:
            say(f"interrupted; what is scored is kept, and {_again(args)}")
            return EXIT_INTERRUPTED
    for line in failures(ended):
        say(line)
    code = exit_code(ended)
    if code != EXIT_DONE:
        say(f"logs are in {_folder(work)}; what is scored is kept, and {_again(args)}")
    return code


def _job(args: Namespace, work: _Work, shard: Shard) -> Job:
    path, _, _ = work.shard(shard)
    return Job(
        f"shard {shard}", lambda: [*args.words, "--shard", str(shard)],
        lambda: path.stat().st_size if path.exists() else 0,
    )  # fmt: skip


def _again(args: Namespace) -> str:
    return f"the same command goes on: {command_line(args.words)}"


def _merge(work: _Work, shards: Sequence[Shard]) -> None:
    """Write the file of the whole, aside until it is; then shards and what jobs said go."""
    aside = work.path.with_name(f".{work.path.name}.merging")
    aside.unlink(missing_ok=True)
    entries = shard_entries(work.subtrees, work.recal, len(work.samples))
    with ExitStack() as stack:
        parts = [
            stack.enter_context(FileJournal(*work.shard(shard)[:2], samples=work.samples))
            for shard in shards
        ]
        into = stack.enter_context(FileJournal(aside, work.header, samples=work.samples))
        merge(parts, entries, into)
        aside.replace(work.path)
        sync(work.path.parent)
    for shard in shards:
        work.shard(shard)[0].unlink(missing_ok=True)
    shutil.rmtree(_folder(work), ignore_errors=True)
    say(f"{counted(len(shards), 'shard')} merged into {work.path}")


class _StoppedError(Exception):
    """A signal asked for a stop."""


def _raise_if_stopped(stop: StopFlag) -> None:
    if stop():
        raise _StoppedError


def scores_path(args: Namespace, checkpoint: Checkpoint) -> Path:
    """Return where the scores of the whole space go."""
    # Beside a pipe or /dev/stdout there is no place for a file.
    if args.json is not None and not is_stream(args.json):
        return Path(args.json).with_suffix(".scores.jsonl")
    return Path(args.run, f"{checkpoint.path.name}.scores.jsonl")


def _score_header(
    session: "Session", checkpoint: Checkpoint, protocol: "Protocol"
) -> dict[str, Any]:
    """Return everything that the scores of the whole space depend on."""
    from harness.fc2.batch import join_digests

    config, evaluator = session.config, session.evaluator
    return {
        "scores": 2, "checkpoint_digest": checkpoint.digest,
        "skeleton": config.model.skeleton, "width": config.model.width,
        "eval_batch_hash": join_digests(protocol.eval_batches),
        "bn_recal_batch_hash": join_digests(protocol.recal_batches),
        "score_split": evaluator.samples_at_once(*config.eval_crop),
        # Earlier versions, which do not say it, summed up on the host.
        **({"scored": evaluator.scored_on} if evaluator.scored_on != "host" else {}),
        "environment": session.environment.as_dict(),
    }  # fmt: skip
