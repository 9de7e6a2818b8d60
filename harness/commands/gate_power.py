"""``harness gate-power``: what a green gate of somebody's own system is worth."""

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.bars import bar, is_watched
from harness.commands.common import EXIT_BROKEN, EXIT_DONE, say, write_json
from harness.commands.parsing import CommandParser
from harness.commands.under_test import add_system_options, asked_system, gate_setting
from harness.config import Config
from harness.digest import digest_bytes, digest_strings
from harness.errors import InputError
from harness.faults.power_file import Planted, Power, differing, read_power
from harness.reporting.gate_power import planted_line, power_lines
from harness.systems.code import code_place, short_name
from harness.systems.spec import SystemSpec
from harness.wording import quoted

if TYPE_CHECKING:  # it imports TensorFlow, before which the environment must be applied
    from harness.faults.power import Setting

__all__ = ["add_parser", "run"]


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options; those of the gate have the same names there."""
    parser.add_argument(
        "--system", default="builtin", metavar="NAME",
        help="builtin (default), edgeflownas, MODULE:CLASS or FILE.py:CLASS",
    )  # fmt: skip
    add_system_options(parser)
    parser.add_argument(
        "--only", nargs="+", metavar="ID", default=[], help="plant these faults alone"
    )
    parser.add_argument("--list", action="store_true", help="list the faults, plant none")


def run(args: Namespace) -> int:
    """Plant faults; exit code 1 if the gate overlooks one, or notices none because none fits."""
    if args.list:
        return _list()
    _check_only(args.only)
    if args.json is not None and args.json.is_file():
        read_power(args.json)  # at once: what is there is gone on with
    spec, chosen = asked_system(args)
    with tempfile.TemporaryDirectory(prefix="samebits-") as name:
        config, note = gate_setting(chosen, Path(name))
        if not spec.foreign:
            from harness.environment import apply_environment

            apply_environment(config)  # before whatever imports TensorFlow
        asked = chosen.model_dump(mode="json", by_alias=True) if chosen and args.config else None
        power = _judge(args, spec, config, Path(name), note=note, asked=asked)
    for line in power_lines(power):
        say(line)
    return EXIT_DONE if power.noticed == power.plantable > 0 else EXIT_BROKEN


def _check_only(names: Sequence[str]) -> None:
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE

    unknown = [name for name in names if name not in FAULTS_ANYWHERE]
    if unknown:
        msg = f"--only: no fault {quoted(unknown[0])}; `harness gate-power --list` names them"
        raise InputError(msg)


def _list() -> int:
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE

    for kind in FAULTS_ANYWHERE.values():
        say(f"{kind.id:32} {', '.join(kind.expected)}")
        say(f"{'':32} {kind.citation}")
    return EXIT_DONE


def _judge(
    args: Namespace, spec: SystemSpec, config: Config, folder: Path, *, note: str,
    asked: Mapping[str, Any] | None,
) -> Power:  # fmt: skip
    """Return what the gate noticed, by this call and by those before it."""
    from harness.faults.anywhere.catalog import FAULTS_ANYWHERE
    from harness.faults.power import Setting, judge_clean, plant_all

    kinds = FAULTS_ANYWHERE
    names = tuple(args.only or kinds)
    power = _begun(args.json, Power(_asked(spec, config, note), faults=names))
    if not power.left:
        _tell(f"{args.json}: finished before; remove it to judge anew")
        return power
    with _system(spec, config) as (shared, tree):
        setting = Setting(spec, tree, folder / "faults", shared, asked=asked)
        setting.folder.mkdir()
        try:
            if not power.holds and not power.broken:
                _tell("judging the system as it is")
                power = judge_clean(setting, power)
                _keep(args.json, power)
            return _planted(args.json, setting, power, [kinds[name] for name in names], plant_all)
        finally:
            setting.second.close()


def _planted(path: Path | None, setting: "Setting", power: Power, kinds: Any, plant: Any) -> Power:
    with bar(len(power.left), "faults") as drawn:

        def on_result(now: Power, found: Planted) -> None:
            _keep(path, now)
            drawn.advance(1)
            if not is_watched():
                done = f"[{len(now.planted)}/{len(now.faults)}]"
                _tell(f"{done} {planted_line(found)} ({found.seconds:.1f} s)")

        done: Power = plant(setting, power, kinds, on_result=on_result)
    return done


def _asked(spec: SystemSpec, config: Config, note: str) -> dict[str, str]:
    """Return what is judged, by what a later call must ask for to go on."""
    tree = config.model_dump(mode="json", by_alias=True)
    tree["data"].pop("base_path")  # links, in another folder each time
    return {
        "system": short_name(spec),
        "code": _code_digest(code_place(spec)),
        "interpreter": spec.python,
        "configuration": digest_strings([json.dumps(tree, sort_keys=True)])[:16],
        "data": note,
        "version": __version__,
    }


def _code_digest(place: Path | None) -> str:
    """Return the digest of the Python files of a system's folder, or beside its file."""
    # Git says that code was changed, and not whether it was changed again since.
    if place is None:
        return "not known"
    found = sorted(place.rglob("*.py") if place.is_dir() else place.parent.glob("*.py"))
    return digest_strings([f"{path.name} {digest_bytes(path.read_bytes())}" for path in found])[:16]


def _begun(path: Path | None, new: Power) -> Power:
    """Return what an earlier call wrote of the same system; what is new where it wrote nothing."""
    if path is None or not path.exists():
        return new
    before = read_power(path, _tell)
    differences = differing(before.asked, new.asked)
    if differences:
        msg = (
            f"--json {path}: is of another system: {'; '.join(differences)}; name another file, "
            "or remove it"
        )
        raise InputError(msg)
    every = tuple(dict.fromkeys([*before.faults, *new.faults]))
    return replace(before, faults=every)


def _keep(path: Path | None, power: Power) -> None:
    write_json(path, power.as_dict())


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def _system(spec: SystemSpec, config: Config) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield what systems of this process share, and the configuration as the system has it."""
    if not spec.foreign:
        from harness.runs.session import CompiledCache

        yield CompiledCache(), config.model_dump(mode="json", by_alias=True)
        return
    from harness.promises.setting import fit_to_system
    from harness.systems.opening import system_factory
    from harness.systems.process import WorkerError
    from harness.systems.remote import Workers

    workers = Workers()
    try:
        description = system_factory(spec, workers)().describe()
        fitted = fit_to_system(config, description)
        yield workers, fitted.model_dump(mode="json", by_alias=True)
    except WorkerError as error:  # each promise would only say the same
        raise InputError(str(error)) from None
    finally:
        workers.close()
