"""``harness init-adapter``: a commented adapter to start from, which runs as it stands."""

from argparse import Namespace
from importlib.resources import files
from keyword import iskeyword

from harness.commands.common import EXIT_DONE, say, write_json
from harness.commands.interrupts import command_line
from harness.commands.parsing import CommandParser
from harness.commands.paths import PathKind
from harness.errors import InputError
from harness.whole import whole_file

__all__ = ["KINDS", "add_parser", "run", "template"]

KINDS = {
    "numpy": "of anything, with NumPy alone (the default)",
    "torch": "of a trainer in PyTorch, on harness.torch_system",
    "lightning": "of a LightningModule with its DataModule, on harness.lightning_system",
    "tensorflow": "of a Keras model with fit, on harness.keras_system",
}
"""What a template is of, by the option that asks for it."""

_NEEDS = {"torch": "PyTorch", "lightning": "Lightning", "tensorflow": "TensorFlow"}


def add_parser(parser: CommandParser) -> None:
    """Declare the command's options."""
    chosen = parser.add_mutually_exclusive_group()
    for kind, text in KINDS.items():
        chosen.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=kind, default="numpy", help=text
        )
    parser.add_path("out", kind=PathKind.ADDED, metavar="OUT", help="such as adapter.py")


def run(args: Namespace) -> int:
    """Write the template, unless something else has its name."""
    name = args.out.name
    stem = args.out.stem
    if args.out.suffix != ".py" or not stem.isidentifier() or iskeyword(stem):
        msg = f"OUT {args.out}: expected a name that Python can import, such as adapter.py"
        raise InputError(msg)
    text = template(args.kind).replace("adapter.py", name)
    with whole_file(args.out, new=True) as file:
        file.write(text.encode())
    needs = _NEEDS.get(args.kind)
    where = f" in a Python that has {needs} (--system-python EXE names another)" if needs else ""
    say(f"wrote {args.out}; it runs as it stands{where}:")
    system = f"{args.out}:MyTrainer"
    for words in (["check-adapter", system], ["gate", "--system", system]):
        say(f"  {command_line(words)}")
    write_json(args.json, {"wrote": str(args.out), "kind": args.kind})
    return EXIT_DONE


def template(kind: str) -> str:
    """Return the text of a template, of one of :data:`KINDS`."""
    place = files("harness").joinpath("templates", f"{kind}.py.txt")
    return place.read_text(encoding="utf-8")
