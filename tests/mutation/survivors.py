"""Judge what has survived in a cosmic-ray session once more, by another command.

``python tests/mutation/survivors.py SESSION COMMAND...``: each surviving mutant is put into the
working tree, the command is run there with its path, and the file is put back. It is killed now
if the command fails; the session's own record is changed then. What only words a text is left
out: a mutant within an f-string, of which the tests of wording make sure.
"""

import ast
import subprocess
import sys
from pathlib import Path

from attrs import evolve
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome


def in_a_text(path: Path, place: tuple[int, int]) -> bool:
    """Return whether a row and column of a file lie within an f-string."""
    return any(
        (node.lineno, node.col_offset) <= place < (node.end_lineno, node.end_col_offset)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
    )


def judged_again(mutant, command) -> str:
    """Return what the command says last with the mutant in place; empty if it succeeds."""
    operator = get_operator(mutant.operator_name)(**(mutant.operator_args or {}))
    with use_mutation(mutant.module_path, operator, mutant.occurrence):
        run = subprocess.run([*command, str(mutant.module_path)], check=False, capture_output=True)
    said = run.stdout.decode().strip().splitlines()[-1:]
    return "".join(said or ["it failed"]) if run.returncode else ""


def main() -> None:
    """Judge each survivor again."""
    session, command = sys.argv[1], sys.argv[2:]
    with use_db(session, WorkDB.Mode.open) as database:
        survived = {j: r for j, r in database.results if r.test_outcome is TestOutcome.SURVIVED}
        for item in database.work_items:
            if item.job_id not in survived:
                continue
            (mutant,) = item.mutations
            where = f"{mutant.module_path}:{mutant.start_pos[0]} {mutant.operator_name}"
            if in_a_text(mutant.module_path, mutant.start_pos):
                print(f"{where}: words a text", flush=True)  # noqa: T201
                continue
            said = judged_again(mutant, command)
            if said:
                found = survived[item.job_id]
                database.set_result(item.job_id, evolve(found, test_outcome=TestOutcome.KILLED))
            print(f"{where}: {said or 'survived'}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
