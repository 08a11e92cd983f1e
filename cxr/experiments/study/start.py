"""Start a study, after everything that can be known to fail has been checked for all of its members."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.errors import CxrError, ManifestError, RecipeError, wrong_use
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.settings import StudyParams
from cxr.runs import Run, Slurm, start
from cxr.runs.kinds import kind_of

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.training.recipe import Recipe


@dataclass(frozen=True)
class Checked:
    """What a study needs besides its plan: recipes with its changes, the manifest's file, the data's name."""

    recipes: dict[str, Recipe]
    manifest: Path
    data_name: str


def start_study(
    plan: Plan, data: str | None = None, *, root: str | Path | None = None, where: Slurm | None = None
) -> Run:
    """Check all members, then start the study in a process of its own and return its run.

    Parameters
    ----------
    data
        A data set's name or a manifest; None takes the plan's own.
    where
        None: the members are trained on this machine, ``plan.parallel`` at a time. ``cxr.runs.Slurm(...)``: they are
        submitted to a cluster as one job array; the study's own process, which only waits for them, works here.

    Raises
    ------
    CxrError
        For a recipe, a manifest or weights that cannot be used, or that does not fit what Slurm is asked for; nothing
        was started.
    """
    checked = check(plan, data, where)
    params = StudyParams(
        plan=plan,
        recipes=checked.recipes,
        manifest=checked.manifest,
        manifest_sha256=file_hash(checked.manifest),
        data_name=checked.data_name,
    )
    return start("study", params, root=root, where=where)


def check(plan: Plan, data: str | None = None, where: Slurm | None = None) -> Checked:
    """Return what the members need, or raise the first CxrError that one of them would end with.

    On a cluster the devices are those of the job: of them is checked how many they are, not that they are here.
    """
    from cxr.data import Manifest
    from cxr.data.library import resolve_manifest
    from cxr.networks import resolve_device
    from cxr.training.recipe import load_recipe

    data_ref = data or plan.data
    if not data_ref:
        needed = "Give --data, or `data` in the study: a data set's name or a manifest"
        raise wrong_use(RecipeError(f"data: missing. {needed}"))
    path = resolve_manifest(data_ref)
    manifest = Manifest.load(path)
    manifest.check_splits()
    recipes: dict[str, Recipe] = {}
    seen: set[str] = set()
    for label, entry in plan.recipes.items():
        with _about(label):
            recipe = load_recipe(entry.recipe).changed({**plan.changes, **entry.changes})
            if where is None:
                resolve_device(recipe.device, recipe.devices)
            else:
                where.tasks(kind_of("train"), {"recipe": recipe.model_dump(mode="json")})
            _check_recipe(recipe, manifest, seen)
        recipes[label] = recipe
    return Checked(recipes, path, data_ref)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file: what a study compares before each start, without reading the table."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ManifestError(f"the manifest {path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _about(label: str) -> Iterator[None]:
    """Put the recipe's label before an error about it."""
    try:
        yield
    except CxrError as error:
        raise type(error)(f"recipes.{label}: {error}") from None


def _check_recipe(recipe: Recipe, manifest: Manifest, seen: set[str]) -> None:
    from cxr.training import check as check_data
    from cxr.training import check_weights

    check_data(recipe, manifest)
    network = f"{recipe.backbone} {recipe.weights} {recipe.channels} {recipe.backbone_args}"
    if network not in seen:
        check_weights(recipe)
    seen.add(network)
