"""A run in the files of TensorBoard and in MLflow: read back by these programs, it holds what the run holds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs_made as made
from configurations import CONFIGURATIONS, Configuration, write_network, write_xrays

from cxr.errors import MissingPackageError, RunError
from cxr.reports.exports.mlflow import to_mlflow
from cxr.reports.exports.tensorboard import to_tensorboard
from cxr.reports.exports.tracked import plain_name, tracked
from cxr.runs import Run
from tests.audits.finished import finished


@pytest.fixture
def trained(tmp_path) -> Run:
    manifest = write_xrays(tmp_path / "xrays", CONFIGURATIONS[0], n=18)
    table = manifest.read_text().splitlines()
    rows = [line.replace(",test,", f",{('train', 'val', 'test')[k // 6]},") for k, line in enumerate(table[1:])]
    manifest.write_text("\n".join([table[0], *rows]))
    return made.trained(manifest, epochs=2, batch=3)


def test_what_is_told_of_a_training_is_what_its_folder_holds(trained) -> None:
    content, (rows, _) = tracked(trained), trained.metrics()
    assert content.settings["stages.0.batch"] == "3"
    told = [(point.step, pytest.approx(point.value)) for point in content.points if point.name == "loss/training"]
    assert told == [(row["step"], row["loss"]) for row in rows if row["kind"] == "step"]
    accuracy = trained.results()["splits"]["test"]["accuracy"]
    assert content.figures["test/accuracy"] == accuracy["value"]
    assert content.figures["test/accuracy_high"] == accuracy["high"]
    assert content.files[-1].suffix == ".safetensors"
    assert "Loss_of_the_training" in content.drawings


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[3]], ids=str)
def test_an_evaluation_has_figures_by_class_and_no_curves(tmp_path, configuration: Configuration) -> None:
    network = write_network(configuration, tmp_path / "net.safetensors")
    manifest = write_xrays(tmp_path / "xrays", configuration, n=16)
    run = finished("evaluate", {"weights": str(network), "manifest": str(manifest)})
    content = tracked(run)
    assert not content.points
    name = configuration.classes[0]
    assert content.figures[f"test/{name}/auc"] == run.results()["splits"]["test"]["per_class"][name]["auc"]["value"]


def test_tensorboard_reads_the_curves_again(trained, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # a second export takes the place of the first
        folder = to_tensorboard(trained, tmp_path / "tb")
    assert folder == tmp_path / "tb" / trained.id
    events = EventAccumulator(str(folder)).Reload()
    rows = [row for row in trained.metrics()[0] if row["kind"] == "step"]
    assert [event.step for event in events.Scalars("loss/training")] == [row["step"] for row in rows]
    assert [event.value for event in events.Scalars("loss/training")] == pytest.approx([row["loss"] for row in rows])
    accuracy = trained.results()["splits"]["test"]["accuracy"]["value"]
    assert events.Scalars("figures/test/accuracy")[0].value == pytest.approx(accuracy)
    assert "Loss_of_the_training" in events.Tags()["images"]
    (folder / "other.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds other\.txt"):
        to_tensorboard(trained, tmp_path / "tb")


def test_mlflow_reads_the_run_again(trained, tmp_path, monkeypatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    made = to_mlflow(trained, uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(made)
    assert run.data.params["stages.0.batch"] == "3"
    assert run.data.tags["cxr.run"] == trained.id
    assert run.data.metrics["test/accuracy"] == trained.results()["splits"]["test"]["accuracy"]["value"]
    assert len(client.get_metric_history(made, "loss/training")) == len(
        [row for row in trained.metrics()[0] if row["kind"] == "step"]
    )
    (model,) = client.list_artifacts(made, "model")
    assert model.path.endswith(".safetensors")
    assert client.list_artifacts(made, "figures")
    with pytest.raises(RunError, match=rf"is in MLflow at .* already, as {made}"):
        to_mlflow(trained, uri)


OF_NO_TEST = """
import socket, sys
asked, resolve = [], socket.getaddrinfo
socket.getaddrinfo = lambda host, *others, **more: asked.append(host) or resolve(host, *others, **more)
from cxr.reports.exports.mlflow import to_mlflow
from cxr.runs import Run
to_mlflow(Run(sys.argv[1]), sys.argv[2])
from mlflow.telemetry.utils import is_telemetry_disabled
print(asked, is_telemetry_disabled())
"""


def test_mlflow_tells_its_makers_nothing(trained, tmp_path) -> None:
    """In a process that it cannot take for a test or for continuous integration, where it is silent by itself."""
    unlike = {"DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI"}
    environment = {name: value for name, value in os.environ.items() if name not in unlike}
    done = subprocess.run(
        [sys.executable, "-c", OF_NO_TEST, trained.folder.path, (tmp_path / "mlruns").as_uri()],
        env=environment | {"MLFLOW_ALLOW_FILE_STORE": "true"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "[] True\n"), done.stderr


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of MLflow that keeps runs in a database and files in a folder of its own."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    place = (
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    )
    words = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *place,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    uri, log = f"http://127.0.0.1:{port}", (tmp_path / "server.log").open("wb")
    with (
        log,
        subprocess.Popen(
            words,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as server,
    ):
        try:
            deadline = time.monotonic() + 240
            while not _answers(f"{uri}/health"):
                assert server.poll() is None, (tmp_path / "server.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
            yield uri
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_a_server_of_mlflow_holds_the_run_with_its_files(trained, mlflow_server: str, tmp_path: Path, cxr) -> None:
    import mlflow

    code, out, error = cxr("runs", "export", trained.id, "--mlflow", mlflow_server, "--json")
    assert code == 0, error
    made_there = json.loads(out)["mlflow"]
    client = mlflow.MlflowClient(tracking_uri=mlflow_server)
    run = client.get_run(made_there)
    assert run.info.status == "FINISHED"
    assert run.data.params["stages.0.batch"] == "3"
    assert run.data.metrics["test/accuracy"] == trained.results()["splits"]["test"]["accuracy"]["value"]
    (model,) = client.list_artifacts(made_there, "model")
    fetched = Path(client.download_artifacts(made_there, model.path, str(tmp_path)))
    assert fetched.read_bytes() == tracked(trained).files[-1].read_bytes()
    assert {Path(entry.path).suffix for entry in client.list_artifacts(made_there, "figures")} == {".png"}
    with pytest.raises(RunError, match="already"):
        to_mlflow(trained, mlflow_server)


def test_a_server_of_mlflow_that_does_not_answer_is_told_in_one_line(trained, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    with pytest.raises(RunError, match=rf"MLflow at http://127\.0\.0\.1:{port}: ") as error:
        to_mlflow(trained, f"http://127.0.0.1:{port}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("package", "write"), [("tensorboard", to_tensorboard), ("mlflow", to_mlflow)])
def test_a_package_that_is_missing_is_named_with_its_extra(trained, tmp_path, monkeypatch, package, write) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingPackageError, match=rf"^{package} is not installed: pip install 'cxr\[tracking\]' brings"
    ):
        write(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_wants_a_place(trained, cxr, tmp_path) -> None:
    code, _, error = cxr("runs", "export", trained.id)
    assert code == 2
    assert "--tensorboard FOLDER or --mlflow URI" in error
    assert plain_name("a b/*c*") == "a_b/_c"
