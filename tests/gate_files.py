"""Gate files as a green gate writes them, for the embedded configuration."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config import dump_config, load_config
from harness.environment import apply_environment
from harness.promises.registry import declarations_digest
from harness.promises.setting import embedded_config
from harness.require_gate import FORMAT, seal_of
from harness.runs.identity import gate_values


@pytest.fixture(scope="module")
def config_file(embedded_frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(dump_config(embedded_config(embedded_frames)))
    return path


def write_gate(file: Path, gate: dict[str, Any]) -> None:
    """Write a gate file as the gate does, sealed."""
    file.write_text(json.dumps({**gate, "seal": seal_of(gate)}))


def green_gate(config_file: Path) -> dict[str, Any]:
    """Return a gate file that is green for a configuration."""
    config = load_config(config_file)
    return {
        "format": FORMAT, "verdict": "green", "system": "builtin", "version": "0.1",
        "tier": "quick", "relations": {"metric-oracle": {"verdict": "holds"}},
        "digests": {"declarations": declarations_digest()}, "known_defects": {},
        "required": [], "due": ["metric-oracle"],
        "configuration": gate_values(config), "environment": apply_environment(config).as_dict(),
    }  # fmt: skip
