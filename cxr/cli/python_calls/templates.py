"""The Python lines of commands that start no run, by the command's path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr.data import Manifest


class Values:
    """The values of a command's parameters, as Python writes them; ``read`` reads the manifest of a data set."""

    def __init__(self, params: Mapping[str, Any], read: Callable[[str], Manifest] | None = None) -> None:
        self.params = params
        self.read = read

    def __getitem__(self, name: str) -> str:
        value = self.params[name]
        if isinstance(value, Path):
            return repr(str(value))
        return repr(list(value)) if isinstance(value, tuple) else repr(value)

    def given(self, name: str) -> Any:
        """Return a parameter's value, None where it is empty or not there."""
        return self.params.get(name) or None

    def options(self, *names: str) -> str:
        """Return ``, name=value`` for each parameter that has a value."""
        return "".join(f", {name}={self[name]}" for name in names if self.given(name) is not None)


def _explain(values: Values) -> list[str]:
    """Return the lines for one X-ray; none for a whole split, which is a run."""
    if values.given("image") is None:
        return []
    file = _file_of(values)
    composite = f", composite={values['composite']}" + values.options("bias", "precision")
    options = "".join(f", {name}={value!r}" for name, value in _numbers(values.given("option")).items())
    target = values.given("target")
    classes = "list(network.classes)" if target == "all" else repr(target) if target else "network.classes[k]"
    predicted = [] if target else ["k = int(network(picture[None]).argmax())  # the predicted class"]
    return [
        "import cxr.explain",
        "from cxr.data import read_xray",
        "from cxr.data.images.resize import fit_square",
        "from cxr.networks import load_network",
        "",
        f"network, description = load_network({values['model']})",
        f"picture = fit_square(read_xray({file!r}), network.card.size)",
        *predicted,
        f"result = cxr.explain.explain(network, picture[None], [{classes}]{composite}{options})",
        "print(result.logits, result.relevance.shape)",
    ]


def _numbers(option: list[str] | None) -> Mapping[str, object]:
    from cxr.cli.explaining import numbers

    return numbers(option)


def _file_of(values: Values) -> str:
    from cxr.cli.explaining import image_path

    return str(image_path(values.params["model"], values.params["image"], values.params["data"], values.read))


def _text_mask(values: Values) -> list[str]:
    data = "None" if values.given("data") is None else values["data"]
    more = ", ".join(values[name] for name in ("mode", "margin", "device"))
    return [
        "from cxr.cli.text_of_one import mask_one",
        "",
        f"masked = mask_one({values['model']}, {values['image']}, {data}, {more})",
        'print(masked["classes"])',
    ]


def _train(values: Values) -> list[str]:
    """Return the lines that train; none for a plan alone, which starts nothing."""
    if values.given("plan"):
        return []
    changes = values.given("changes") or ()
    changed = f".changed({_yaml(changes)!r})" if changes else ""
    where = values.given("slurm")
    place = f", where=cxr.runs.Slurm.parse({where.option()!r})" if where is not None else ""
    name = f", name={values['name']}" if values.given("name") else ""
    return [
        "import cxr",
        "",
        f'recipe = cxr.training.load_recipe({values["recipe"]}){changed}.model_dump(mode="json")',
        f'params = {{"recipe": recipe, "manifest": {values["data"]}, "data_name": {values["data"]}}}',
        f'run = cxr.runs.start("train", params{name}{place}, detached=False)',
        'print(run.status()["message"])',
    ]


def _yaml(changes: Sequence[str]) -> dict[str, object]:
    import yaml

    return {name: yaml.safe_load(text) for name, _, text in (change.partition("=") for change in changes)}


def _study(values: Values) -> list[str]:
    where = values.given("slurm")
    place = f", where=cxr.runs.Slurm.parse({where.option()!r})" if where is not None else ""
    return [
        *(["import cxr.runs"] if place else []),
        "from cxr.experiments.study import load_plan, start_study",
        "",
        f"study = start_study(load_plan({values['study']}), {values['data']}{place})",
        'print(study.wait()["state"])',
    ]


def _study_report(values: Values) -> list[str]:
    named = {"first_epochs": values.given("first"), "accuracy": values.given("accuracy")}
    options = "".join(f", {name}={list(levels)!r}" for name, levels in named.items() if levels)
    report = f"report(get_run({values['study']}){options})"
    if values.given("out") is None:
        return [
            "from cxr.experiments.study.comparison import report",
            "from cxr.runs import get_run",
            "",
            f"for sentence in {report}.sentences:",
            "    print(sentence)",
        ]
    return [
        "from pathlib import Path",
        "",
        "from cxr.experiments.study.comparison import report",
        "from cxr.reports.study import write",
        "from cxr.runs import get_run",
        "",
        f"write({report}, Path({values['out']}).expanduser())",
    ]


def _of_a_run(module: str, function: str, arguments: Callable[[Values], str], result: str = "") -> Template:
    """Return the template of a function that takes a run first, and where ``result`` is printed what it returns."""

    def lines(values: Values) -> list[str]:
        call = f"{function}(get_run({values['run']}){arguments(values)})"
        last = f"print({call}{result})" if result else call
        return [f"from {module} import {function}", "from cxr.runs import get_run", "", last]

    return lines


def _text_report(values: Values) -> list[str]:
    choices = ", ".join(f"{name}={values[name]}" for name in ("with_images", "with_ids") if values.given(name))
    privacy = f", Privacy({choices})" if choices else ""
    return [
        "from pathlib import Path",
        "",
        *(["from cxr.reports.identities import Privacy"] if choices else []),
        "from cxr.reports.masking import write",
        "from cxr.runs import get_run",
        "",
        f"write(get_run({values['run']}), Path({values['out']}){privacy})",
    ]


def _checklist(values: Values) -> list[str]:
    names = f", {list(values.params['which'])!r}" if values.given("which") else ""
    if values.given("out") is None:
        return _of_a_run("cxr.reports.checklist", "fill", lambda _: names, '["finding"]')(values)
    written = _of_a_run("cxr.reports.checklist", "write", lambda _: f", Path({values['out']}){names}")
    return ["from pathlib import Path", "", *written(values)]


def _report(values: Values) -> list[str]:
    if values.params["out"].suffix.lower() == ".ipynb":
        chosen = "".join(f", {name}={values[param]}" for param, name in (("split", "split"), ("finding", "number")))
        return [
            "from pathlib import Path",
            "",
            "from cxr.reports.notebooks import finding_of, write",
            "from cxr.runs import get_run",
            "",
            f"write(finding_of(get_run({values['run']}){chosen}), Path({values['out']}))",
        ]
    given = [("heatmaps", "heatmaps"), ("image", "images"), ("with_images", "with_images"), ("with_ids", "with_ids")]
    choices = [f"{name}={values[param]}" for param, name in [*given, ("split", "split")] if values.given(param)]
    if values.given("heatmaps") or values.given("image"):
        choices.append(f"composite={values['composite']}")
    return [
        "from pathlib import Path",
        "",
        "from cxr.reports.run import Choices, write",
        "from cxr.runs import get_run",
        "",
        f"write(get_run({values['run']}), Path({values['out']}), Choices({', '.join(choices)}))",
    ]


def _compare(values: Values) -> list[str]:
    return [
        "from cxr.evaluation.comparison import compare",
        "from cxr.runs import get_run",
        "",
        f"comparison = compare([get_run(run) for run in {values['runs']}], {values['split']})",
        'for difference in comparison["differences"]:',
        '    print(difference["sentence"])',
    ]


def _runs_show(values: Values) -> list[str]:
    return [
        "from cxr.runs import get_run",
        "",
        f"run = get_run({values['run']})",
        "print(run.status())",
        "print(run.results())",
    ]


def _data_show(values: Values) -> list[str]:
    return [
        *_manifest(values, "data"),
        'print(manifest.table.groupby(["label", "split", "source"]).size())',
    ]


def _manifest(values: Values, name: str) -> Iterator[str]:
    yield "from cxr.data import Manifest"
    yield "from cxr.data.library import resolve_manifest"
    yield ""
    yield f"manifest = Manifest.load(resolve_manifest({values[name]}))"


def _data_split(values: Values) -> list[str]:
    from cxr.cli.data import _fractions

    fractions = _fractions(values.given("fraction"))
    shares = f", fractions={fractions!r}" if fractions else ""
    more = values.options("name", "keep")
    return [
        "from cxr.data.jobs import split_data_set",
        "",
        f"divided = split_data_set({values['data']}{shares}, seed={values['seed']}{more})",
        'print(divided.manifest.table.value_counts("split"))',
    ]


def _data_export(values: Values) -> list[str]:
    if values.given("croissant") is not None:
        module = "from cxr.reports.exports.croissant import write"
        first, *rest = _manifest(values, "data")
        written = f"write(manifest, Path({values['croissant']}))"
        return ["from pathlib import Path", "", first, *rest[:1], module, *rest[1:], written]
    return [
        "from pathlib import Path",
        "",
        "from cxr.data.exporting import export_data_set",
        "",
        f"export_data_set({values['data']}, Path({values['out']}){values.options('images')})",
    ]


def _data_openings(values: Values) -> list[str]:
    return [
        "from cxr.data import Manifest",
        "from cxr.data.library import resolve_manifest",
        "from cxr.data.openings import held_out_ids, in_words, openings_of",
        "",
        f"manifest = Manifest.load(resolve_manifest({values['data']}))",
        "groups = held_out_ids(manifest, manifest.ids)",
        f"for split in {list(values.params['split']) if values.given('split') else 'groups'}:",
        "    print(in_words(openings_of(manifest, groups[split], split)))",
    ]


def _data_guess(values: Values) -> list[str]:
    return [
        "from cxr.data.importers.guessing import guess",
        "",
        f"for made in guess({values['path']}).guesses:",
        "    print(made.kind, made.path, made.n, made.reason)",
    ]


def _data_check(values: Values) -> list[str]:
    """Return the lines that also write flags or what is left; none for a check alone, which is a run."""
    flags, rest = values.given("out") is not None, values.given("without") is not None
    if not (flags or rest):
        return []
    more = f", shards={values['shards']}" if values.params["shards"] > 1 else ""
    lines = [
        *(["import shutil", ""] if flags else []),
        "import cxr",
        *(["from cxr.experiments.appearance.job import TABLE"] if flags else []),
        *(["from cxr.experiments.appearance.results import check_results, remaining"] if rest else []),
        *(["from cxr.text.search import images_of"] if rest else []),
        "",
        f'params = {{"manifest": {values["data"]}, "split": {values["split"]}}}',
        f'run = cxr.runs.start("check-data", params{more}, detached=False)',
    ]
    if flags:
        lines.append(f"shutil.copy(run.folder.path / TABLE, {values['out']})")
    if rest:
        kinds = f", {list(values.params['kind'])!r}" if values.given("kind") else ""
        lines.append(f"manifest = images_of({values['data']}, {values['split']})")
        lines.append(f"remaining(check_results(run), manifest{kinds}).save({values['without']})")
    return lines


def _clusters(values: Values) -> list[str]:
    """Return the lines for a cluster of a run; none for a network, whose clusters a run looks for."""
    if values.given("name") is not None:
        number, title = values.params["name"]
        named = _of_a_run("cxr.experiments.clusters.names", "name_cluster", lambda _: f", {number}, {title!r}")
        return named(values)
    number = values.given("measure")
    if number is not None:
        return [
            "from cxr.experiments.clusters.region.measure import measure_cluster",
            "from cxr.experiments.clusters.results import params_of",
            "from cxr.networks import load_network",
            "from cxr.runs import get_run",
            "",
            f"run = get_run({values['run']})",
            "network, description = load_network(params_of(run).network)",
            f'print(measure_cluster(run, {number}, network, {values["mode"]})["sentence"])',
        ]
    if values.given("export_mask") is None:
        return []
    return [
        "from pathlib import Path",
        "",
        "from cxr.experiments.clusters.region.export import export_mask",
        "from cxr.runs import get_run",
        "",
        f"export_mask(get_run({values['run']}), {values['export_mask']}, Path({values['out']}), {values['with_text']})",
    ]


def _weights_export(values: Values) -> list[str]:
    return [
        "from cxr.models.export import export",
        "from cxr.networks import load_network, seen_by",
        "",
        f"name = {values['network']}",
        "network, description = load_network(name)",
        f"export(network, {values['out']}, {values['format']}{values.options('force')}, seen=seen_by(name))",
    ]


def _weights_import(values: Values) -> list[str]:
    known = ("task", "size", "mean", "std", "channels", "name", "licence", "origin")
    names = values.given("classes")
    classes = f", classes={tuple(filter(None, map(str.strip, names.split(','))))!r}" if names else ""
    return [
        "from cxr.models.imports.conversion import import_weights, look_at",
        "",
        f"candidate = look_at({values['file']}{values.options('backbone')})",
        f"path, network = import_weights(candidate{values.options('out', 'force')}{classes}{values.options(*known)})",
        "print(path)",
    ]


Template = Callable[[Values], list[str]]

TEMPLATES: Mapping[tuple[str, ...], Template] = {
    ("explain",): _explain,
    ("text", "mask"): _text_mask,
    ("train",): _train,
    ("study", "run"): _study,
    ("study", "report"): _study_report,
    ("text", "report"): _text_report,
    ("checklist",): _checklist,
    ("slices",): _of_a_run(
        "cxr.evaluation.slices",
        "slices_of",
        lambda values: (
            f", {list(values.given('by') or ())!r}, {list(values.given('split') or ())!r}, pairs={values['pairs']}"
        ),
        '["conclusions"]',
    ),
    ("report",): _report,
    ("compare",): _compare,
    ("runs", "show"): _runs_show,
    ("data", "show"): _data_show,
    ("data", "split"): _data_split,
    ("data", "export"): _data_export,
    ("data", "openings"): _data_openings,
    ("data", "guess"): _data_guess,
    ("data", "check"): _data_check,
    ("clusters",): _clusters,
    ("weights", "export"): _weights_export,
    ("weights", "import"): _weights_import,
}
"""Lines of a command by its path; none where the command starts a run."""
