"""Evidence of what a run keeps: sound, empty, and corrupted in one place."""

from dataclasses import replace

from harness.promises import kept
from harness.promises.kept_run import KeptRun, Saved

A1, B1, B2, C1 = "epoch-0001", "epoch-0001-step-1", "epoch-0002", "epoch-0003"
SAVES = (
    Saved(A1, "a", 1, 0, 5.0, (A1,), "a", "a"),
    Saved(B1, "b", 1, 1, None, (A1, B1), "a", "b"),
    Saved(B2, "c", 2, 0, 6.0, (A1, B2), "a", "c"),
    Saved(C1, "d", 3, 0, 5.0, (A1, C1), "a", "d"),
)
RUN = KeptRun(1, 4, SAVES)
# The first is neither best nor last from the third save on, and of two kept the older one.
TWO = KeptRun(
    2, 3,
    (
        Saved(A1, "a", 1, 0, 5.0, (A1,), "a", "a"),
        Saved(B2, "c", 2, 0, 4.0, (A1, B2), "c", "c"),
        Saved(C1, "d", 3, 0, 4.5, (B2, C1), "c", "d"),
    ),
)  # fmt: skip
NONE = KeptRun(0, 2, (SAVES[0], replace(SAVES[2], there=(A1, B2))))


def changed(place, run=RUN, **values):
    saves = list(run.saves)
    saves[place] = replace(saves[place], **values)
    return (replace(run, saves=tuple(saves)), TWO)


KEPT = {
    "the best is removed": (
        changed(2, there=(B2,)),
        "keep_latest 1, after saving epoch-0002, epoch-0001: expected kept: it is the best, 5 px, "
        "found gone",
    ),
    "the end of the epoch is removed": (
        changed(1, run=KeptRun(1, 2, (replace(SAVES[0], metric=None), SAVES[1])), there=(B1,)),
        "after saving epoch-0001-step-1, epoch-0001: expected kept: it is one of the newest, or "
        "the end of the epoch before, found gone",
    ),
    "the last is not there": (
        changed(3, there=(A1,)),
        "after saving epoch-0003, epoch-0003: expected kept: it is the last, found gone",
    ),
    "all are kept": (
        changed(2, there=(A1, B1, B2)),
        "after saving epoch-0002, epoch-0001-step-1: expected removed, found still there",
    ),
    "best is last": (
        changed(2, best="c"),
        "after saving epoch-0002, `best`: expected epoch-0001, a, found epoch-0002, c",
    ),
    "a tie is better": (
        changed(3, best="d"),
        "after saving epoch-0003, `best`: expected epoch-0001, a, found epoch-0003, d",
    ),
    "last is an older one": (
        changed(3, last="c"),
        "after saving epoch-0003, `last`: expected epoch-0003, d, found epoch-0002, c",
    ),
    "best does not load": (
        changed(3, best="epoch-0001: damaged"),
        "`best`: expected epoch-0001, a, found epoch-0001: damaged",
    ),
    "a stranger's file is gone": (
        (replace(RUN, gone=("notes.txt",)), TWO),
        "keep_latest 1, notes.txt: expected left alone, no checkpoint of the run, found gone",
    ),
    "a run that goes on": (
        (replace(RUN, due=3), TWO),
        "keep_latest 1, saves until the run ends by itself: expected 3, found 4",
    ),
    "fewer than were asked for": (
        (TWO, replace(TWO, keep_latest=3)),
        "keep_latest 3, after saving epoch-0003, epoch-0001: expected kept: it is one of the "
        "newest, .*, found gone",
    ),
}

CLEAN = {kept.checkpoints_are_kept: [(RUN, TWO), (RUN,), (NONE,)]}
EMPTY = {kept.checkpoints_are_kept: (KeptRun(1, 0, ()),)}
CORRUPTED = {kept.checkpoints_are_kept: KEPT}
