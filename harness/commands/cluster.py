"""Options of commands that run as several jobs, and what of them is wrong before any work."""

import importlib.util
import re
import shutil
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.commands.parsing import CommandParser, add_number
from harness.errors import InputError
from harness.ranges import Range
from harness.wording import install, quoted

__all__ = ["SLURM_OPTIONS", "Cluster", "add_cluster_options", "asked_cluster"]

_TEXT = re.compile(r"[\w.,:/@%+*&|()\[\]=-]+", re.ASCII)
_MINUTES = Range(1, 60 * 24 * 366, "minutes")
_GPUS, _CPUS = Range(0, 64, "GPUs"), Range(1, 1024, "CPUs")
SLURM_OPTIONS: Mapping[str, tuple[str, Range | None]] = {
    "account": ("account", None), "comment": ("comment", None),
    "constraint": ("constraint", None), "cpus": ("cpus_per_task", _CPUS),
    "exclude": ("exclude", None), "gpus": ("gpus_per_node", _GPUS), "gres": ("gres", None),
    "mem": ("mem", None), "nodelist": ("nodelist", None), "partition": ("partition", None),
    "qos": ("qos", None), "time": ("time", _MINUTES),
}  # fmt: skip
"""By key: the parameter of submitit's SLURM executor, and its range where it is a number."""
_DAY = 24 * 60


@dataclass(frozen=True)
class Cluster:
    """Where jobs run.

    Attributes
    ----------
    kind : {"local", "slurm"}
        Processes of this machine, or jobs of SLURM.
    parameters : mapping of str to (int or str)
        Of submitit's executor; `time` in minutes.
    """

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def add_cluster_options(parser: CommandParser, jobs: str, most: int, what: str) -> None:
    """Declare ``--cluster``, ``--jobs`` and ``--slurm``.

    Parameters
    ----------
    jobs : str
        What ``--jobs`` counts, for the help.
    most : int
        Of them.
    what : str
        What is run as jobs, for the help.
    """
    parser.add_argument(
        "--cluster", choices=("local", "slurm"),
        help=f"{what} as jobs of SLURM, or as processes of this machine (needs "
        "submitit, the extra `cluster`)",
    )  # fmt: skip
    add_number(parser, "--jobs", Range(1, most, "jobs"), jobs, metavar="N")
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE",
        help=f"for each job, of {', '.join(SLURM_OPTIONS)}; time in minutes, default {_DAY}; may "
        "be repeated",
    )  # fmt: skip


def asked_cluster(args: Namespace) -> Cluster | None:
    """Return where jobs are to run, None where none was asked for.

    Raises
    ------
    InputError
        If options do not go together, or what they need is not there.
    """
    if args.cluster is None:
        for option, value in (("--jobs", args.jobs), ("--slurm", args.slurm)):
            if value not in (None, []):
                msg = f"{option}: says something of jobs; add --cluster slurm or --cluster local"
                raise InputError(msg)
        return None
    if args.cluster == "local" and args.slurm:
        msg = f"--slurm {args.slurm[0]}: is for --cluster slurm, found --cluster local"
        raise InputError(msg)
    parameters = dict(map(_parameter, args.slurm))
    if importlib.util.find_spec("submitit") is None:
        msg = f"--cluster: needs submitit, which is not installed: {install('cluster')}"
        raise InputError(msg)
    if args.cluster == "slurm":
        absent = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
        if absent:
            msg = f"--cluster slurm: no {absent[0]} on PATH; run it on a node that submits jobs"
            raise InputError(msg)
        parameters = {"time": _DAY, **parameters}
    return Cluster(args.cluster, parameters)


def _parameter(text: str) -> tuple[str, int | str]:
    key, _, value = text.partition("=")
    if key not in SLURM_OPTIONS:
        msg = f"--slurm {quoted(text)}: expected KEY=VALUE, KEY one of {', '.join(SLURM_OPTIONS)}"
        raise InputError(msg)
    name, within = SLURM_OPTIONS[key]
    if within is None:
        if not _TEXT.fullmatch(value):
            msg = f"--slurm {key}: expected one word, got {quoted(value)}"
            raise InputError(msg)
        return name, value
    try:
        return name, within(value)
    except InputError as error:
        raise InputError(f"--slurm {key}: {error}") from None
