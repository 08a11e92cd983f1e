"""The parameters of a study's run: the plan, its recipes in full, and the data that all members share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from cxr.data.settings import OnManifest
from cxr.experiments.study.plan import Plan, load_plan
from cxr.training.settings import WholeRecipe

WholePlan = Annotated[Plan, BeforeValidator(load_plan), PlainSerializer(lambda plan: plan.to_dict())]


class StudyParams(OnManifest):
    """What a study is asked for.

    Attributes
    ----------
    recipes
        By their labels in the plan, with the plan's changes.
    manifest_sha256
        Of the manifest's file, which must stay the same while the members are trained.
    data_name
        What users call the data.
    """

    plan: WholePlan
    recipes: dict[str, WholeRecipe]
    manifest_sha256: str
    data_name: str = ""

    def default_name(self) -> str:
        """Return the run's name."""
        return self.plan.name
