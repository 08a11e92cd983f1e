"""``python -m cxr`` is the command ``cxr``."""

from __future__ import annotations

import sys

from cxr.errors import unsupported_system


def main() -> None:
    """Run the command line; on a system where it cannot work, say so before anything of that system is missed."""
    if problem := unsupported_system():
        sys.exit(f"error: {problem}")
    from cxr.cli import main as run

    run()


if __name__ == "__main__":
    main()
