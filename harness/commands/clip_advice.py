"""``harness clip-study --advise``: the next threshold, by a run that is there already."""

import math
import statistics
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.commands.common import EXIT_DONE, ledger_file, read_run_ledger, say, write_json
from harness.commands.foreign import columns_of, is_foreign, refuse_outputs
from harness.errors import InputError, NotApplicableError
from harness.foreign.clipping import clip_is_not_saturated
from harness.foreign.configured import configured_plan
from harness.foreign.judging import Subject
from harness.foreign.recognise import read_foreign
from harness.records.run import RunEvidence, segments
from harness.training.ladder import advise_threshold, choose_threshold

__all__ = ["advise"]

_KEY = "train.grad_clip_global_norm"


def advise(args: Namespace) -> int:
    """Name the next rung of the ladder; nothing is trained and nothing changed."""
    given = [f"--{name}" for name in ("run", "epochs", "segment", "fc2_root")
             if getattr(args, name) is not None]  # fmt: skip
    if given:
        msg = f"{given[0].replace('_', '-')}: --advise trains nothing and takes none"
        raise InputError(msg)
    path: Path = args.advise
    found = _foreign(path, args) if is_foreign(path) else _own(path, args)
    say(f"{path}: {found['measured']}")
    say(f"advice: {found['reason']}")
    if found["changes"]:
        say(f"to try it, in a run of another name: {_KEY} = {found['threshold']:g}")
    write_json(args.json, {"run": str(path), "advice": found})
    return EXIT_DONE


def _own(path: Path, args: Namespace) -> dict[str, Any]:
    if args.config is not None or args.assignments or args.columns:
        msg = "--config, --set, --column: are for runs of other trainers, a ledger tells it all"
        raise InputError(msg)
    file = ledger_file(path)
    try:
        evidence: RunEvidence = segments(read_run_ledger(file).effective())[-1]
    except ValueError as error:
        msg = f"{file}: {error}"
        raise InputError(msg) from None
    norms = [norm for record in evidence.norms for norm in record.norms]
    threshold = (evidence.config.get("train") or {}).get("grad_clip_global_norm")
    if not norms or isinstance(threshold, bool) or not isinstance(threshold, int | float) \
            or threshold <= 0:  # fmt: skip
        msg = f"{file}: holds no finished epoch with its norms and threshold, nothing to judge"
        raise InputError(msg)
    advice = advise_threshold(norms, threshold)
    measured = (
        f"segment {evidence.segment}, {len(norms)} norms: clip rate {advice.clip_rate:.3f}, p50 "
        f"{advice.p50:.4g}, p90 {advice.p90:.4g}, p99 {advice.p99:.4g}"
    )
    return {**asdict(advice), "measured": measured}


def _foreign(path: Path, args: Namespace) -> dict[str, Any]:
    refuse_outputs(path, args)
    run = read_foreign(path, columns_of(args))
    configured = configured_plan(args.config, args.assignments).over(run.configured)
    subject = Subject(run, run.plan.over(configured), configured)
    threshold = subject.plan.number(_KEY)
    if threshold is None or threshold <= 0:
        msg = f"{path}: its threshold is not known; --set {_KEY}=..."
        raise InputError(msg)
    try:
        measured = clip_is_not_saturated(subject)
    except NotApplicableError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from None
    rate = measured.values.get("clip_rate")
    high = [epoch.norm_p90 for epoch in run.epochs if epoch.norm_p90 is not None]
    high = [value for value in high if math.isfinite(value)]
    p90 = statistics.median(high) if high else None
    shown = measured.text if rate is None else ""
    share = measured.values["epochs_above"] if rate is None else rate
    chosen, reason = choose_threshold(share, p90, threshold, shown=shown)
    return {
        **measured.values, "threshold": chosen, "present": threshold,
        "changes": chosen != threshold, "reason": reason, "p90": p90, "measured": measured.text,
    }  # fmt: skip
