"""What promises of a ledger about what a run keeps and announces must notice."""

from dataclasses import replace

from tests.ledger_runs import RUN, announced, each, resealed, scored

OTHER_LR = {**announced().openings[0].config["train"], "lr": 2e-3}
OTHER_CONFIG = {**announced().openings[0].config, "train": OTHER_LR}
FIXED_STEPS = {**OTHER_LR, "lr": 1e-3, "epoch_mode": "fixed_steps", "steps_per_epoch": 4}
TWO = (announced().openings[0], announced(attempt=2).openings[0])
KEPT = {
    "opening-follows": {
        "another batch size": (
            resealed(batch_size=4),
            "opening of attempt 1, batch_size: expected 5, by its configuration, found 4",
        ),
        "another micro-batch size": (
            resealed(micro_batch_size=5),
            "attempt 1, micro_batch_size: expected 2, by its configuration, found 5",
        ),
        "a partial batch that is whole": (
            resealed(planned_sizes=((5, 3),)),
            r"planned_sizes: expected \(\(5, 2\), \(4, 1\)\), by .*, found \(\(5, 3\),\)",
        ),
        "the plan of a full pass in fixed steps": (
            resealed(config={**announced().openings[0].config, "train": FIXED_STEPS}),
            r"planned_sizes: expected \(\(5, 4\),\), by .*, found \(\(5, 2\), \(4, 1\)\)",
        ),
        "checks of whole batches": (
            resealed(expected_clip_checks=27),
            "expected_clip_checks: expected 24, by its configuration, found 27",
        ),
        "another identity": (
            resealed(identity="1d"),
            "opening of attempt 1, identity: expected .*, by its configuration and its samples, "
            "found 1d",
        ),
        "no identity": (resealed(identity=""), "opening of attempt 1, identity: expected "),
        "another protocol": (resealed(protocol="1d"), "attempt 1, protocol: expected .* found 1d"),
        "another list of samples": (
            resealed(data={"train": "t", "val": announced().openings[0].data["val"]}),
            "opening of attempt 1, identity: expected ",
        ),
        "another rate than the identity's": (
            resealed(config=OTHER_CONFIG),
            "opening of attempt 1, identity: expected ",
        ),
        "more samples than are planned": (
            resealed(train_samples=15),
            r"planned_sizes: expected \(\(5, 3\),\), by",
        ),
        "fewer validation samples than were scored": (
            resealed(val_samples=6),
            "val_samples: expected as many as give 7, as scored after epoch 1, found 6, of which 6 "
            "would be scored",
        ),
        "more validation samples than were scored": (
            resealed(val_samples=8),
            "val_samples: expected as many as give 7, .*, found 8, of which 8 would be scored",
        ),
        "changed later": (
            announced(environment={"threads": 4}),
            "opening of attempt 1, digest of what it says: expected .*, its seal, found ",
        ),
        "another count of the same list": (
            replace(RUN, openings=(TWO[0], replace(TWO[1], val_samples=9))),
            "opening of attempt 2, val_samples: expected 7, as in the attempt before, of the same "
            "list, found 9",
        ),
        "an attempt twice": (
            replace(RUN, openings=(TWO[0], TWO[0])),
            "attempt number of the opening after attempt 1: expected more than 1, found 1",
        ),
        "other samples than are listed": (
            replace(announced(), beside=replace(TWO[0], train_samples=20)),
            "opening of attempt 1, train_samples: expected 20, as the data set has, found 14",
        ),
        "another list than is there": (
            replace(announced(), beside=replace(TWO[0], data={"train": "t"})),
            "opening of attempt 1, samples of train: expected t, of the ids that are listed, found",
        ),
        "another configuration than was asked for": (
            replace(announced(), beside=replace(TWO[0], config=OTHER_CONFIG)),
            "opening of attempt 1, train.lr: expected 0.002, as asked for, found 0.001",
        ),
    },
    "best-checkpoint": {
        "the last one": (
            each("checkpoints", scored(5.0, 4.0, 4.5), best=lambda r: r.name),
            "`best` after saving epoch-0003-.*: expected the checkpoint of epoch 2, 4 px, the "
            "lowest of the 3 so far, found epoch-0003-",
        ),
        "the worst one": (
            each("checkpoints", scored(5.0, 4.0), best="epoch-0001-step-00000-attempt-1"),
            "`best` after saving epoch-0002-.*: expected the checkpoint of epoch 2, 4 px",
        ),
        "the later of two equal ones": (
            each("checkpoints", scored(5.0, 5.0), best=lambda r: r.name),
            "`best` after saving epoch-0002-.*: expected the checkpoint of epoch 1, 5 px",
        ),
        "none": (
            each("checkpoints", scored(5.0, 4.0), 1, best=""),
            "`best` after saving epoch-0002-.*: expected the checkpoint of epoch 2, .*, found none",
        ),
    },
    "patience-kept": {
        "a delta that is ignored": (
            scored(5.0, 4.9, 4.8, 4.7),
            "steps of epoch 4: expected none: after epoch 3, 2 evaluations have brought no "
            "improvement, of 2, found 3",
        ),
        "one evaluation more": (
            scored(5.0, 5.0, 5.0, 5.0, stop=4),
            "steps of epoch 4: expected none: after epoch 3",
        ),
        "one evaluation less": (
            scored(5.0, 5.0, stop=2),
            "early stop after epoch 2: expected 2 evaluations without an improvement, found 1",
        ),
        "small steps that add up": (
            scored(5.0, 4.9, 4.7, stop=3),
            "early stop after epoch 3: expected 2 evaluations without an improvement, found 0",
        ),
        "a stop at once": (scored(5.0, stop=1), "early stop after epoch 1: expected 2 .*found 0"),
    },
}
