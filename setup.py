"""Which packages the wheel holds: those of `cxr`, and the pages and the demo weights, which stand beside it."""

from __future__ import annotations

from setuptools import find_namespace_packages, find_packages, setup

# `cxr.paths` finds both in the package where it is installed, and beside it in a checkout.
pages = ["cxr.dashboard", *(f"cxr.dashboard.{name}" for name in find_namespace_packages("dashboard"))]

setup(
    packages=[*find_packages(include=["cxr", "cxr.*"]), *pages, "cxr.weights"],
    package_dir={"cxr.dashboard": "dashboard", "cxr.weights": "weights"},
)
