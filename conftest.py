"""Options, fixtures and hooks for every test of the project."""

import os

# Loaded before TensorFlow, whose import takes seconds and reads these once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

pytest_plugins = [
    "harness.pytest_stub", "harness.short_options", "harness.pytest_plugin", "fixtures.frames",
    "fixtures.genuine",
]  # fmt: skip
