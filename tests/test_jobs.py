"""Jobs: submitted again where lost, given up where they stand still, ended with their parent."""

import inspect
import os
from argparse import Namespace
from pathlib import Path

import pytest

from harness.cli import main
from harness.commands import jobs, seeds, train
from harness.commands.cluster import SLURM_OPTIONS, Cluster, asked_cluster
from harness.commands.jobs import MOST_LOST, Ended, Job, JobsStoppedError, exit_code, run_jobs
from harness.commands.parsing import CommandParser
from harness.errors import InputError

# Now, and not within a test whose output is captured: it sets up logging anew, and TensorFlow's
# handler then closes what is standard error no longer, which is pytest's own file.
pytest.importorskip("submitit.core.utils", reason="submitit is an extra")

LOCAL = Cluster("local")


class Handle:
    """A job of a stand-in, which ends at once with a code, or is lost."""

    def __init__(self, code):
        self.code, self.job_id = code, "0"

    def done(self):
        return self.code != "runs"


class Executor:
    """Hands out how each submission ends, by the job's first word."""

    def __init__(self, ends):
        self.ends, self.waves, self.words = ends, [], []

    def batch(self):
        self.waves.append(0)
        return open(os.devnull)  # noqa: PTH123

    def submit(self, function, words, *_):
        assert function is jobs.command_job
        self.waves[-1] += 1
        self.words.append(words)
        return Handle(self.ends[words[0]].pop(0))


@pytest.fixture
def submitted(monkeypatch):
    """Return what runs jobs that end as told: {name: codes in turn}."""

    def start(ends, *, at_once=9, progress=lambda: 0, stop=lambda: False):
        executor = Executor({name: list(codes) for name, codes in ends.items()})
        monkeypatch.setattr(jobs, "_executor", lambda *_: executor)
        monkeypatch.setattr(jobs, "_outcome", lambda _, handle: (handle.code, "killed"))
        monkeypatch.setattr(jobs, "_POLL", {"local": 0.0, "slurm": 0.0})
        start.executor = executor
        asked = [Job(name, lambda name=name: [name], progress) for name in ends]
        return run_jobs(LOCAL, Path("unused"), asked, at_once=at_once, stop=stop)

    return start


def test_a_lost_job_is_submitted_again_and_one_that_is_done_is_not(submitted, capsys):
    ended = submitted({"a": [0], "b": [None, 75, 0]})
    assert ended == {"a": Ended(0, 1), "b": Ended(0, 3)}
    assert capsys.readouterr().out == "b: lost (killed); submitted again\n" * 2


def test_a_job_that_stands_still_is_given_up_and_named(submitted):
    ended = submitted({"a": [None] * (MOST_LOST + 1), "b": [0]})
    assert ended["a"] == Ended(75, 4, "lost 4 times in a row: killed")
    assert ended["b"] == Ended(0, 1)


def test_a_job_that_gets_further_each_time_is_not_given_up(submitted):
    steps = iter(range(100))
    ended = submitted({"a": [75] * 9 + [0]}, progress=lambda: next(steps))
    assert ended == {"a": Ended(0, 10)}


@pytest.mark.parametrize("code", [1, 2, 70])
def test_what_a_repeat_does_not_mend_is_not_submitted_again(submitted, code):
    assert submitted({"a": [code]}) == {"a": Ended(code, 1, "killed")}


def test_no_more_jobs_are_submitted_than_may_be(submitted):
    submitted({name: [0] for name in "abcde"}, at_once=2)
    assert submitted.executor.waves == [2, 2, 1]


def test_a_stop_ends_the_jobs_that_run(submitted, monkeypatch):
    told, asked = [], iter([False, False, True])
    monkeypatch.setattr(jobs, "_cancel", lambda _, running: told.extend(running))
    with pytest.raises(JobsStoppedError):
        submitted({"a": [0], "b": ["runs"]}, stop=lambda: next(asked))
    assert [one.job.name for one in told] == ["b"]


@pytest.mark.parametrize(
    ("codes", "code"),
    [((), 0), ((0, 0), 0), ((0, 75), 75), ((75, 1), 1), ((1, 2, 75), 2), ((70, 2), 70)],
)
def test_the_exit_code_of_all_is_that_which_a_repeat_does_not_mend(codes, code):
    assert exit_code({str(i): Ended(c, 1) for i, c in enumerate(codes)}) == code


def asked(**options):
    return Namespace(**{"cluster": None, "jobs": None, "slurm": [], **options})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"jobs": 2}, "--jobs: says something of jobs; add --cluster"),
        ({"slurm": ["time=3"]}, "--slurm: says something of jobs; add --cluster"),
        ({"cluster": "local", "slurm": ["time=3"]}, "--slurm time=3: is for --cluster slurm"),
        ({"cluster": "slurm", "slurm": ["tme=3"]}, "--slurm 'tme=3': expected KEY=VALUE, KEY one"),
        ({"cluster": "slurm", "slurm": ["time"]}, "--slurm time: expected a whole number, 1 to"),
        ({"cluster": "slurm", "slurm": ["gpus=-1"]}, "--slurm gpus: expected a whole number, 0"),
        ({"cluster": "slurm", "slurm": ["qos=a\n#"]}, "--slurm qos: expected one word, got"),
        ({"cluster": "slurm", "slurm": ["qos="]}, "--slurm qos: expected one word, got ''"),
    ],
)
def test_options_that_say_nothing_together_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        asked_cluster(asked(**options))


def test_without_submitit_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    # No package index has this package: what is told is what works in its clone.
    told = r"not installed: pip install -e '\.\[cluster\]' in the clone of samebits$"
    with pytest.raises(InputError, match=told):
        asked_cluster(asked(cluster="local"))


def test_without_slurm_its_absence_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--cluster slurm: no sbatch on PATH"):
        asked_cluster(asked(cluster="slurm"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("eval --run {} --cluster local", "--cluster: divides the whole space, add --pool all"),
        ("eval --run {} --pool 12 --shard 1/2", "--shard: divides the whole space, add --pool"),
        ("eval --run {} --pool all --jobs 82 --cluster local", "1 to 81 jobs, got '82'"),
        ("train --config {}/c --seeds 1 2 1 --cluster local", "--seeds: 1 is named twice"),
        ("train --config {}/c --seeds 1", "--seeds: each seed is a job; add --cluster"),
        ("train --config {}/c --cluster local", "--cluster: trains a run of each seed"),
        ("train --config {0}/c --require-gate {0}/c --seeds 1 --cluster local", "vouches for one"),
    ],
)
def test_a_command_refuses_before_any_work(words, told, tmp_path, capsys):
    (tmp_path / "c").touch()
    assert main(words.format(tmp_path).split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error


def test_each_seed_is_trained_with_every_option_that_was_given(tmp_path):
    parser = CommandParser()
    train.add_parser(parser)
    options = {action.dest for action in parser._actions}
    own = {"help", "run", "seeds", "cluster", "jobs", "slurm"}
    refused, implied = {"require_gate", "accept_known_defects"}, {"resume"}
    handed = {"config": "--config", "fc2_root": "--fc2-root", "assignments": "--set",
              "epochs": "--epochs", "segment": "--segment"}  # fmt: skip
    assert options == own | refused | implied | handed.keys()
    given = ["--config", "c", "--fc2-root", "f", "--set", "runtime.seed=9", "--epochs", "2",
             "--segment", "s", "--seeds", "3", "5"]  # fmt: skip
    args = parser.parse_args(given)
    words = seeds._words(args, 5, tmp_path)
    again = parser.parse_args(words[1:])
    same = {"config", "fc2_root", "epochs", "segment"}
    assert {key: getattr(again, key) for key in same} == {key: getattr(args, key) for key in same}
    assert again.assignments == ["runtime.seed=9", "runtime.seed=5"]
    assert (again.run, again.resume, again.seeds, again.cluster) == (tmp_path, False, None, None)
    (tmp_path / "config.yaml").touch()
    assert parser.parse_args(seeds._words(args, 5, tmp_path)[1:]).resume


def test_submitit_knows_every_option():
    slurm = pytest.importorskip("submitit.slurm.slurm")
    known = inspect.signature(slurm._make_sbatch_string).parameters
    assert {name for name, _ in SLURM_OPTIONS.values()} <= known.keys()


STUBS = {
    "sbatch": """#!/bin/bash
# Runs the array at once: every task of the script, with what SLURM would tell it.
grep "^#SBATCH" "$1" >> sbatch.txt
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
number=$$; mkdir job-$number  # of its own: states are kept while a process lives
export SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1
export SLURM_JOB_NODELIST=here SLURM_JOB_ID=$number
for task in $(seq 0 "${last:-0}"); do
  ( [ -z "$last" ] || export SLURM_ARRAY_JOB_ID=$number SLURM_ARRAY_TASK_ID=$task
    id=$number${last:+_$task}
    bash "$1" > job-$number/log-$task 2>&1
    echo "$id|$([ $? = 0 ] && echo COMPLETED || echo FAILED)|here" > job-$number/state-$task
  ) > /dev/null 2>&1 &
done
echo "Submitted batch job $number"
""",
    "srun": """#!/bin/bash
while [[ "$1" == --* ]]; do
  for way in output error; do
    if [ "$1" = --$way ]; then
      name=${2//%A/${SLURM_ARRAY_JOB_ID-}}; name=${name//%a/${SLURM_ARRAY_TASK_ID-}}
      name=${name//%j/$SLURM_JOB_ID}; declare $way="${name//%t/0}"
    fi
  done
  [[ "$1" == *=* || "$1" == --unbuffered ]] || shift
  shift
done
exec > "$output" 2> "$error"
[ -z "${FAILS_ONCE-}" ] || mkdir failed 2>/dev/null && [ -n "${FAILS_ONCE-}" ] && exit 9
exec "$@"
""",
    "sacct": """#!/bin/bash
echo "JobID|State|NodeList"; cat job-*/state-* 2>/dev/null
exit 0
""",
    "scancel": """#!/bin/bash
echo "$@" >> scancel.txt
""",
}  # fmt: skip


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stub commands of SLURM, in whose place a job runs at once; and a folder to work in."""
    pytest.importorskip("submitit")
    (tmp_path / "bin").mkdir()
    for name, text in STUBS.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(jobs.__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(**words):
    return [
        Job(name, lambda words=words: words.split(), lambda: 0) for name, words in words.items()
    ]


@pytest.mark.slow
def test_slurm_is_given_one_array_with_every_option(slurm):
    cluster = asked_cluster(
        asked(cluster="slurm", slurm=["partition=a,b", "time=90", "gpus=1", "cpus=3", "account=me"])
    )
    given = commands(one="schema config", two="audit nowhere")
    ended = run_jobs(cluster, slurm / "jobs", given, at_once=2, stop=lambda: False)
    assert ended["one"] == Ended(0, 1)
    assert ended["two"].code == 2
    assert ended["two"].reason.startswith("harness audit: nowhere: no such ledger")
    lines = (slurm / "sbatch.txt").read_text().splitlines()
    for option in ("array=0-1%2", "partition=a,b", "time=90", "gpus-per-node=1",
                   "cpus-per-task=3", "account=me", "job-name=samebits"):  # fmt: skip
        assert lines.count(f"#SBATCH --{option}") == 1, lines


@pytest.mark.slow
def test_a_job_that_slurm_lost_is_submitted_again(slurm, monkeypatch, capsys):
    monkeypatch.setenv("FAILS_ONCE", "1")
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 1)
    cluster = asked_cluster(asked(cluster="slurm"))
    ended = run_jobs(cluster, slurm / "jobs", commands(one="schema config"), at_once=2,
                     stop=lambda: False)  # fmt: skip
    assert ended == {"one": Ended(0, 2)}
    assert "one: lost (" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stop_cancels_what_slurm_runs(slurm):
    (slurm / "bin" / "srun").write_text("#!/bin/bash\nexec sleep 5\n")
    asked_once = iter([False, True])
    with pytest.raises(JobsStoppedError):
        run_jobs(asked_cluster(asked(cluster="slurm")), slurm / "jobs", commands(a="schema config"),
                 at_once=1, stop=lambda: next(asked_once))  # fmt: skip
    assert (slurm / "scancel.txt").read_text().strip().isdigit()


@pytest.mark.slow
def test_jobs_that_slurm_refuses_are_one_line(slurm):
    (slurm / "bin" / "sbatch").write_text("#!/bin/bash\necho 'invalid partition' >&2; exit 1\n")
    with pytest.raises(InputError, match=r"^--cluster slurm: no job was taken: .*partition$"):
        run_jobs(asked_cluster(asked(cluster="slurm")), slurm / "jobs", commands(a="schema config"),
                 at_once=1, stop=lambda: False)  # fmt: skip
