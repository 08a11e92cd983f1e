"""Write the names of the installed timm's convolutional classifiers to ``cxr/models/backbones.txt``.

    python tools/list_backbones.py

So that a recipe can be checked without loading timm, which takes seconds. Run it whenever timm is renewed.
"""

from __future__ import annotations

from cxr.models.backbones import NAMES, installed_backbones


def main() -> None:
    """Write the list and say how many names it has."""
    names = installed_backbones()
    NAMES.write_text("\n".join(names) + "\n", encoding="utf-8")
    print(f"{NAMES}: {len(names)} names")


if __name__ == "__main__":
    main()
