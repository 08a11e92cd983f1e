"""Which packages the wheel holds: those of `cxr`, and the pages, their glossary and the demo weights from beside it."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup
from setuptools.command.build_py import build_py

# `cxr.paths` finds them in the package where it is installed, and beside it in a checkout.
pages = ["cxr.dashboard", *(f"cxr.dashboard.{name}" for name in find_namespace_packages("dashboard"))]


class BuildWithGlossary(build_py):
    """Also copies docs/glossary.md, which the dashboard shows; docs/ itself is no package."""

    def run(self) -> None:
        """Build as ever, then copy the page."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "cxr" / "dashboard"
            self.mkpath(str(target))
            self.copy_file("docs/glossary.md", str(target / "glossary.md"))


setup(
    cmdclass={"build_py": BuildWithGlossary},
    packages=[*find_packages(include=["cxr", "cxr.*"]), *pages, "cxr.weights"],
    package_dir={"cxr.dashboard": "dashboard", "cxr.weights": "weights"},
)
