"""The gate's options under short names, where no other plugin can claim them."""

import pytest

from harness.gate_options import OPTIONS

__all__ = ["pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--system`` for ``--samebits-system``, and so on."""
    group = parser.getgroup("samebits", "samebits: invariants of supernet training")
    for name, metavar, default, text in OPTIONS:
        shown = f" (default: {default})" if default else ""
        dest = f"samebits_{name.replace('-', '_')}"
        group.addoption(f"--{name}", dest=dest, metavar=metavar, help=text + shown)
    group.addoption(
        "--promise", dest="samebits_promise", metavar="ID", action="append",
        help="ask these promises alone, and give a verdict on them",
    )  # fmt: skip
