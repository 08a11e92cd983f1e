"""``python -m cxr`` is the command ``cxr``."""

from cxr.cli import main

main()
