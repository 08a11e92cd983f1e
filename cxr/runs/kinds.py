"""What kinds of runs there are: one line for each, as data, and the parameters that each one takes.

A kind names its job and its parameters as ``module:name``. The parameters' model is imported when a run is started or
its parameters are read, the job in the run's own process alone. Nothing else of a kind is known to ``cxr.runs``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxr.errors import CxrError, RunError, unknown, wrong_use
from cxr.json_types import JsonObject
from cxr.validation import one_line

if TYPE_CHECKING:
    from cxr.runs.folder import RunFolder


class Progress(Protocol):
    """What a job reports to: ``progress(fraction, message)``, the fraction from 0 to 1."""

    def __call__(self, fraction: float, message: str = "") -> None:
        """Report that ``fraction`` of the work is done."""


class Job(Protocol):
    """The function that does a run's work.

    It looks at ``folder.stop_requested()`` as often as it can end well, saves, and returns (or raises
    :class:`~cxr.runs.folder.Stopped`).
    """

    def __call__(self, folder: RunFolder, params: Any, *, progress: Progress) -> None:
        """Do the work of the run in ``folder``."""


class Params(BaseModel):
    """The parameters of a kind of run; its kinds derive from this. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, values: Any) -> Any:
        """Leave out what is None: pages and commands give it for what nobody chose, which means the default."""
        return {name: value for name, value in dict(values).items() if value is not None}

    @classmethod
    def of(cls, values: Mapping[str, Any] | Params) -> Self:
        """Return the parameters in plain values.

        Raises
        ------
        CxrError
            One line: the key, its value, and what would be accepted.
        """
        if isinstance(values, cls):
            return values
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _refusal(error, cls) from None

    def stored(self) -> JsonObject:
        """Return what ``spec.json`` keeps: the keys that were given, as JSON allows it."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    def default_name(self) -> str:
        """Return the name of a run that got none; "" takes the kind's."""
        return ""

    def manifest_hash(self) -> str:
        """Return ``Manifest.hash()`` of the data that the run works on, "" without any."""
        return ""

    def check(self) -> list[str]:
        """Raise the CxrError that the job would end with, as far as it can be known now; return warnings in words."""
        return []


_FORMS = {"device": "auto, cpu, cuda, cuda:0, cuda:1 and so on"}


def _refusal(error: ValidationError, model: type[BaseModel]) -> CxrError:
    for entry in error.errors(include_url=False):
        cause = entry.get("ctx", {}).get("error")
        if isinstance(cause, CxrError):
            return cause
    return RunError(one_line(error, model, _FORMS))


def _absolute(path: Path) -> Path:
    there = path.expanduser()
    return there.resolve() if path.parts and there.exists() else path


def _absolute_file(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if name and path.is_file() else name


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A path. What exists is made absolute, since a run's process starts in another folder."""

NameOrFile = Annotated[str, AfterValidator(_absolute_file)]
"""A name (of a run, of shipped weights) or a file, whose path is then made absolute."""

DeviceName = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
"""The device that a run asks for: auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True)
class Kind:
    """A kind of run.

    Attributes
    ----------
    name, title
        How it is called in ``spec.json`` and on the command line, and for people.
    job
        The function that does the work (:class:`Job`) as ``module:function``.
    params
        Its parameters (a subclass of :class:`Params`) as ``module:class``.
    resumes
        Whether a stopped run goes on from where it was; others restart from the beginning.
    device
        ``queued``: computes with a network and takes its turn on a GPU; ``none``: needs no turn.
    processor
        ``shared``: starts at once where it works on the processor; ``queued``: takes its turn there too.
    processes
        ``many``: as many processes as devices work together; ``one``: never more than one.
    device_in
        The parameter that holds ``device`` and ``devices``; "" if they are parameters themselves.
    shard
        The function (:class:`Job`) that does one shard of the work, as ``module:function``; "" works in one piece.
        It gets the folder of the shard (:mod:`cxr.runs.shards.folders`); the job takes what it wrote there.
    members
        The kinds of the runs that it starts, none for most. Each names it as ``started_by`` in its spec, or in its own
        parameter of this kind's name. The first one says what a cluster is asked for.
    """

    name: str
    title: str
    job: str
    params: str
    resumes: bool = False
    device: Literal["queued", "none"] = "none"
    processor: Literal["shared", "queued"] = "shared"
    processes: Literal["one", "many"] = "one"
    device_in: str = ""
    shard: str = ""
    members: tuple[str, ...] = ()

    def load_job(self) -> Job:
        """Import the function that does the work; for the run's own process."""
        job: Job = _load(self.job)
        return job

    def load_shard(self) -> Job:
        """Import the function that does one shard of the work; for the shard's own process."""
        shard: Job = _load(self.shard)
        return shard

    def params_model(self) -> type[Params]:
        """Import the model of the parameters."""
        model: type[Params] = _load(self.params)
        return model

    def requested_devices(self, params: Mapping[str, Any]) -> tuple[str, int]:
        """Return the device, and how many of them, that stored parameters ask for; imports nothing."""
        part = params.get(self.device_in) if self.device_in else params
        values = part if isinstance(part, Mapping) else {}
        n = values.get("devices") or 1
        return str(values.get("device") or "auto"), n if isinstance(n, int) else 1

    def with_devices(self, params: Mapping[str, Any], n: int) -> JsonObject:
        """Return stored parameters that ask for ``n`` devices."""
        if not self.device_in:
            return {**params, "devices": n}
        return {**params, self.device_in: {**params[self.device_in], "devices": n}}


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "train",
            "train a network by a recipe",
            job="cxr.training.job:train",
            params="cxr.training.settings:TrainingParams",
            resumes=True,
            device="queued",
            processor="queued",
            processes="many",
            device_in="recipe",
        ),
        Kind(
            "evaluate",
            "measure a trained network on splits of a manifest",
            job="cxr.evaluation.job:evaluate",
            params="cxr.evaluation.settings:EvaluationParams",
            device="queued",
            shard="cxr.evaluation.job:evaluate_shard",
        ),
        Kind(
            "evaluate-predictions",
            "measure a table of somebody else's predictions",
            job="cxr.evaluation.tables.job:evaluate_table",
            params="cxr.evaluation.tables.settings:PredictionsParams",
        ),
        Kind(
            "explain",
            "heatmaps of many images",
            job="cxr.explain.job:explain_run",
            params="cxr.explain.settings:ExplainParams",
            resumes=True,
            device="queued",
            shard="cxr.explain.job:explain_shard",
        ),
        Kind(
            "cluster-heatmaps",
            "groups of X-rays whose heatmaps are alike",
            job="cxr.experiments.clusters.job:run",
            params="cxr.experiments.clusters.settings:ClusterParams",
            resumes=True,
            device="queued",
        ),
        Kind(
            "text-experiment",
            "accuracy before and after masking burned-in text",
            job="cxr.experiments.masking.job:run",
            params="cxr.experiments.masking.settings:Setting",
            resumes=True,
            device="queued",
        ),
        Kind(
            "text-stamping",
            "predictions that move to a class when a token is stamped onto X-rays",
            job="cxr.experiments.stamping.job:run",
            params="cxr.experiments.stamping.settings:Setting",
            device="queued",
        ),
        Kind(
            "text-vocabulary",
            "which burned-in tokens a data set holds, by class",
            job="cxr.experiments.vocabulary.job:run",
            params="cxr.experiments.vocabulary.settings:VocabularyParams",
            resumes=True,
            shard="cxr.experiments.vocabulary.job:search_shard",
        ),
        Kind(
            "check-data",
            "which X-rays of a data set are not what they seem",
            job="cxr.experiments.appearance.job:run",
            params="cxr.experiments.appearance.settings:CheckParams",
            resumes=True,
            shard="cxr.experiments.appearance.job:check_shard",
        ),
        Kind(
            "audit-data",
            "what tells the classes of a data set apart without a look at the chest",
            job="cxr.experiments.data_audit.job:run",
            params="cxr.experiments.data_audit.settings:AuditParams",
            resumes=True,
            shard="cxr.experiments.data_audit.job:audit_shard",
        ),
        Kind(
            "probe-data",
            "what a simple classifier reads of a data set without the lungs",
            job="cxr.experiments.probes.job:run",
            params="cxr.experiments.probes.settings:ProbeParams",
            resumes=True,
            shard="cxr.experiments.probes.job:probe_shard",
        ),
        Kind(
            "find-duplicates",
            "which X-rays are in a data set more than once",
            job="cxr.experiments.duplicates.job:run",
            params="cxr.experiments.duplicates.settings:SearchParams",
            resumes=True,
        ),
        Kind(
            "relevance-regions",
            "which regions heatmaps lie in, and what removing each does",
            job="cxr.experiments.relevance.job:run",
            params="cxr.experiments.relevance.settings:RelevanceParams",
            resumes=True,
            device="queued",
        ),
        Kind(
            "import",
            "read a data set, split it and keep it under a name",
            job="cxr.data.jobs:run_import",
            params="cxr.data.settings:ImportParams",
        ),
        Kind("demo", "make synthetic X-rays", job="cxr.data.jobs:run_demo", params="cxr.data.settings:DemoParams"),
        Kind(
            "study",
            "several recipes x several seeds, one training after another",
            job="cxr.experiments.study.job:run_study",
            params="cxr.experiments.study.settings:StudyParams",
            resumes=True,
            members=("train",),
        ),
        Kind(
            "audit-network",
            "everything that is known about whether a network can be trusted",
            job="cxr.experiments.audit.job:run",
            params="cxr.experiments.audit.settings:NetworkAuditParams",
            resumes=True,
            members=(
                "evaluate",
                "text-experiment",
                "text-stamping",
                "audit-data",
                "check-data",
                "probe-data",
                "relevance-regions",
                "cluster-heatmaps",
            ),
        ),
    )
}
"""All kinds of runs by name."""


def kind_of(name: object) -> Kind:
    """Return the kind of this name.

    Raises
    ------
    RunError
        If there is none.
    """
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise wrong_use(RunError(unknown("kind of run", name, KINDS)))
    return kind
