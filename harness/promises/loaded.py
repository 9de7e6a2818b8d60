"""A bad file stops training and is named, whoever loads it."""

from functools import partial
from pathlib import Path

from harness.promises.bench import Bench
from harness.promises.one_batch import crop_of_random_draws
from harness.promises.promise import Promise, needs, require_seen
from harness.promises.refusals import Refusals, attempted, bad_input_is_refused
from harness.promises.samples import data_section, listed_samples, require_files, split_folder
from harness.promises.setting import link_samples

__all__ = ["BAD_FILES_STOP_TRAINING", "bad_training_files"]

_THREADS = (0, 1, 2)


@needs("train", "batches")
def bad_training_files(bench: Bench) -> Refusals:
    """Train an epoch with one flow file cut short, under 0, 1 and 2 loader threads."""
    with bench.open() as system:
        served = [sample for batch in system.batches("train") for sample in batch.ids]
    require_seen(served, "no training batch was served (batches('train'))")
    listed = listed_samples(split_folder(bench, "train"))
    # As late as can be, which a loader that reads ahead has met long before it is trained on; but
    # neither the first nor the last listed, which a loader may take instead of one that it lacks.
    bad = ([s for s in served if s not in (listed[0], listed[-1])] or served)[-1:]
    if crop_of_random_draws(bench) is not None:
        bad = list(listed)  # whichever is drawn
    require_files(split_folder(bench, "train"), bad[0])
    folder = bench.folder / "bad-training-file"
    for split in ("train", "val"):
        whole = split_folder(bench, split)
        link_samples(whole, listed_samples(whole), folder / split)
    for sample in bad:
        path = folder / "train" / f"{sample}-flow_01.flo"
        content = path.read_bytes()
        path.unlink()  # a link to the user's own file, which writing through it would change
        path.write_bytes(content[:-40])
    names = tuple(f"{Path(sample).name}-flow_01.flo" for sample in bad)  # any may be named
    cases = []
    for threads in _THREADS:
        asked = bench.settable("data", {"num_workers": threads})
        name = f"flow cut short, {threads} loader threads" if asked else "flow cut short"
        cases.append((name, names, *attempted(partial(_train, bench, folder, asked))))
        if not asked:
            break
    return Refusals(cases)


def _train(bench: Bench, folder: Path, asked: dict[str, int]) -> None:
    few = {"eval_batches_per_arch": 1, "bn_recal_batches": 1}
    with bench.open_cheaply(few, data={**data_section(folder), **asked}) as system:
        system.train(1, evaluate=False)


BAD_FILES_STOP_TRAINING = Promise(
    id="bad-files-stop-training",
    sentence="a bad training file stops the run and is named, whatever thread reads it",
    evidence=bad_training_files,
    check=bad_input_is_refused,
    hint="A loader thread's error is lost: training goes on without the sample, or waits for ever.",
    # Where every file is bad, one that goes on over a bad one has lost the name by the end.
    explained_by=("bad-files-named", "bad-files-named:accepted"),
)
