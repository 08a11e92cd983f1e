"""Clusters of heatmaps: ways in which the network decides that use something outside of the lungs."""

from __future__ import annotations

from collections import Counter

from cxr.evaluation.intervals import wilson
from cxr.evaluation.metrics import patients_of
from cxr.experiments.audit.context import Context, Progress
from cxr.experiments.audit.findings import Collected
from cxr.experiments.audit.parts.new_results import results_of
from cxr.experiments.audit.parts.of_one_run import OnSplit
from cxr.experiments.audit.requests import fitting
from cxr.experiments.clusters.limits import FEWEST_PATIENTS, TOO_FEW
from cxr.formatting import Estimate, patients, xrays
from cxr.json_types import JsonObject
from cxr.paths import runs_root

OUTSIDE = ("text", "border", "devices", "elsewhere")


class Clusters(OnSplit):
    """Clusters of heatmaps whose title names something outside of the lungs."""

    name = "clusters"
    kind, verb, page, names_run = "cluster-heatmaps", "clusters", "explorer", "clusters"

    def cannot(self, context: Context) -> str:
        """Return how few patients there are, of the split or, where a run has found that out, of every class."""
        manifest = context.subject.manifest
        assert manifest is not None  # it needs images
        rows = manifest.select(split=context.subject.manifest_split or None)
        n = len(set(patients_of(rows.table)))
        if n < FEWEST_PATIENTS:
            return f"the X-rays are of {patients(n)}, and clusters need {FEWEST_PATIENTS} or more of one class"
        (request,) = self.requests(context)
        run = fitting(request, context.root or runs_root())
        refused = fitting(request, context.root or runs_root(), ("failed",)) if run is None else None
        most = (refused.folder.read_json(TOO_FEW) or {}).get("most_patients") if refused is not None else None
        if most is None:
            return ""
        return f"no class is explained on X-rays of more than {patients(most)}, and clusters need {FEWEST_PATIENTS}"

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the clusters that use something outside of the lungs."""
        result, results = Collected(), results_of(context.runs[self.name])
        n = results.get("n_images"), results.get("n_patients")
        silent = []
        clusters = results.get("clusters") or []
        of_class = Counter(cluster.get("target") for cluster in clusters)
        for cluster in clusters:
            outside = cluster.get("region", "") in OUTSIDE and cluster.get("shown", True)
            found = outside and result.add(
                context.finding(
                    f"cluster:{cluster['number']}",
                    "cluster-outside",
                    str(cluster["sentence"]),
                    _share(cluster, n),
                    figure_name=f"share of patients in the cluster “{cluster['title']}”",
                    form="percent",
                    n=(cluster["size"], cluster["patients"]),
                    not_shown="That predictions hang on it: mask or stamp what the cluster shows.",
                    next_step="Look at the cluster, and mask what it shows.",
                    command=self.command(context),
                    link=self.link(context),
                    images=[str(i) for i in cluster.get("examples") or []],
                    at_most="note" if cluster["region"] == "elsewhere" else None,
                )
            )
            if not found and of_class[cluster.get("target")] > 1:  # else all maps of the class are alike
                silent.append(f"{cluster['title']} ({xrays(cluster['size'])})")
        if silent:
            result.looked.append(
                f"Clusters that are not shown to be about text, border or devices: {', '.join(silent)}."
            )
        if not (silent or result.findings):
            result.looked.append(f"The heatmaps form no clusters: {results.get('finding', '')}")
        return result


def _share(cluster: JsonObject, n: tuple[int | None, int | None]) -> Estimate:
    """Return the share of patients that have an X-ray in a cluster, by patients."""
    of = n[1] or n[0] or 0
    value = cluster["patients"] if n[1] else cluster["size"]
    limits = wilson(min(value, of), of)
    if not of or limits is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value / of, "low": limits[0], "high": limits[1]}
