"""The operating system around the program: what it refuses, and where the program does not run at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest
import torch

from cxr.cli import main
from cxr.errors import system_error
from cxr.models import load_model
from cxr.runs.worker import one_line
from tests.configurations import CONFIGURATIONS, write_network, write_xrays

PROJECT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "not permitted"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "disk is full"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ECONNREFUSED, "Connection refused"),
    ],
)
def test_an_error_of_the_system_names_the_file_and_the_reason_in_one_line(number, words):
    line = system_error(OSError(number, os.strerror(number), "/somewhere/file.csv"))
    assert line.startswith("/somewhere/file.csv: ")
    assert words in line
    assert "Errno" not in line
    assert "\n" not in line
    assert words in system_error(OSError(number, os.strerror(number)))


def test_a_run_that_the_system_refuses_says_so_as_a_command_does():
    assert one_line(PermissionError(errno.EACCES, "Permission denied", "/data/x.png")) == (
        "/data/x.png: permission denied (see the log)"
    )


def commands(data: str, weights: str) -> dict[str, list[str]]:
    """Return a command line for everything that writes, by the name of the folder that must take it."""
    return {
        "CXR_DATA demo": ["demo", "--n", "12", "--size", "128"],
        "CXR_DATA import": ["data", "import", "manifest", data, "--name", "new", "--no-split"],
        "CXR_RUNS train": ["train", "demo", "--data", data],
        "CXR_RUNS evaluate": ["evaluate", weights, "--data", data],
        "CXR_RUNS explain": ["explain", weights, "--data", data, "--split", "test"],
        "CXR_RUNS experiment": ["text", "experiment", weights, "--data", data, "--split", "test"],
        "CXR_RUNS vocabulary": ["text", "vocabulary", data],
        "CXR_RUNS study": ["study", str(PROJECT / "benchmarks" / "study_text.yaml"), "--data", data],
    }


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("things")
    data = write_xrays(folder / "data", CONFIGURATIONS[0], n=18)
    table = pd.read_csv(data)
    table["split"] = [("train", "val", "test")[k // 6] for k in range(18)]
    table.to_csv(data, index=False)
    return str(data), str(write_network(CONFIGURATIONS[0], folder / "net.safetensors"))


def test_imported_weights_that_find_no_folder_are_refused_in_one_line(things, tmp_path, monkeypatch, capsys):
    torch.save(load_model(things[1]).network.state_dict(), tmp_path / "state.pt")
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "state.pt" / "below"))
    told = ["--classes", "a,b,c", "--task", "single-label", "--size", "64", "--mean", "0.5", "--std", "0.25"]
    monkeypatch.setattr(sys, "argv", ["cxr", "weights", "import", str(tmp_path / "state.pt"), *told])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "a part of this path is a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", commands("", ""))
def test_a_command_whose_folder_cannot_be_written_fails_in_one_line_and_as_json(
    name, things, tmp_path, monkeypatch, capsys
):
    variable = name.split()[0]
    (tmp_path / "file").write_text("no folder")
    for other in ("CXR_DATA", "CXR_RUNS", "CXR_WEIGHTS"):
        monkeypatch.setenv(other, str(tmp_path / other))
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    monkeypatch.setattr(sys, "argv", ["cxr", *commands(*things)[name], "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert left.value.code == 1, f"{out}{err}"
    assert str(tmp_path / "file") in json.loads(out)["error"]
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert "Traceback" not in err
    assert "folder" in line or "directory" in line
    assert "Errno" not in line


def test_a_system_without_posix_is_reported_before_anything_of_it_is_missed():
    script = (
        "import sys, runpy; sys.platform = 'win32'; sys.modules['fcntl'] = None; "
        "runpy.run_module('cxr', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cxr runs on Linux, on macOS, and on Windows inside WSL2")
    assert len(done.stderr.splitlines()) == 1


class _Health(BaseHTTPRequestHandler):
    healthy = "/_stcore/health"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == self.healthy else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(request) -> Iterator[int]:
    handler = type("Handler", (_Health,), {"healthy": f"{request.param}/_stcore/health"})
    with HTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield httpd.server_address[1]
        httpd.shutdown()


@pytest.mark.parametrize(
    ("server", "given", "code"),
    [("", None, 0), ("", "", 0), ("/cxr", "cxr", 0), ("/a/b", "/a/b/", 0), ("/cxr", None, 1)],
    indirect=["server"],
)
def test_the_image_s_health_check_follows_the_base_path(server, given, code):
    text = (PROJECT / "Dockerfile").read_text()
    words = shlex.split(re.search(r"HEALTHCHECK.*?\n\s*CMD (python .*)", text)[1].replace("8501", str(server)))
    environment = {k: v for k, v in os.environ.items() if k != "STREAMLIT_SERVER_BASE_URL_PATH"}
    if given is not None:
        environment["STREAMLIT_SERVER_BASE_URL_PATH"] = given
    done = subprocess.run([sys.executable, *words[1:]], env=environment, capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr.decode()
