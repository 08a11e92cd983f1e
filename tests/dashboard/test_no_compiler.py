"""The server's networks without PyTorch's compiler: it stays away until somebody asks for it, and is whole then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
WITHOUT = """
import sys
sys.path.insert(0, "dashboard")
from services import no_compiler, warm_up
no_compiler.leave_out()
warm_up.hurry()
warm_up.import_all()
from cxr.explain.heatmap import Method
from cxr.networks import load_network
import numpy as np
network, _ = load_network("demo")
Method.of().explain(network, np.full((1, network.card.size, network.card.size), 90, np.uint8), [[network.classes[0]]])
print(sorted({"timm", "torchvision", "torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
import timm, torch, torch._dynamo, torchvision
print(type(timm.__loader__).__module__, type(torchvision.__spec__.loader).__module__)
print(sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu"))
print(torch.compiler.disable(len)("ab"), torch._dynamo.OptimizedModule.__name__)
"""
ASKED_WHILE_LOADING = """
import sys
sys.path.insert(0, "dashboard")
from services import no_compiler
with no_compiler._stand_ins():
    from torch._dynamo.utils import is_compile_supported
    from torch._dynamo import disable, OptimizedModule
    print(is_compile_supported.__module__, disable(len) is len, disable()(len) is len, OptimizedModule.__name__)
import torch._dynamo
print(torch._dynamo.OptimizedModule is OptimizedModule, torch._dynamo.utils.__name__)
"""


def printed(script: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", script]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_a_heatmap_needs_no_compiler_and_whoever_asks_for_it_gets_it():
    assert printed(WITHOUT) == [
        "['timm', 'torchvision']",
        "_frozen_importlib_external _frozen_importlib_external",
        "True",
        "2 OptimizedModule",
    ]


def test_what_no_stand_in_knows_is_the_compilers_own():
    assert printed(ASKED_WHILE_LOADING) == [
        "services.no_compiler True True OptimizedModule",
        "True torch._dynamo.utils",
    ]
