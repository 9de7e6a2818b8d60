"""A sound run as its ledger tells it, and changes of its records."""

from dataclasses import replace

from harness.config import parse_config
from harness.records.ledger import effective
from harness.records.records import (
    STOPPED_EARLY,
    CheckpointRecord,
    EvalRecord,
    NoteRecord,
    ResumeRecord,
)
from harness.records.run import run_evidence
from harness.records.seals import sealed
from harness.runs.identity import protocol_identity, run_identity
from harness.runs.parts import opening_record
from tests.synthetic_run import SIZES, ZERO_FLOW, digest, make_records, opening, step_checks, tree

RUN = run_evidence(make_records())
RANDOM = run_evidence(make_records(eval={"recal_mode": "random"}))
RESETTING = run_evidence(make_records(checkpoint={"reset_early_stop_on_resume": True}))


def each(kind, run=RUN, only=None, **changes):
    """Change fields of every record of a kind, or of the one at a place."""
    records = [
        replace(record, **{k: v(record) if callable(v) else v for k, v in changes.items()})
        if only is None or i == only % len(getattr(run, kind))
        else record
        for i, record in enumerate(getattr(run, kind))
    ]
    return replace(run, **{kind: tuple(records)})


def without(kind, place, run=RUN):
    records = list(getattr(run, kind))
    del records[place]
    return replace(run, **{kind: tuple(records)})


def config(run=RUN, **sections):
    tree = {name: {**values, **sections.get(name, {})} for name, values in run.config.items()}
    return replace(run, config=tree)


def plateau(std, share=1.0):
    return each("evals", mean_epe=ZERO_FLOW * share, std_epe=std)


def killed(run, steps):
    """Return the run without its last epoch's row, norms and scores, after some steps of it."""
    last = run.epochs[-1].epoch
    kept = {
        kind: tuple(r for r in getattr(run, kind) if r.epoch < last)
        for kind in ("norms", "evals", "epochs", "checkpoints")
    }
    return replace(run, steps=run.steps[: (last - 1) * len(run.planned_sizes) + steps], **kept)


def resumed():
    """Return a run that was cut in epoch 3 and resumed from its second step."""
    records = make_records()
    place = next(i for i, r in enumerate(records) if getattr(r, "epoch", 0) == 3)
    lost = replace(records[place + 2], loss=9.0)
    border = [opening(tree(), attempt=2), ResumeRecord(2, 2, 2, 8, "d")]
    saved = CheckpointRecord(2, 2, 8, "epoch-0002-step-00002-attempt-1", "d")
    return run_evidence(
        effective([*records[: place + 2], saved, lost, *border, *records[place + 2 :]])
    )


def cut_before_its_row():
    """Return a run that died between an epoch's evaluation and its row."""
    last = RUN.epochs[-1].epoch
    rows = tuple(row for row in RUN.epochs if row.epoch < last)
    return replace(RUN, epochs=rows, checkpoints=RUN.checkpoints[:-1])


def scored(*metrics, stop=None, **sections):
    """Return a run with given mean EPE of its epochs, patience 2 and delta 0.25 px.

    `stop` is the epoch after which it says that it stopped early.
    """
    early = {"early_stop_patience": 2, "early_stop_min_delta": 0.25, **sections.pop("eval", {})}
    records = make_records(epochs=len(metrics), eval=early, **sections)
    best = None
    for place, record in enumerate(records):
        if isinstance(record, EvalRecord):
            metric = metrics[record.epoch - 1]
            records[place] = replace(record, mean_epe=metric)
        elif isinstance(record, CheckpointRecord):
            best = best if best and metrics[best - 1] <= metric else record.epoch
            records[place] = replace(record, best=f"epoch-{best:04d}-step-00000-attempt-1")
    notes = [] if stop is None else [NoteRecord(stop, STOPPED_EARLY)]
    return run_evidence([*records, *notes])


def announced(**changes):
    """Return a run whose first record is one of ours: a whole configuration, sealed."""
    config = parse_config({**tree(), "checkpoint": {}})
    data = {"train": digest("train"), "val": digest("val")}
    checks = sum(step_checks(tree(), size) for size in SIZES)
    own = opening_record(
        attempt=1, config=config.model_dump(mode="json", by_alias=True),
        environment={"threads": 2}, train_samples=sum(SIZES), val_samples=7, batch_size=5,
        micro_batch_size=2, planned_sizes=((5, 2), (4, 1)), expected_clip_checks=checks,
        identity=run_identity(config, data), protocol=protocol_identity(config, data), data=data,
    )  # fmt: skip
    return replace(RUN, openings=(replace(own, **changes),))


def resealed(**changes):
    """Return such a run whose first record was written with other values from the start."""
    return replace(RUN, openings=(sealed(announced(**changes).openings[0]),))
