"""Keep a random sample of a cosmic-ray session's mutants and skip the others.

``python tests/mutation/sample.py SESSION --count 160 --seed 1 [--part 1/2]``; the same count
and seed keep the same mutants. ``--part I/N`` keeps the I-th of N equal shares of the sample,
for as many sessions side by side.
"""

import argparse
import random
import sqlite3
from contextlib import closing
from pathlib import Path

_LEFT = """
    SELECT job_id FROM mutation_specs WHERE job_id NOT IN (SELECT job_id FROM work_results)
    ORDER BY module_path, start_pos_row, start_pos_col, operator_name, operator_args, occurrence
"""


def main() -> None:
    """Mark everything outside the sample as skipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("session", type=Path)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", default="1/1", metavar="I/N")
    args = parser.parse_args()
    share, shares = (int(number) for number in args.part.split("/"))
    # In one transaction: cosmic-ray's own call makes one for each of 25,000 mutants.
    with closing(sqlite3.connect(args.session)) as database, database:
        jobs = [job for (job,) in database.execute(_LEFT)]
        chosen = random.Random(args.seed).sample(jobs, min(args.count, len(jobs)))
        kept = set(chosen[share - 1 :: shares])
        database.executemany(
            "INSERT INTO work_results (worker_outcome, job_id) VALUES ('SKIPPED', ?)",
            [(job,) for job in jobs if job not in kept],
        )
    print(f"{len(jobs)} mutants, {len(kept)} kept in part {args.part}")  # noqa: T201


if __name__ == "__main__":
    main()
