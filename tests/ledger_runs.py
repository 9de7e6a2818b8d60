"""A sound run as its ledger tells it, and changes of its records."""

from dataclasses import replace

from harness.records.ledger import effective
from harness.records.records import CheckpointRecord, ResumeRecord
from harness.records.run import run_evidence
from tests.synthetic_run import ZERO_FLOW, make_records, opening, tree

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
