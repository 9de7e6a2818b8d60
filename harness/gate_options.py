"""The gate's options: of pytest, of its ini file, and of ``harness gate``."""

__all__ = ["OPTIONS"]

OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("system", "NAME", "builtin",
     "what is tested: builtin, edgeflownas, MODULE:CLASS or FILE.py:CLASS"),
    ("system-root", "DIR", "", "folder of the system's own code, given to its class as root"),
    ("system-python", "EXE", "", "interpreter of the system's process; default: this one"),
    ("system-timeout", "SECONDS", "600", "time limit of each call of a system in its process"),
    ("system-memory", "MIB", "",
     "limit of that process's own memory; default: what the machine has"),
    ("config", "FILE", "", "the run's YAML configuration; default: the embedded one"),
    ("fc2-root", "DIR", "", "folder with train/ and val/; default: synthetic frames"),
    ("tier", "TIER", "quick", "how much is checked: smoke, quick, full or nightly"),
    ("gate-file", "FILE", "", "write the verdict as JSON, for `harness require-gate`"),
    ("pictures", "DIR", "",
     "write a page for each broken promise, expected beside found; default: none is written"),
)  # fmt: skip
"""Name, metavar, default and text of each option, which is an ini key too."""
