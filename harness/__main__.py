"""``python -m harness``, and the command of the same name."""

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Run one command and return its exit code; an interrupt while it is loaded is a line too."""
    try:
        from harness.cli import main as run

        return run()
    except KeyboardInterrupt:
        os.write(2, b"harness: interrupted before it began; give the same command again\n")
        return 75


if __name__ == "__main__":
    sys.exit(main())
