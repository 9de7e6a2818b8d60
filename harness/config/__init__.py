"""The configuration: one frozen, validated tree that reads EdgeFlowNAS's YAML unchanged."""

from harness.config.files import (
    ConfigError,
    dump_config,
    field_kinds,
    load_config,
    parse_config,
    with_fc2_root,
    with_overrides,
)
from harness.config.tree import (
    CheckpointConfig,
    Config,
    DataConfig,
    DistillConfig,
    EvalConfig,
    GateConfig,
    Kind,
    ModelConfig,
    RuntimeConfig,
    TrainConfig,
    WatchConfig,
)

__all__ = [
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DistillConfig",
    "EvalConfig",
    "GateConfig",
    "Kind",
    "ModelConfig",
    "RuntimeConfig",
    "TrainConfig",
    "WatchConfig",
    "dump_config",
    "field_kinds",
    "load_config",
    "parse_config",
    "with_fc2_root",
    "with_overrides",
]
