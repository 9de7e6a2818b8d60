"""Keep a random sample of a cosmic-ray session's mutants and skip the others.

``python tests/mutation/sample.py SESSION --count 160 --seed 1 [--part 1/2]``; the same count
and seed keep the same mutants. ``--part I/N`` keeps the I-th of N equal shares of the sample,
for as many sessions side by side.
"""

import argparse
import random
from pathlib import Path

from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult


def main() -> None:
    """Mark everything outside the sample as skipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session", type=Path)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="1/1", metavar="I/N")
    args = parser.parse_args()
    share, shares = (int(number) for number in args.part.split("/"))
    with use_db(str(args.session)) as database:
        done = {job for job, _ in database.results}
        items = [item for item in database.work_items if item.job_id not in done]
        items.sort(key=lambda item: str(item.mutations))
        chosen = random.Random(args.seed).sample(items, min(args.count, len(items)))
        kept = {item.job_id for item in chosen[share - 1 :: shares]}
        for item in items:
            if item.job_id not in kept:
                skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
                database.set_result(item.job_id, skipped)
    print(f"{len(items)} mutants, {len(kept)} kept in part {args.part}")  # noqa: T201


if __name__ == "__main__":
    main()
